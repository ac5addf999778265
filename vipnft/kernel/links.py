# The edge to interfaces, addresses and MACs, over rtnetlink.
# Rule 1: reads give facts as values; writes do one thing and say what could not be done.
"""Interfaces, the NIC's unicast filter, and the service addresses on the loopback."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vipnft.errors import KernelError
from vipnft.kernel import wear

__all__ = ["Link", "Links", "NetlinkError"]

_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_NTF_SELF = 0x02  # linux/neighbour.h
_NUD_PERMANENT = 0x80
_RT_SCOPE_HOST, _RTN_BROADCAST = 254, 3  # linux/rtnetlink.h
_IFA_F_PERMANENT = 0x80  # linux/if_addr.h


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: kernel index, name, own MAC, and whether it is up and has a carrier.

    `master` is the bridge or bond it is a port of; `promiscuity` counts who wants every frame.
    """

    index: int
    name: str
    mac: str
    up: bool
    carrier: bool
    loopback: bool
    master: int | None
    promiscuity: int


class Links:
    """One rtnetlink socket; use it as a context manager."""

    def __init__(self) -> None:
        self._ipr: Any = IPRoute()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self._ipr.close()

    def find(self, name: str) -> Link | None:
        """Return the interface called `name`, or None."""
        try:
            found = self._ipr.link("get", ifname=name)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise
        return _link(found[0])

    def names(self) -> tuple[str, ...]:
        """Return every interface's name."""
        return tuple(link.get("ifname") for link in self._ipr.get_links())

    def holders(self, address: IPv4Address) -> tuple[str, ...]:
        """Return the interfaces that carry an address: "lo" where it stands as it should, a /32
        for ever; such as "lo (/24)" where it does not."""
        names = {link["index"]: link.get("ifname") for link in self._ipr.get_links()}
        found = []
        for one in self._ipr.get_addr(family=socket.AF_INET):
            if one.get("local") == str(address):
                sound = one["prefixlen"] == 32 and one["flags"] & _IFA_F_PERMANENT
                how = "" if sound else f" (/{one['prefixlen']})"
                found.append(names[one["index"]] + how)
        return tuple(found)

    def taken(self, address: IPv4Address) -> str:
        """Tell what else an address is to this host: a gateway, or a network's broadcast."""
        for route in self._ipr.get_routes(family=socket.AF_INET):
            if route.get("gateway") == str(address):
                return "the gateway of a route"
            if route["type"] == _RTN_BROADCAST and route.get("dst") == str(address):
                return "the broadcast address of a network"
            if route["dst_len"] not in {0, 32} and route.get("dst") == str(address):
                return "the address of a network"
        return ""

    def others(self, link: Link) -> tuple[Link, ...]:
        """Return every other interface."""
        return tuple(_link(one) for one in self._ipr.get_links() if one["index"] != link.index)

    def at(self, index: int) -> Link | None:
        """Return the interface of an index, whatever it is called by now; or None."""
        return next((_link(one) for one in self._ipr.get_links() if one["index"] == index), None)

    def add_address(self, address: str) -> None:
        """Put a service address on the loopback, where no ARP and no source choice sees it."""
        if not self._loopback().up:
            raise KernelError("the loopback interface is down", fix="ip link set lo up")
        with _refusal(f"address {address} could not be added to lo"):
            self._address("add", address, scope=_RT_SCOPE_HOST)

    def remove_address(self, address: str) -> None:
        """Take a service address off the loopback; one that is not there is fine."""
        with _refusal(f"address {address} could not be removed from lo", errno.EADDRNOTAVAIL):
            self._address("del", address)

    def _address(self, verb: str, address: str, **more: int) -> None:
        self._ipr.addr(verb, index=self._loopback().index, address=address, prefixlen=32, **more)

    def _loopback(self) -> Link:
        return _link(self._ipr.link("get", ifname="lo")[0])

    def set_mac(self, link: Link, mac: str) -> list[str]:
        """Make a MAC the interface's own; return what that cost and could not be put back."""
        now = self.at(link.index)
        if now is not None and now.mac == mac:
            return []
        return wear.wear(self._ipr, link.index, link.name, mac)

    def listens(self, link: Link, mac: str) -> bool:
        """Tell whether a MAC is in the interface's unicast filter."""
        entries = self._ipr.fdb("dump", ifindex=link.index)
        return any(
            entry.get("lladdr") == mac and entry["ifindex"] == link.index for entry in entries
        )

    def listen(self, link: Link, mac: str) -> None:
        """Put a MAC into the interface's unicast filter (bridge fdb add MAC dev IF self)."""
        with _refusal(f"{mac} could not be put into {link.name}'s unicast filter", errno.EEXIST):
            self._filter("add", link, mac)

    def unlisten(self, link: Link, mac: str) -> None:
        """Take a MAC out of the interface's unicast filter; one that is not there is fine."""
        fine = (errno.ENOENT, errno.EOPNOTSUPP)
        with _refusal(f"{mac} could not be taken out of {link.name}'s filter", *fine):
            self._filter("del", link, mac)

    def _filter(self, verb: str, link: Link, mac: str) -> None:
        self._ipr.fdb(verb, ifindex=link.index, lladdr=mac, flags=_NTF_SELF, state=_NUD_PERMANENT)


@contextmanager
def _refusal(what: str, *fine: int) -> Iterator[None]:
    """Turn the kernel's refusal into our error; the error numbers in `fine` are no refusal."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in fine:
            raise KernelError(f"{what}: {error}") from error


def _link(message: Any) -> Link:
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        mac=message.get("address") or "",
        up=bool(message["flags"] & _IFF_UP),
        carrier=bool(message.get("carrier")),
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
        master=message.get("master"),
        promiscuity=message.get("promiscuity") or 0,
    )
