"""Interfaces, the NIC's unicast filter, and the service addresses on the loopback.

Rule 1: reads give facts as values; writes do one thing and say what could not be done.
Rule 2: an interface may go between any two calls: then what was asked of it is a KernelError.
"""

import errno
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from vipnft.errors import KernelError
from vipnft.kernel import link_glance
from vipnft.kernel.mac import wear
from vipnft.kernel.refusal import refusal
from vipnft.model import EVERY_MAC, Address

_IFF_UP, _IFF_LOOPBACK, _IFF_PROMISC = 0x1, 0x8, 0x100  # linux/if.h
_NTF_SELF, _NTF_PROXY = 0x02, 0x08  # linux/neighbour.h
_NUD_PERMANENT = 0x80
_RT_SCOPE_HOST, _RTN_BROADCAST = 254, 3  # linux/rtnetlink.h
_IFA_F_NODAD, _IFA_F_PERMANENT, _IFA_F_MCAUTOJOIN = 0x02, 0x80, 0x400  # linux/if_addr.h
_FOREVER = 0xFFFFFFFF
_ETHERNET = {1, 772}  # linux/if_arp.h: ARPHRD_ETHER, _LOOPBACK
ONE_MAC = "use --hub or --multicast, for which it need not listen for a second unicast MAC"
"""What to do about an interface that can't, as a macvlan."""
LO_DOWN = "the loopback interface is down"
LO_UP = "ip link set lo up"
_LENGTH = {socket.AF_INET: 32, socket.AF_INET6: 128}


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: kernel index, name, own MAC ("" where there is no Ethernet), and whether it is
    up and has a carrier.

    `master` is the bridge or bond it is a port of; `promiscuity` counts who wants every frame;
    `kind` is what a virtual one is, such as bridge, and `parent` what it stands on, such as a
    VLAN's interface; `one_mac`: only what goes to its own MAC, or to a group, ever reaches it;
    `promiscuous`: somebody wants every frame by its flag.
    """

    index: int
    name: str
    mac: str
    up: bool
    carrier: bool
    loopback: bool
    master: int | None
    promiscuity: int
    kind: str
    one_mac: bool
    parent: int | None = None
    promiscuous: bool = False


class Links:
    """One rtnetlink socket; use it as a context manager."""

    def __init__(self) -> None:
        with refusal("the kernel gives no rtnetlink socket"):
            self._ipr: Any = IPRoute()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self._ipr.close()

    def find(self, name: str) -> Link | None:
        """Return the interface called `name`, or None."""
        found: Any = ()
        with refusal(f"the kernel does not tell about {name}", errno.ENODEV):
            found = self._ipr.link("get", ifname=name)
        return _link(found[0]) if found else None

    @refusal("the kernel does not tell its interfaces")
    def every(self) -> tuple[Link, ...]:
        """Return every interface."""
        return tuple(_link(one) for one in self._ipr.get_links())

    def carriers(self, *addresses: Address) -> dict[str, tuple[str, ...]]:
        """Return the interfaces that carry each address: "lo" where it stands as it should, alone
        and for ever; such as "lo (/24)" where it does not."""
        found: dict[str, list[str]] = {str(address): [] for address in addresses}
        names = {address.packed: str(address) for address in addresses}
        for one in link_glance.addresses():
            if (name := names.get(one.address)) is None:
                continue
            alone = 8 * len(one.address)
            sound = one.length == alone and one.flags & _IFA_F_PERMANENT
            with suppress(OSError):  # that interface is gone by now, and the address with it
                how = "" if sound else f" (/{one.length})"
                found[name].append(socket.if_indextoname(one.link) + how)
        return {address: tuple(held) for address, held in found.items()}

    @refusal("the kernel does not tell its addresses")
    def elsewhere(self, interfaces: Collection[str]) -> dict[str, str]:
        """Return the IPv4 addresses that stand alone (/32) on others than these interfaces and than
        tunnels, as service addresses do, and all of lo's but its own; with where they stand."""
        others = [one for one in self.every() if one.mac and one.name not in interfaces]
        several = {one.index: one for one in others}
        found = {
            one.get("local") or one.get("address"): several[one["index"]].name
            for one in self._ipr.get_addr(family=socket.AF_INET)
            if one["index"] in several
            and (one["prefixlen"] == _LENGTH[socket.AF_INET] or several[one["index"]].loopback)
        }
        return {one: where for one, where in found.items() if not IPv4Address(one).is_loopback}

    @refusal("the kernel does not tell its routes")
    def conflict(self, address: Address) -> str:
        """Tell what else an address is to this host: a gateway, or a network's broadcast."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        for route in self._ipr.get_routes(family=family):
            if route.get("gateway") == str(address):
                return "the gateway of a route"
            if route["type"] == _RTN_BROADCAST and route.get("dst") == str(address):
                return "the broadcast address of a network"
            if route["dst_len"] not in {0, _LENGTH[family]} and route.get("dst") == str(address):
                return "the address of a network"
        return ""

    def at(self, index: int) -> Link | None:
        """Return the interface of an index, whatever it is called by now; or None."""
        found: Any = ()
        with refusal("the kernel does not tell an interface", errno.ENODEV):
            found = self._ipr.link("get", index=index)
        return _link(found[0]) if found else None

    def add_address(self, address: str) -> None:
        """Put a service address on the loopback, where no ARP and no source choice sees it."""
        if not self._loopback().up:
            raise KernelError(LO_DOWN, fix=LO_UP)
        with refusal(f"address {address} could not be added to lo"):
            # An IPv6 address is not looked for elsewhere, and no connection begins from it.
            more = (
                {"flags": _IFA_F_NODAD, "preferred_lft": 0, "valid_lft": _FOREVER}
                if ":" in address
                else {"scope": _RT_SCOPE_HOST}
            )
            self._address("add", address, **more)

    def remove_address(self, address: str) -> None:
        """Take a service address off the loopback; one that is not there is fine."""
        with refusal(f"address {address} could not be removed from lo", errno.EADDRNOTAVAIL):
            self._address("del", address)

    def _address(self, verb: str, address: str, **more: int) -> None:
        lo, alone = self._loopback().index, 128 if ":" in address else 32
        self._ipr.addr(verb, index=lo, address=address, prefixlen=alone, **more)

    def join(self, link: Link, group: str) -> None:
        """Join a multicast group for good, so that the kernel answers queries by itself: any of
        IPv4, and those of IPv6 that solicitations go to."""
        with refusal(f"{link.name} could not join {group}", errno.EEXIST):
            self._membership("add", link, group)

    def leave(self, link: Link, group: str) -> None:
        """Leave a multicast group; one that it is not in is fine."""
        with refusal(f"{link.name} could not leave {group}", errno.EADDRNOTAVAIL, errno.ENOENT):
            self._membership("del", link, group)

    def _membership(self, verb: str, link: Link, group: str) -> None:
        if ":" not in group:
            self._ipr.addr(
                verb, index=link.index, address=group, prefixlen=32, flags=_IFA_F_MCAUTOJOIN
            )
            return
        # A proxy entry for any address that is asked for through the group makes the kernel a
        # member (pndisc_constructor in net/ipv6/ndisc.c); nobody asks for one of 100::/64
        # (RFC 6666). An address that joins, as in IPv4, could not leave once the link was down.
        asked = IPv6Address(int(IPv6Address("100::")) | int(IPv6Address(group)) & 0xFFFFFF)
        more = {"flags": _NTF_PROXY, "state": _NUD_PERMANENT}  # else a lost carrier ends it
        self._ipr.neigh(verb, family=socket.AF_INET6, dst=str(asked), ifindex=link.index, **more)

    @refusal("the kernel does not tell its multicast groups")
    def groups(self, link: Link) -> frozenset[str]:
        """Return the multicast groups that an interface is a member of."""
        several = (one.address for one in link_glance.addresses() if one.link == link.index)
        known = {ip_address(one) for one in several}
        found = {str(one) for one in known if one.version == 4 and one.is_multicast}
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path("/proc/thread-self/net/igmp6").read_text().splitlines():
                index, _, address, *_ = line.split()
                if int(index) == link.index:
                    found.add(str(IPv6Address(bytes.fromhex(address))))
        return frozenset(found)

    def _loopback(self) -> Link:
        link = self.find("lo")
        if link is None:
            raise KernelError("there is no loopback interface lo")
        return link

    def set_mac(self, link: Link, mac: str) -> list[str]:
        """Make a MAC the interface's own; return what that cost and could not be put back."""
        now = self.at(link.index)
        if now is not None and now.mac == mac:
            return []
        with refusal(f"{link.name} could not be given {mac} as its MAC"):
            return wear(self._ipr, link.index, link.name, mac)

    def ports(self, link: Link, mac: str) -> list[str]:
        """Return the ports at which an interface that is a bridge knows a MAC."""
        with refusal(f"the kernel does not tell what {link.name} has learned"):
            known = [
                entry["ifindex"]
                for entry in self._ipr.fdb("dump")
                if entry.get("lladdr") == mac and entry.get("master") == link.index
            ]
        found = [self.at(index) for index in known if index != link.index]
        return sorted({one.name for one in found if one})

    def filters(self, link: Link) -> frozenset[str]:
        """Return the MACs in the interface's filter, unicast and multicast."""
        with refusal(f"the kernel does not tell {link.name}'s filter"):
            entries = self._ipr.fdb("dump", ifindex=link.index)
            own = (entry for entry in entries if entry["ifindex"] == link.index)
            known = frozenset(entry.get("lladdr") for entry in own)
        now = self.at(link.index)
        return known | {EVERY_MAC} if now and now.promiscuous else known

    def listen(self, link: Link, mac: str) -> None:
        """Put a MAC into the interface's filter (bridge fdb add MAC dev IF self); EVERY_MAC makes
        it promiscuous."""
        if mac == EVERY_MAC:
            self._promiscuous(link, _IFF_PROMISC)
            return
        what = f"{mac} could not be put into {link.name}'s filter"
        with refusal(what, errno.EEXIST, fix=ONE_MAC):
            self._filter("add", link, mac)

    def unlisten(self, link: Link, mac: str) -> None:
        """Take a MAC out of the interface's unicast filter; one that is not there is fine."""
        if mac == EVERY_MAC:
            self._promiscuous(link, 0)
            return
        fine = (errno.ENOENT, errno.EOPNOTSUPP)
        with refusal(f"{mac} could not be taken out of {link.name}'s filter", *fine):
            self._filter("del", link, mac)

    def _promiscuous(self, link: Link, flag: int) -> None:
        with refusal(f"{link.name} could not be made {'' if flag else 'un'}promiscuous"):
            self._ipr.link("set", index=link.index, flags=flag, change=_IFF_PROMISC)

    def _filter(self, verb: str, link: Link, mac: str) -> None:
        self._ipr.fdb(verb, ifindex=link.index, lladdr=mac, flags=_NTF_SELF, state=_NUD_PERMANENT)


def stand_in(name: str) -> None:
    """Make an interface of that name that no packet will ever pass."""
    with refusal(f"no stand-in for {name} could be made"), IPRoute() as ipr:
        ipr.link("add", ifname=name, kind="veth")


def _link(message: Any) -> Link:
    kind = message.get(("linkinfo", "kind")) or ""
    through = message.get(("linkinfo", "data", "macvlan_mode")) == "passthru"
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        mac=(message.get("address") or "") if message["ifi_type"] in _ETHERNET else "",
        up=bool(message["flags"] & _IFF_UP),
        carrier=bool(message.get("carrier")),
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
        master=message.get("master"),
        promiscuity=message.get("promiscuity") or 0,
        kind=kind,
        one_mac=kind == "macvlan" and not through,
        parent=message.get("link"),
        promiscuous=bool(message["flags"] & _IFF_PROMISC),
    )
