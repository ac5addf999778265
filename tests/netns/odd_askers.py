"""Odd packets: questions that are no good ones, and packets from addresses that nobody has."""

import struct
from collections.abc import Callable
from functools import partial

from tests.netns.odd_packets import (
    ASKED,
    ICMP,
    ICMP6,
    TCP,
    UDP,
    Ends,
    Frames,
    Kind,
    Named,
    datagram,
    echo6,
    frame,
    ip4,
    ip6,
    segment,
    short,
    summed,
)
from tests.netns.packets import IPV4, IPV6, ROUTER, arp, solicitation
from tests.netns.support import VIP, VIP6
from vipnft.ruleset.ndp import mac


def asking() -> Named:
    """ARP that is no good question."""

    def changed(at: int, to: bytes) -> Kind:
        return Kind(lambda e: [(p := arp(e.four))[:at] + to + p[at + len(to) :]], ASKED)

    for operation in (0, 2, 3, 4, 8, 9, 25, 65535):
        yield f"ARP operation {operation}", changed(20, struct.pack("!H", operation))
    yield "ARP of another hardware", changed(14, b"\0\6")
    yield "ARP of another protocol", changed(16, b"\x86\xdd")
    yield "ARP of long MACs", changed(18, b"\x08")
    yield "ARP of long addresses", changed(19, b"\x10")
    yield "ARP from a group's MAC", changed(22, b"\x01\x00\x5e\0\0\1")
    yield "ARP from no MAC", changed(22, bytes(6))
    yield "ARP with a MAC of its target", changed(32, b"\x02\0\0\0\0\x99")
    yield "RARP", Kind(lambda e: [frame(e, b"\x80\x35", arp(e.four, operation=3)[14:])], ASKED)
    for size in (1, 8, 20, 27):
        yield f"ARP cut after {size}", Kind(short(lambda e: [arp(e.four)], size), ASKED)
    yield (
        "who has the VIP, to the listen MAC",
        Kind(lambda e: [arp(e.four, destination=e.listen)], ASKED),
    )
    yield "the VIP announced by another", Kind(lambda _: [arp(VIP)], ASKED, source=VIP)
    yield "the VIP probed for", Kind(lambda _: [arp("0.0.0.0")], ASKED, source="0.0.0.0")  # noqa: S104
    yield (
        "an answer for the VIP",
        Kind(lambda e: [arp(VIP, e.four, operation=2, destination=e.listen)], ASKED, source=VIP),
    )


def soliciting() -> Named:
    """Solicitations that are no good ones, and what else neighbours say."""
    own = b"\1\1" + mac(ROUTER)
    several = {
        "without options": [],
        "with a nonce": [own, b"\x0e\1" + bytes(6)],
        "with three options": [own, b"\x0e\1" + bytes(6), b"\x0e\1" + bytes(6)],
        "with an option of length 0": [b"\1\0" + bytes(6)],
        "with a long option": [b"\1\xff" + bytes(6)],
        "with half an option": [b"\1\1\2\0"],
        "with another's option": [b"\2\1" + mac(ROUTER)],
        "with a group's MAC": [b"\1\1\x33\x33\0\0\0\1"],
    }
    for name, options in several.items():
        for to in ("", VIP6):

            def asked(e: Ends, options: list[bytes] = options, to: str = to) -> list[bytes]:
                return [solicitation(e.six, to=to, listen=e.listen, options=options)]

            yield f"a solicitation {name}{' of the VIP itself' * bool(to)}", Kind(asked, ASKED)
    for hops in (0, 1, 64, 254):
        yield f"a solicitation with hop limit {hops}", Kind(_solicited(hops), ASKED)
    cut = Kind(lambda e: [solicitation(e.six, options=[])[: 14 + 40 + 20]], ASKED)
    yield "a solicitation cut short", cut
    yield "an address tried for the VIP's", Kind(lambda _: [solicitation("::")], ASKED, source="::")
    for kind, rest in {136: bytes(16), 134: bytes(8), 135: bytes(16), 137: bytes(32)}.items():
        for hops in (64, 255):

            def said(
                e: Ends, kind: int = kind, rest: bytes = rest, hops: int = hops
            ) -> list[bytes]:
                return [frame(e, IPV6, ip6(e, ICMP6, echo6(e, kind, rest=rest), hops=hops))]

            yield f"ICMPv6 {kind} of zeros, hop limit {hops}", Kind(said)


_PING = b"\x08\0\x66\x62\0\7\0\1abcdefgh"
"""An echo request of IPv4."""


def sources() -> Named:
    """From addresses that nobody has, or somebody else."""
    four = (
        "0.0.0.0",  # noqa: S104
        "0.0.0.7",
        "127.0.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.255",
        "192.0.2.0",
        "192.0.2.1",
        "192.0.2.2",
        VIP,
    )
    for source in four:
        tcp, udp = partial(segment, source, VIP, 4242), partial(datagram, source, VIP, 4242)
        yield f"a SYN from {source}", _from4(source, TCP, tcp, "tcp/80")
        yield f"a datagram from {source}", _from4(source, UDP, udp, "udp/53")
        yield f"to a closed port from {source}", _from4(source, UDP, partial(udp, 54))
        yield f"a ping from {source}", _from4(source, ICMP, partial(bytes, _PING))
    six = ("::", "::1", "::ffff:10.64.0.1", "64:ff9b::a40:1", "ff02::1", "ff0e::1", "fe80::99",
           "2001:db8::1:1", "2001:db8::1:2", "2002:a40:1::1", VIP6)  # fmt: skip
    for source in six:
        tcp, udp = partial(segment, source, VIP6, 4242), partial(datagram, source, VIP6, 4242)
        yield f"a SYN from {source}", _from6(source, TCP, tcp, "tcp/80")
        yield f"a datagram from {source}", _from6(source, UDP, udp, "udp/53")
        yield f"to a closed port from {source}", _from6(source, UDP, partial(udp, 54))
        ping = summed(source, VIP6, ICMP6, b"\x80\0\0\0\0\7\0\1abcdefgh", 2)
        yield f"a ping from {source}", _from6(source, ICMP6, partial(bytes, ping))


def _from4(source: str, number: int, make: Callable[[], bytes], dealt: str = "") -> Kind:
    def frames(e: Ends) -> list[bytes]:
        return [frame(e, IPV4, ip4(e, number, make(), source=source))]

    return Kind(frames, dealt, source)


def _from6(source: str, number: int, make: Callable[[], bytes], dealt: str = "") -> Kind:
    def frames(e: Ends) -> list[bytes]:
        return [frame(e, IPV6, ip6(e, number, make(), source=source))]

    return Kind(frames, dealt, source)


def _solicited(hops: int) -> Frames:
    return lambda e: [solicitation(e.six, hops=hops)]
