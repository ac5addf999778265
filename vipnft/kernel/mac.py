"""Make a MAC an interface's own, and put back the addresses and routes this may cost.

Rule 1: live where the driver can; it says EBUSY if not.
Rule 2: else down, change, up; what the kernel dropped is put back before the function
        returns, also when the change itself was refused.
Rule 3: nothing is put back twice, and what routers bring by themselves is left to them.

Not put back, since rtnetlink's dumps here don't show them: proxy neighbours; and a route
through a nexthop object comes back with the hop itself.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from vipnft.errors import KernelError

_RTPROT_RA, _RTN_UNICAST = 9, 1  # linux/rtnetlink.h
_IFA_F_NODAD, _IFA_F_ASKED = 0x02, 0x712  # linux/if_addr.h: all that a person may ask for
_FOREVER = 0xFFFFFFFF
_NUD_PERMANENT = 0x80  # linux/neighbour.h
_HZ = 100  # USER_HZ: route lifetimes are told in hundredths of a second


@dataclass(frozen=True, slots=True)
class _Held:
    """What an interface loses when it goes down, as arguments that make it again."""

    addresses: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]


def wear(ipr: Any, index: int, name: str, mac: str) -> list[str]:
    """Make `mac` the MAC of interface `index`; KernelError if it can't be had. (What else the
    kernel refuses on the way is the caller's to translate.)

    Returns what was lost on the way and could not be put back: a line each, seldom any.
    """
    try:
        ipr.link("set", index=index, address=mac)
    except NetlinkError as error:
        if error.code != errno.EBUSY:
            raise _refused(name, mac, error) from error
        return while_down(ipr, index, name, mac)
    return []


def while_down(ipr: Any, index: int, name: str, mac: str) -> list[str]:
    """Change the MAC of a driver that can't do so live: down, change, up, and all put back."""
    held = _held(ipr, index)
    ipr.link("set", index=index, state="down")
    try:
        ipr.link("set", index=index, address=mac)
    except NetlinkError as error:
        raise _refused(name, mac, error) from error
    finally:
        ipr.link("set", index=index, state="up")
        lost = _put_back(ipr, held)
    return lost


def _refused(name: str, mac: str, error: NetlinkError) -> KernelError:
    return KernelError(
        f"{name} does not take {mac} as its MAC: {error}",
        fix="hypervisors and clouds often forbid it: allow MAC changes there, or use --switch",
    )


def _held(ipr: Any, index: int) -> _Held:
    routes = [
        route
        for family in (socket.AF_INET, socket.AF_INET6)
        for route in ipr.get_routes(family=family)
        if route["type"] == _RTN_UNICAST and route["proto"] != _RTPROT_RA
        if index in _exits(route)
    ]
    return _Held(
        addresses=[_address(a) for a in ipr.get_addr(index=index)],
        # A gateway must be reachable when its route returns: connected routes first.
        routes=[_route(r) for r in sorted(routes, key=_has_gateway)],
        neighbours=[
            {"ifindex": index, "dst": n.get("dst"), "lladdr": n.get("lladdr"), "state": n["state"]}
            for n in ipr.get_neighbours(ifindex=index)
            if n["state"] & _NUD_PERMANENT and n.get("lladdr")
        ],
    )


def _put_back(ipr: Any, held: _Held) -> list[str]:
    """Add what is missing again, each for itself; return what could not be, for a person."""
    lost = []
    for add, several in (
        (ipr.addr, held.addresses),
        (ipr.route, held.routes),
        (ipr.neigh, held.neighbours),
    ):
        for one in several:
            try:
                add("add", **one)
            except NetlinkError as error:
                if error.code != errno.EEXIST:  # that one came back by itself
                    lost.append(f"not put back: {one}: {error}")
            except (TypeError, ValueError) as error:  # the library can't say what it read
                lost.append(f"not put back: {one}: {error}")
    return lost


def _exits(route: Any) -> set[int]:
    hops = route.get("multipath") or []
    return {route.get("oif"), *(hop["oif"] for hop in hops)}


def _has_gateway(route: Any) -> bool:
    return bool(route.get("gateway") or route.get("multipath") or route.get("via"))


def _arguments(message: Any, prefix: str, fields: tuple[str, ...], *drop: str) -> dict[str, Any]:
    attributes = {
        name.removeprefix(prefix).lower(): value
        for name, value in message["attrs"]
        if name not in drop
    }
    return {**{field: message[field] for field in fields}, **attributes}


def _address(message: Any) -> dict[str, Any]:
    again = _arguments(
        message,
        "IFA_",
        ("family", "prefixlen", "scope", "index"),
        "IFA_CACHEINFO",
        "IFA_FLAGS",
    )
    flags = (message.get("IFA_FLAGS") or message["flags"]) & _IFA_F_ASKED
    if message["family"] == socket.AF_INET6:
        flags |= _IFA_F_NODAD  # it was this host's a moment ago
    again["flags"] = flags
    lifetime = message.get("cacheinfo")
    if lifetime and lifetime["ifa_preferred"] != _FOREVER:
        again["preferred_lft"] = lifetime["ifa_preferred"]
        again["valid_lft"] = lifetime["ifa_valid"]
    return again


def _route(message: Any) -> dict[str, Any]:
    again = _arguments(
        message,
        "RTA_",
        ("family", "dst_len", "src_len", "proto", "scope", "type", "tos", "flags"),
        "RTA_CACHEINFO",
        "RTA_NH_ID",
    )
    if "multipath" in again:
        again["multipath"] = [
            _arguments(hop, "RTA_", ("oif", "flags", "hops")) for hop in again["multipath"]
        ]
    if "metrics" in again:
        again["metrics"] = {
            name.removeprefix("RTAX_").lower(): value for name, value in again["metrics"]["attrs"]
        }
    lifetime = message.get("cacheinfo")
    if lifetime and lifetime["rta_expires"] > 0:
        again["expires"] = struct.pack("=I", lifetime["rta_expires"] // _HZ)
    return again
