"""Odd packets: what is odd about the frame, or about the IP header. The rest: odd_bodies.py."""

from collections.abc import Callable, Sequence
from itertools import product

from tests.netns.odd_packets import (
    ASKED,
    ICMP,
    ICMP6,
    TCP,
    UDP,
    Ends,
    Kind,
    Named,
    echo,
    echo6,
    frame,
    ip4,
    ip6,
    short,
    tcp4,
    tcp6,
    udp4,
    udp6,
    v4,
    v6,
)
from tests.netns.packets import ARP, BROADCAST, IPV4, IPV6, arp, solicitation


def plain() -> Named:
    """What is not odd: without an answer to these, silence would prove nothing."""
    yield "a SYN", Kind(v4(tcp4, TCP), "tcp/80", answered=True)
    yield "a SYN, IPv6", Kind(v6(tcp6, TCP), "tcp/80", answered=True)
    yield "a SYN to a closed port", Kind(v4(lambda e: tcp4(e, dport=81), TCP), answered=True)
    yield "a datagram", Kind(v4(udp4, UDP), "udp/53", answered=True)
    yield "a datagram, IPv6", Kind(v6(udp6, UDP), "udp/53", answered=True)
    yield "a ping", Kind(v4(echo, ICMP), answered=True)
    yield "a ping, IPv6", Kind(v6(echo6, ICMP6), answered=True)
    yield "who has the VIP", Kind(lambda e: [arp(e.four)], ASKED, answered=True)
    asked = Kind(lambda e: [solicitation(e.six, listen=e.listen)], ASKED, answered=True)
    yield "who has the VIP, IPv6", asked


TAGS = {
    "VLAN 7": b"\x81\x00\x00\x07",
    "VLAN 0": b"\x81\x00\x00\x00",
    "VLAN 0, priority 7": b"\x81\x00\xe0\x00",
    "VLAN 4095": b"\x81\x00\x0f\xff",
    "802.1ad 7": b"\x88\xa8\x00\x07",
    "802.1ad 0": b"\x88\xa8\x00\x00",
    "802.1ad over VLAN 7": b"\x88\xa8\x00\x02\x81\x00\x00\x07",
    "VLAN 0 over VLAN 7": b"\x81\x00\x00\x00\x81\x00\x00\x07",
    "VLAN 0, twice": b"\x81\x00\x00\x00\x81\x00\x00\x00",
    "VLAN 0, four times": b"\x81\x00\x00\x00" * 4,
    "VLAN 7 over VLAN 0": b"\x81\x00\x00\x07\x81\x00\x00\x00",
    "802.1ad 0 over VLAN 0": b"\x88\xa8\x00\x00\x81\x00\x00\x00",
    "QinQ of old": b"\x91\x00\x00\x07",
    "MPLS": b"\x88\x47\x00\x01\x01\x40",
    "PPPoE": b"\x88\x64\x11\x00\x00\x01\x00\x16\x00\x21",
}


def frames() -> Named:
    """What is odd about the frame around a good packet."""
    packets: dict[str, tuple[bytes, Callable[[Ends], bytes], str]] = {
        "SYN": (IPV4, lambda e: ip4(e, TCP, tcp4(e)), "tcp/80"),
        "SYN, IPv6": (IPV6, lambda e: ip6(e, TCP, tcp6(e)), "tcp/80"),
        "ping": (IPV4, lambda e: ip4(e, ICMP, echo(e)), ""),
        "ping, IPv6": (IPV6, lambda e: ip6(e, ICMP6, echo6(e)), ""),
        "ARP": (ARP, lambda e: arp(e.four)[14:], ASKED),
        "solicitation": (IPV6, lambda e: solicitation(e.six)[14:], ASKED),
    }
    targets: dict[str, Callable[[Ends], str]] = {
        "the listen MAC": lambda e: e.listen,
        "a host's own MAC": lambda e: e.own,
        "all": lambda _: BROADCAST,
        "a group": lambda _: "01:00:5e:00:00:01",
        "a group of IPv6": lambda _: "33:33:00:00:00:01",
        "a MAC of nobody": lambda _: "02:00:5e:00:53:01",
        "no MAC": lambda _: "00:00:00:00:00:00",
        "what bridges keep": lambda _: "01:80:c2:00:00:00",
    }
    for word, (ethertype, make, dealt) in packets.items():
        for (name, tag), (way, target) in product(TAGS.items(), targets.items()):

            def tagged(
                e: Ends, kind: bytes = ethertype, make: Callable[[Ends], bytes] = make,
                tag: bytes = tag, to: Callable[[Ends], str] = target,
            ) -> list[bytes]:  # fmt: skip
                return [frame(e, kind, make(e), tag=tag, to=to(e))]

            yield f"{word} behind {name} to {way}", Kind(tagged, dealt)
        for name, target in targets.items():

            def sent(
                e: Ends, kind: bytes = ethertype, make: Callable[[Ends], bytes] = make,
                to: Callable[[Ends], str] = target,
            ) -> list[bytes]:  # fmt: skip
                return [frame(e, kind, make(e), to=to(e))]

            yield f"{word} to {name}", Kind(sent, dealt)
    yield "IPv6 called IPv4", Kind(lambda e: [frame(e, IPV4, ip6(e, TCP, tcp6(e)))], "tcp/80")
    yield "IPv4 called IPv6", Kind(lambda e: [frame(e, IPV6, ip4(e, TCP, tcp4(e)))], "tcp/80")
    yield (
        "LLC",
        Kind(lambda e: [frame(e, b"\x00\x30", b"\xaa\xaa\x03\0\0\0\x08\0" + ip4(e, TCP, tcp4(e)))]),
    )
    for size in (0, 1, 9, 12, 19, 20, 22, 24, 27, 33, 39):
        yield f"IPv4 cut after {size}", Kind(short(v4(tcp4, TCP), size), "tcp/80")
    for size in (0, 7, 8, 24, 39, 40, 42, 44, 53, 59):
        yield f"IPv6 cut after {size}", Kind(short(v6(tcp6, TCP), size), "tcp/80")


