"""Odd packets: what is odd about the body: extension headers, segments, errors, questions."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address

from tests.netns import odd, odd_askers
from tests.netns.odd_packets import (
    ACK,
    FIN,
    ICMP,
    ICMP6,
    PSH,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    URG,
    Ends,
    Frames,
    Kind,
    Named,
    cut,
    datagram,
    echo,
    echo6,
    frame,
    ip4,
    ip6,
    segment,
    tcp4,
    tcp6,
    udp4,
    udp6,
    v4,
    v6,
)
from tests.netns.packets import IPV6, ROUTER, ipv4
from tests.netns.support import VIP, VIP6

_UNKNOWN = (0x3E, 0x7E, 0xBE, 0xFE)
"""Options that nobody knows, by what is to be done then (RFC 8200, 4.2)."""


def kinds() -> dict[str, Kind]:
    """Return every kind by its name."""
    found: dict[str, Kind] = {}
    for several in (odd.plain, odd.frames, odd.headers4, odd.fragments4, _headers6, _fragments6,
                    _flags, _tcp, _udp, _others, _icmp4, _errors4, _icmp6, _errors6,
                    odd_askers.asking, odd_askers.soliciting, odd_askers.sources):  # fmt: skip
        for name, kind in several():
            assert name not in found, name
            found[name] = kind
    return found


def _headers6() -> Named:
    """Extension headers, alone and in front of a SYN and a ping."""
    heads: dict[str, tuple[int, bytes]] = {
        "hop by hop": (0, b"\1\4\0\0\0\0"),
        "hop by hop, router alert": (0, b"\5\2\0\0\1\0"),
        "hop by hop, jumbo": (0, b"\xc2\4\0\1\0\0"),
        **{f"hop by hop, unknown {o:#x}": (0, bytes([o, 4, 0, 0, 0, 0])) for o in _UNKNOWN},
        "destination": (60, b"\1\4\0\0\0\0"),
        **{f"destination, unknown {o:#x}": (60, bytes([o, 4, 0, 0, 0, 0])) for o in _UNKNOWN},
        "destination, home address": (60, b"\xc9\x10\0\0\0\0"),
        **{f"routing {t}": (43, bytes([t, 1, 0, 0, 0, 0])) for t in (0, 2, 3, 4, 253)},
        **{f"routing {t}, over": (43, bytes([t, 0, 0, 0, 0, 0])) for t in (0, 4, 253)},
        "authentication": (51, b"\0\0\0\0\0\1"),
        "mobility": (135, b"\0\0\0\0\0\0"),
        "host identity": (139, b"\0\x11\0\0\0\0"),
        "shim6": (140, b"\0\0\0\0\0\0"),
    }  # fmt: skip
    for name, (number, rest) in heads.items():
        # Where a header authenticates what is behind it, nothing looks for ports there.
        dealt = "" if name == "authentication" else "tcp/80"
        yield f"a SYN behind {name}", Kind(_behind(number, rest, TCP, tcp6), dealt)
        yield f"a ping behind {name}", Kind(_behind(number, rest, ICMP6, echo6))
    for number in (59, 41, 4, 47, 50, 103, 132, 136, 253, 255):
        yield f"IPv6 next header {number}", Kind(v6(lambda _: bytes(40), number))
    for hops in (0, 1, 255):
        yield f"hop limit {hops}", Kind(v6(tcp6, TCP, hops=hops), "tcp/80")
    for length in (0, 7, 19, 21, 65535):
        yield f"IPv6 of {length} bytes", Kind(v6(tcp6, TCP, length=length), "tcp/80")
    for first in (0x40000000, 0x50000000, 0xF0000000, 0x6FFFFFFF):
        yield f"IPv6 begins with {first:#x}", Kind(v6(tcp6, TCP, first=first), "tcp/80")
    chain = bytes([60, 0]) + b"\1\4\0\0\0\0"
    yield (
        "twelve headers",
        Kind(
            lambda e: [
                frame(e, IPV6, ip6(e, 60, chain * 11 + bytes([TCP, 0]) + chain[2:] + tcp6(e)))
            ],
            "tcp/80",
        ),
    )


def _behind(number: int, rest: bytes, inner: int, make: Callable[[Ends], bytes]) -> Frames:
    """Return a body behind one extension header."""
    return lambda e: [frame(e, IPV6, ip6(e, number, bytes([inner, 0]) + rest + make(e)))]


def _fragments6() -> Named:
    bodies = odd.whole(tcp6, udp6, echo6, ICMP6)
    for word, (number, make, dealt) in bodies.items():
        for name, cuts in {**odd.CUTS, "whole": ((0, 32),)}.items():

            def cut(
                e: Ends, number: int = number, make: Callable[[Ends], bytes] = make,
                cuts: tuple[tuple[int, int], ...] = cuts,
            ) -> list[bytes]:  # fmt: skip
                body = make(e)
                heads = (
                    struct.pack("!BBHI", number, 0, a | (b < len(body)), e.port) for a, b in cuts
                )
                pieces = zip(heads, cuts, strict=True)
                return [frame(e, IPV6, ip6(e, 44, head + body[a:b])) for head, (a, b) in pieces]

            yield f"an IPv6 {word} in fragments: {name}", Kind(cut, dealt)


def _flags() -> Named:
    names = {FIN: "F", SYN: "S", RST: "R", PSH: "P", ACK: "A", URG: "U"}
    for flags in [*range(64), SYN | 0xC0, SYN | ACK | 0x40, 0x1FF, SYN | 0x100, 0xC0]:
        word = "".join(name for bit, name in names.items() if flags & bit) + f" {flags:#x}"
        if flags == SYN:
            continue
        yield f"flags {word}", Kind(v4(partial(tcp4, flags=flags), TCP), "tcp/80")
        yield f"flags {word}, closed", Kind(v4(partial(tcp4, flags=flags, dport=81), TCP))
        yield f"flags {word}, IPv6", Kind(v6(partial(tcp6, flags=flags), TCP), "tcp/80")


TCP_OPTIONS = {
    "MSS 0": b"\2\4\0\0",
    "MSS 65535": b"\2\4\xff\xff",
    "scale 255": b"\3\3\xff\0",
    "length 0": b"\2\0\0\0",
    "length 1": b"\2\1\0\0",
    "length 255": b"\2\xff\0\0",
    "a cookie asked for": b"\x22\2\0\0",
    "a cookie": b"\x22\x0aABCDEFGH\0\0",
    "MD5": b"\x13\x12" + bytes(18),
    "SACK": b"\5\x0a\0\0\0\1\0\0\0\2\0\0",
    "timestamps": b"\x08\x0a\0\0\0\1\0\0\0\0\0\0",
    "multipath": b"\x1e\x0c\1\0" + bytes(8),
    "nothing, forty times": b"\1" * 40,
}


def _tcp() -> Named:
    for name, options in TCP_OPTIONS.items():
        yield f"TCP option {name}", Kind(v4(partial(tcp4, options=options), TCP), "tcp/80")
        with_data = partial(tcp4, options=options, data=b"GET / HTTP/1.0\r\n\r\n")
        yield f"TCP option {name}, with data", Kind(v4(with_data, TCP), "tcp/80")
    for offset in (0, 1, 4, 6, 15):
        yield f"TCP offset {offset}", Kind(v4(partial(tcp4, offset=offset), TCP), "tcp/80")
    for size in (1, 2, 4, 8, 12, 13, 14, 19):
        yield f"TCP cut after {size}", Kind(v4(cut(tcp4, size), TCP), "tcp/80")
        yield (
            f"TCP cut after {size}, IPv6",
            Kind(v6(cut(tcp6, size), TCP), "tcp/80"),
        )
    yield "window 0", Kind(v4(partial(tcp4, window=0), TCP), "tcp/80")
    yield "urgent", Kind(v4(partial(tcp4, flags=SYN | URG, urgent=9), TCP), "tcp/80")
    yield "to port 0", Kind(v4(partial(tcp4, dport=0), TCP))
    yield "to port 65535", Kind(v4(partial(tcp4, dport=65535), TCP))
    wrong = Kind(v4(lambda e: tcp4(e)[:16] + b"\0\1" + tcp4(e)[18:], TCP), "tcp/80")
    yield "a wrong TCP checksum", wrong


def _udp() -> Named:
    for length in (0, 1, 7, 9, 11, 13, 65535):
        yield f"UDP of {length} bytes", Kind(v4(partial(udp4, length=length), UDP), "udp/53")
        yield f"UDP of {length} bytes, IPv6", Kind(v6(partial(udp6, length=length), UDP), "udp/53")
    for port in (0, 7, 19, 54, 123, 1900, 65535):
        yield f"UDP to {port}", Kind(v4(partial(udp4, dport=port), UDP))
        yield f"UDP to {port}, IPv6", Kind(v6(partial(udp6, dport=port), UDP))
    for size in (0, 1, 4, 7):
        yield f"UDP cut after {size}", Kind(v4(cut(udp4, size), UDP), "udp/53")
    yield "no data", Kind(v4(partial(udp4, data=b""), UDP), "udp/53")
    none = Kind(v4(lambda e: udp4(e)[:6] + b"\0\0abcd", UDP), "udp/53")
    yield "UDP without its checksum", none
    yield (
        "IPv6 UDP without its checksum",
        Kind(v6(lambda e: udp6(e)[:6] + b"\0\0abcd", UDP), "udp/53"),
    )
    yield (
        "a QUIC Initial",
        Kind(v4(partial(udp4, data=b"\xc0\0\0\0\1" + bytes(1195)), UDP), "udp/53"),
    )
    yield "a QUIC short header", Kind(v4(partial(udp4, data=b"\x40" + bytes(39)), UDP), "udp/53")


def _others() -> Named:
    """Protocols that no host serves, some of which the kernel knows; and packets in packets."""
    for number in (
        0,
        2,
        3,
        5,
        33,
        41,
        46,
        47,
        50,
        51,
        58,
        88,
        89,
        94,
        103,
        112,
        115,
        136,
        253,
        255,
    ):
        yield f"protocol {number}", Kind(v4(lambda _: bytes(32), number))
    inner: dict[str, tuple[int, Callable[[Ends], bytes]]] = {
        "IPv4 in IPv4": (4, lambda e: ip4(e, ICMP, echo(e))),
        "IPv6 in IPv4": (41, lambda e: ip6(e, ICMP6, echo6(e))),
        "IPv4 in GRE": (47, lambda e: b"\0\0\x08\0" + ip4(e, ICMP, echo(e))),
    }
    for name, (number, make) in inner.items():
        yield name, Kind(v4(make, number))
    chunks = {1: bytes(16), 0: bytes(12), 3: bytes(12), 6: b"", 7: bytes(4), 8: b"", 9: bytes(4),
              10: bytes(4), 11: b"", 14: b"", 0x3F: b"", 0xC0: b""}  # fmt: skip
    for chunk, rest in chunks.items():

        def sctp(e: Ends, chunk: int = chunk, rest: bytes = rest) -> bytes:
            head = struct.pack("!HHII", e.port, 5000, 0 if chunk == 1 else 9, 0)
            return head + struct.pack("!BBH", chunk, 0, 4 + len(rest)) + rest

        yield f"SCTP chunk {chunk}", Kind(v4(sctp, SCTP), "sctp/5000")


def _icmp4() -> Named:
    for kind in (*range(3), *range(6, 8), 9, 10, *range(13, 21), *range(30, 44), 253, 255):
        yield f"ICMP {kind}", Kind(v4(partial(echo, kind=kind), ICMP))
    for code in (1, 255):
        yield f"a ping with code {code}", Kind(v4(partial(echo, code=code), ICMP))
    yield "a long ping", Kind(v4(partial(echo, rest=b"x" * 1400), ICMP))
    for size in (0, 1, 4, 7):
        yield f"ICMP cut after {size}", Kind(v4(cut(echo, size), ICMP))
    wrong = Kind(v4(lambda e: echo(e)[:2] + b"\0\1" + echo(e)[4:], ICMP))
    yield "a wrong ICMP checksum", wrong


def _returned4(e: Ends) -> Iterator[tuple[str, str, bytes]]:
    """Yield what a client's error returns: a packet of the VIP's, whole or hardly."""
    back = segment(VIP, e.four, 80, e.port, SYN | ACK)
    answer = datagram(VIP, e.four, 53, e.port)
    yield "a segment", "tcp/80", ipv4(VIP, e.four, TCP, back)
    yield "a datagram", "udp/53", ipv4(VIP, e.four, UDP, answer)
    yield "a ping", "", ipv4(VIP, e.four, ICMP, echo(e, 0))
    yield "SCTP", "sctp/5000", ipv4(VIP, e.four, SCTP, struct.pack("!HHII", 5000, e.port, 9, 0))
    yield "eight bytes of a segment", "tcp/80", ipv4(VIP, e.four, TCP, back[:8])
    yield "a header", "tcp/80", ipv4(VIP, e.four, TCP, b"")
    yield "half a header", "", ipv4(VIP, e.four, TCP, back)[:19]
    yield "a fragment", "", ipv4(VIP, e.four, UDP, answer, fragment=0x2005)
    yield "what is not IP", "", bytes(28)
    yield "nothing", "", b""


def _errors4() -> Named:
    shape = Ends("10.64.0.1", "2001:db8:64::1", 1, ROUTER, ROUTER)
    returned = [(name, dealt) for name, dealt, _ in _returned4(shape)]
    codes = {3: range(16), 4: (0,), 5: (0, 1), 11: (0, 1, 2), 12: (0, 1)}
    for kind, code in ((kind, code) for kind, every in codes.items() for code in every):
        for at, (name, dealt) in enumerate(returned if code == 0 else returned[:1]):

            def error(e: Ends, at: int = at, kind: int = kind, code: int = code) -> bytes:
                return echo(e, kind, code, list(_returned4(e))[at][2] or b"\0")

            # A redirect is no error: it is its sender's.
            yield f"ICMP {kind}/{code} of {name}", Kind(v4(error, ICMP), dealt if kind != 5 else "")


def _icmp6() -> Named:
    for kind in (0, 5, 100, 127, 129, 130, 131, 132, 133, 137, 138, 139, 140, 141, 142, 143, 144,
                 146, 148, 151, 155, 160, 200, 255):  # fmt: skip
        yield f"ICMPv6 {kind}", Kind(v6(partial(echo6, kind=kind), ICMP6))
        yield f"ICMPv6 {kind}, of the segment", Kind(v6(partial(echo6, kind=kind), ICMP6, hops=255))
    for size in (0, 1, 4, 7):
        yield f"ICMPv6 cut after {size}", Kind(v6(cut(echo6, size), ICMP6))
    yield "ICMPv6 over IPv4", Kind(v4(echo6, ICMP6))
    yield "ICMP over IPv6", Kind(v6(echo, ICMP))


def _errors6() -> Named:
    def back(e: Ends, body: bytes, number: int) -> bytes:
        ends = ip_address(VIP6).packed + ip_address(e.six).packed
        return struct.pack("!IHBB", 6 << 28, len(body), number, 64) + ends + body

    makes: dict[str, tuple[str, Callable[[Ends], bytes]]] = {
        "a segment": ("tcp/80", lambda e: back(e, segment(VIP6, e.six, 80, e.port, ACK), TCP)),
        "a datagram": ("udp/53", lambda e: back(e, datagram(VIP6, e.six, 53, e.port), UDP)),
        "a ping": ("", lambda e: back(e, echo6(e, 129), ICMP6)),
        "a header": ("tcp/80", lambda e: back(e, b"", TCP)),
        "half a header": ("", lambda e: back(e, b"", TCP)[:39]),
        "nothing": ("", lambda _: b"\0"),
    }
    for kind, code in (
        (1, 0),
        (1, 1),
        (1, 3),
        (1, 4),
        (1, 255),
        (2, 0),
        (3, 0),
        (3, 1),
        (4, 0),
        (4, 2),
    ):
        for name, (dealt, make) in makes.items():

            def error(
                e: Ends, kind: int = kind, code: int = code, make: Callable[[Ends], bytes] = make
            ) -> bytes:
                return echo6(e, kind, code, make(e))

            yield f"ICMPv6 {kind}/{code} of {name}", Kind(v6(error, ICMP6), dealt)
