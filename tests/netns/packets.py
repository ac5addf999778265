"""Frames made by hand, with right checksums, and sent out of a node's interface."""

import errno
import os
import socket
import struct
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from tests.netns.support import LISTEN, VIP, VIP6
from vipnft.lab.lab import Lab
from vipnft.ruleset.ndp import group_mac, mac, solicited_node

ROUTER = "02:00:00:01:00:00"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, IPV6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"


def send(lab: Lab, node: str, *frames: bytes, interface: str = "eth0") -> None:
    with lab.socket(node, socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        for frame in frames:
            _put(port, frame, (interface, int.from_bytes(frame[12:14], "big")))


def _put(port: socket.socket, frame: bytes, to: tuple[str, int]) -> None:
    """Send a frame, once whoever is to take it off a veth has room for it."""
    end = time.monotonic() + 60
    while True:
        try:
            port.sendto(frame, to)
        except OSError as error:
            if error.errno != errno.ENOBUFS or time.monotonic() > end:
                raise
            os.sched_yield()
        else:
            return


def arp(
    asker: str,
    target: str = VIP,
    *,
    source: str = ROUTER,
    destination: str = BROADCAST,
    tag: bytes = b"",
    operation: int = 1,
) -> bytes:
    body = struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation,
        mac(source), IPv4Address(asker).packed, b"", IPv4Address(target).packed,
    )  # fmt: skip
    return mac(destination) + mac(source) + tag + ARP + body


def icmp6(source: str, target: str, body: bytes, *, hops: int = 255) -> bytes:
    """Return an IPv6 packet of an ICMPv6 message whose checksum is not filled in yet."""
    a, b = IPv6Address(source).packed, IPv6Address(target).packed
    total = checksum(a + b + struct.pack("!II", len(body), 58) + body)
    body = body[:2] + struct.pack("!H", total) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), 58, hops) + a + b + body


def solicitation(
    asker: str,
    target: str = VIP6,
    *,
    source: str = ROUTER,
    to: str = "",
    listen: str = LISTEN,
    options: Sequence[bytes] | None = None,
    hops: int = 255,
    tag: bytes = b"",
) -> bytes:
    """Return a neighbour solicitation; without `to`, to the group, as when nothing is known."""
    group = solicited_node(IPv6Address(target))
    own = [] if asker == "::" else [b"\1\1" + mac(source)]
    more = b"".join(own if options is None else options)
    body = struct.pack("!BBHI", 135, 0, 0, 0) + IPv6Address(target).packed + more
    destination = listen if to else group_mac(group)
    packet = IPV6 + icmp6(asker, to or str(group), body, hops=hops)
    return mac(destination) + mac(source) + tag + packet


def ipv4(source: str, target: str, protocol: int, body: bytes, *, fragment: int = 0) -> bytes:
    """Return an IPv4 packet; `fragment` is the whole field: flags and offset."""
    a, b = IPv4Address(source).packed, IPv4Address(target).packed
    size = 20 + len(body)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 7, fragment, 64, protocol, 0, a, b)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def membership_query(tenths: int) -> bytes:
    """Return an IGMP query of all groups (RFC 2236, 2), to be answered in so many 0.1 s."""
    body = struct.pack("!BBHI", 0x11, tenths, 0, 0)
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    packet = ipv4("192.0.2.254", "224.0.0.1", 2, body)
    return mac("01:00:5e:00:00:01") + mac(ROUTER) + IPV4 + packet


def tcp(source: str, target: str, port: int, flags: int, data: bytes = b"") -> bytes:
    """Return an IPv4 packet of a segment; `data` of an even length."""
    a, b = IPv4Address(source).packed, IPv4Address(target).packed
    segment = struct.pack("!HHIIBBHHH", 4242, port, 7, 0, 5 << 4, flags, 1024, 0, 0) + data
    total = checksum(a + b + struct.pack("!HH", 6, len(segment)) + segment)
    return ipv4(source, target, 6, segment[:16] + struct.pack("!H", total) + segment[18:])


def syn(source: str, target: str = VIP, port: int = 81) -> bytes:
    """Return a SYN in an IPv4 packet."""
    return tcp(source, target, port, 2)


def udp(source: str, target: str, port: int, data: bytes = b"abcd") -> bytes:
    """Return an IPv4 packet of a datagram, without its checksum."""
    return ipv4(source, target, 17, struct.pack("!4H", 4096, port, 8 + len(data), 0) + data)


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
