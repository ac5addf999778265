"""What odd packets are made of: headers, right unless told otherwise.

Each kind is made for a client of its own, so that what a host says of it can be told by whom it
is said to.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from tests.netns.packets import IPV4, IPV6, ROUTER, checksum
from tests.netns.support import VIP, VIP6
from vipnft.ruleset.ndp import mac

TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
ASKED = "neighbour"
"""Dealt as who asks where a VIP is: by his address alone, whatever the services."""


@dataclass(frozen=True, slots=True)
class Ends:
    """One client of a kind: its addresses and port; where its frames go, and a host's own MAC."""

    four: str
    six: str
    port: int
    listen: str
    own: str


Frames = Callable[[Ends], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `dealt`: the service by which its bucket is found, such as tcp/80. `source`: the
    address it comes from, if that is not the client's. `answered`: its owner must say something."""

    frames: Frames
    dealt: str = ""
    source: str = ""
    answered: bool = False


def frame(
    e: Ends, kind: bytes, packet: bytes, *, to: str = "", source: str = ROUTER, tag: bytes = b""
) -> bytes:
    return mac(to or e.listen) + mac(source) + tag + kind + packet


def ip4(
    e: Ends,
    protocol: int,
    body: bytes,
    *,
    options: bytes = b"",
    first: int | None = None,
    total: int | None = None,
    fragment: int = 0,
    ttl: int = 64,
    tos: int = 0,
    bad: bool = False,
    source: str = "",
) -> bytes:
    """Return an IPv4 packet; `first` is the first byte, `fragment` the whole field."""
    a, b = ip_address(source or e.four).packed, ip_address(VIP).packed
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | size // 4 if first is None else first,
        tos,
        size + len(body) if total is None else total,
        e.port,
        fragment,
        ttl,
        protocol,
        0,
        a,
        b,
    )
    whole = head + options
    return whole[:10] + struct.pack("!H", checksum(whole) ^ bad) + whole[12:] + body


def ip6(
    e: Ends,
    following: int,
    body: bytes,
    *,
    hops: int = 64,
    length: int | None = None,
    first: int = 6 << 28,
    source: str = "",
) -> bytes:
    """Return an IPv6 packet; `first` are the first four bytes."""
    a, b = ip_address(source or e.six).packed, ip_address(VIP6).packed
    size = len(body) if length is None else length
    return struct.pack("!IHBB", first, size, following, hops) + a + b + body


def summed(source: str, target: str, protocol: int, body: bytes, at: int) -> bytes:
    """Return a body with the checksum at a position filled in."""
    a, b = ip_address(source).packed, ip_address(target).packed
    even = body + bytes(len(body) % 2)
    total = checksum(a + b + struct.pack("!II", len(body), protocol) + even)
    return body[:at] + struct.pack("!H", total) + body[at + 2 :]


def segment(
    source: str,
    target: str,
    sport: int,
    dport: int = 80,
    flags: int = SYN,
    *,
    offset: int | None = None,
    options: bytes = b"",
    data: bytes = b"",
    window: int = 1024,
    urgent: int = 0,
) -> bytes:
    words = 5 + len(options) // 4 if offset is None else offset
    head = struct.pack(
        "!HHIIHHHH",
        sport,
        dport,
        7,
        9 if flags & ACK else 0,
        words << 12 | flags,
        window,
        0,
        urgent,
    )
    return summed(source, target, TCP, head + options + data, 16)


def datagram(
    source: str, target: str, sport: int, dport: int = 53, *, length: int | None = None,
    data: bytes = b"abcd",
) -> bytes:  # fmt: skip
    size = 8 + len(data) if length is None else length
    return summed(source, target, UDP, struct.pack("!4H", sport, dport, size, 0) + data, 6)


def echo(e: Ends, kind: int = 8, code: int = 0, rest: bytes = b"") -> bytes:
    """Return an ICMP message, whose identifier is the client's port."""
    body = struct.pack("!BBHHH", kind, code, 0, e.port, 1) + (rest or b"abcdefgh")
    total = checksum(body + bytes(len(body) % 2))
    return body[:2] + struct.pack("!H", total) + body[4:]


def echo6(e: Ends, kind: int = 128, code: int = 0, rest: bytes = b"", source: str = "") -> bytes:
    body = struct.pack("!BBHHH", kind, code, 0, e.port, 1) + (rest or b"abcdefgh")
    return summed(source or e.six, VIP6, ICMP6, body, 2)


def tcp4(e: Ends, **how: Any) -> bytes:
    return segment(e.four, VIP, e.port, **how)


def tcp6(e: Ends, **how: Any) -> bytes:
    return segment(e.six, VIP6, e.port, **how)


def udp4(e: Ends, **how: Any) -> bytes:
    return datagram(e.four, VIP, e.port, **how)


def udp6(e: Ends, **how: Any) -> bytes:
    return datagram(e.six, VIP6, e.port, **how)


def v4(make: Callable[[Ends], bytes], protocol: int, **how: Any) -> Frames:
    """Return the frames of one IPv4 packet with such a body."""
    return lambda e: [frame(e, IPV4, ip4(e, protocol, make(e), **how))]


def v6(make: Callable[[Ends], bytes], following: int, **how: Any) -> Frames:
    return lambda e: [frame(e, IPV6, ip6(e, following, make(e), **how))]


def cut(make: Callable[[Ends], bytes], size: int) -> Callable[[Ends], bytes]:
    """Return what makes so many bytes of it."""
    return lambda e: make(e)[:size]


def short(make: Frames, size: int) -> Frames:
    """Return frames cut after so many bytes behind their Ethernet header."""
    return lambda e: [one[: 14 + size] for one in make(e)]


Named = Iterator[tuple[str, Kind]]