OPTIONS4 = {
    "nothing": b"\1\1\1\1",
    "an end": b"\0\0\0\0",
    "record route": b"\x07\x07\x04\0\0\0\0\0",
    "loose route": b"\x83\x07\x04\xc0\x00\x02\x01\0",
    "strict route": b"\x89\x07\x04\xc0\x00\x02\x01\0",
    "timestamp": b"\x44\x08\x05\0\0\0\0\0",
    "router alert": b"\x94\x04\0\0",
    "security": b"\x82\x0b\0\0\0\0\0\0\0\0\0\0",
    "length 0": b"\x07\0\0\0",
    "length 255": b"\x07\xff\x04\0",
    "one unknown": b"\xde\x04\0\0",
    "as many as there can be": b"\1" * 40,
}


def headers4() -> Named:
    syn = tcp4
    for name, options in OPTIONS4.items():
        yield f"IPv4 option: {name}", Kind(v4(syn, TCP, options=options), "tcp/80")
        yield f"a ping with IPv4 option: {name}", Kind(v4(echo, ICMP, options=options))
    for first in (0x05, 0x15, 0x55, 0x65, 0xF5, 0x40, 0x44, 0x46, 0x4F):
        yield f"IPv4 begins with {first:#x}", Kind(v4(syn, TCP, first=first), "tcp/80")
    for total in (0, 19, 20, 28, 39, 41, 1500, 65535):
        yield f"IPv4 of {total} bytes", Kind(v4(syn, TCP, total=total), "tcp/80")
    for ttl in (0, 1, 255):
        yield f"TTL {ttl}", Kind(v4(syn, TCP, ttl=ttl), "tcp/80")
        yield f"a ping, TTL {ttl}", Kind(v4(echo, ICMP, ttl=ttl))
    for tos in (0x03, 0xFC, 0xFF):
        yield f"TOS {tos:#x}", Kind(v4(syn, TCP, tos=tos), "tcp/80")
    yield "a wrong IPv4 checksum", Kind(v4(syn, TCP, bad=True), "tcp/80")
    for name, bits in {"DF": 0x4000, "reserved": 0x8000, "reserved and DF": 0xC000}.items():
        yield f"IPv4 flag {name}", Kind(v4(syn, TCP, fragment=bits), "tcp/80")


def _pieces(e: Ends, protocol: int, body: bytes, cuts: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return fragments of a body, from and to these bytes; one to the end is the last."""
    return [
        frame(
            e,
            IPV4,
            ip4(e, protocol, body[a:b], fragment=a // 8 | (0x2000 if b < len(body) else 0)),
        )
        for a, b in cuts
    ]


CUTS = {
    "in order": ((0, 16), (16, 32)),
    "backwards": ((16, 32), (0, 16)),
    "the first alone": ((0, 16),),
    "the last alone": ((16, 32),),
    "one in the middle": ((8, 16),),
    "twice": ((0, 16), (0, 16), (16, 32), (16, 32)),
    "overlapping": ((0, 24), (16, 32)),
    "one within another": ((0, 24), (8, 16), (24, 32)),
    "eight bytes each": ((0, 8), (8, 16), (16, 24), (24, 32)),
    "with a hole": ((0, 8), (24, 32)),
}


def whole(
    tcp: Callable[..., bytes], udp: Callable[..., bytes], ping: Callable[..., bytes], icmp: int
) -> dict[str, tuple[int, Callable[[Ends], bytes], str]]:
    """Return what is sent in pieces, of 32 bytes each: its protocol, it, and by which service it is
    dealt."""
    return {
        "SYN": (TCP, lambda e: tcp(e, data=b"x" * 12), "tcp/80"),
        "SYN to a closed port": (TCP, lambda e: tcp(e, dport=81, data=b"x" * 12), ""),
        "null segment": (TCP, lambda e: tcp(e, dport=81, flags=0, data=b"x" * 12), ""),
        "datagram": (UDP, lambda e: udp(e, data=b"y" * 24), "udp/53"),
        "ping": (icmp, lambda e: ping(e, rest=b"z" * 24), ""),
    }


def fragments4() -> Named:
    bodies = whole(tcp4, udp4, echo, ICMP)
    for word, (protocol, make, dealt) in bodies.items():
        for name, cuts in CUTS.items():

            def cut(
                e: Ends, protocol: int = protocol, make: Callable[[Ends], bytes] = make,
                cuts: Sequence[tuple[int, int]] = cuts,
            ) -> list[bytes]:  # fmt: skip
                return _pieces(e, protocol, make(e), cuts)

            yield f"a {word} in fragments: {name}", Kind(cut, dealt)
    far = Kind(v4(lambda _: b"x" * 64, UDP, fragment=0x1FFF), "udp/53")
    yield "a fragment beyond 65535", far
    yield "a fragment of nothing", Kind(v4(lambda _: b"", UDP, fragment=0x2000), "udp/53")
