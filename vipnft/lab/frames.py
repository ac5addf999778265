"""What an Ethernet frame says, as far as a lab counts it. Pure: bytes in, a value out.

Rule 1: no frame is an error. What can't be read is left at its "nothing there" value.
Rule 2: checksums are not looked at: on a veth they are often not filled in.
Rule 3: MACs and addresses are text as people write them, in lower case.
"""

import socket
import struct
from dataclasses import dataclass
from typing import NamedTuple

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ARP_REQUEST, ARP_REPLY = 1, 2

SOLICIT, ADVERT = 135, 136

SNAP_BYTES = 160
"""Bytes of a frame that are enough for `parse`, with every IPv4 option there can be, or a few
extension headers of IPv6."""

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_EXTENSION = struct.Struct("!BBH")
_HOP_BY_HOP, _FRAGMENT, _DESTINATION = 0, 44, 60
_ND = struct.Struct("!BBHI16s")
_TCP = struct.Struct("!HHIIHH")
_UDP = struct.Struct("!HH")


class Arp(NamedTuple):
    """The fields of an ARP packet: who says it, and whom it is about or for."""

    operation: int
    sender_mac: str
    sender: str
    target_mac: str
    target: str


class Nd(NamedTuple):
    """A neighbour solicitation or advertisement: its type, whom it is about, and the MAC that
    its first option gives, if there is one."""

    type: int
    target: str
    mac: str


class Tcp(NamedTuple):
    """What a TCP segment says of its connection."""

    flags: int = 0
    seq: int = 0
    ack: int = 0


class Icmp(NamedTuple):
    """An ICMP message's type and code, and what neighbour discovery says in it."""

    type: int = -1
    code: int = -1
    nd: Nd | None = None


_NO_TCP, _NO_ICMP = Tcp(), Icmp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame. Ports are 0 without TCP or UDP; `outgoing`: it was sent by the node that it was
    read at, not received there."""

    outgoing: bool
    src_mac: str
    dst_mac: str
    ethertype: int
    arp: Arp | None = None
    src: str = ""
    dst: str = ""
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    tcp: Tcp = _NO_TCP
    icmp: Icmp = _NO_ICMP

    @property
    def is_syn(self) -> bool:
        """The first segment of a TCP handshake."""
        return self.protocol == TCP and self.tcp.flags & (SYN | ACK | RST | FIN) == SYN

    @property
    def is_syn_ack(self) -> bool:
        """The answer to it."""
        return self.protocol == TCP and self.tcp.flags & (SYN | ACK | RST | FIN) == SYN | ACK

    @property
    def is_rst(self) -> bool:
        """A refusal, or an end by force."""
        return self.protocol == TCP and bool(self.tcp.flags & RST)


def parse(data: bytes, *, outgoing: bool = False) -> Frame | None:
    """Read a frame; None if it is too short to be one. It may be cut off (see SNAP_BYTES)."""
    if len(data) < _ETHERNET.size:
        return None
    dst, src, ethertype = _ETHERNET.unpack_from(data)
    macs = {"outgoing": outgoing, "src_mac": src.hex(":"), "dst_mac": dst.hex(":")}
    read = {ETH_ARP: _arp, ETH_IPV4: _ipv4, ETH_IPV6: _ipv6}.get(ethertype, _nothing)
    more = read(data[_ETHERNET.size :])
    return Frame(**macs, ethertype=ethertype, **more)  # type: ignore[arg-type]


def _nothing(_data: bytes) -> dict[str, object]:
    return {}


def _arp(data: bytes) -> dict[str, object]:
    if len(data) < _ARP.size:
        return {}
    hardware, protocol, mac_size, size, operation, *who = _ARP.unpack_from(data)
    if (hardware, protocol, mac_size, size) != (1, ETH_IPV4, 6, 4):
        return {}
    sender_mac, sender, target_mac, target = who
    arp = Arp(
        operation,
        sender_mac.hex(":"),
        socket.inet_ntoa(sender),
        target_mac.hex(":"),
        socket.inet_ntoa(target),
    )
    return {"arp": arp}


def _ipv4(data: bytes) -> dict[str, object]:
    if len(data) < _IPV4.size:
        return {}
    first, _, _, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(data)
    if first >> 4 != 4:
        return {}
    found: dict[str, object] = {
        "src": socket.inet_ntoa(src),
        "dst": socket.inet_ntoa(dst),
        "protocol": protocol,
    }
    header = (first & 15) * 4
    if fragment & 0x1FFF or header < _IPV4.size:  # a later fragment has no ports
        return found
    return found | _transport(protocol, data[header:])


def _ipv6(data: bytes) -> dict[str, object]:
    if len(data) < _IPV6.size:
        return {}
    _, _, protocol, _, src, dst = _IPV6.unpack_from(data)
    found: dict[str, object] = {
        "src": socket.inet_ntop(socket.AF_INET6, src),
        "dst": socket.inet_ntop(socket.AF_INET6, dst),
    }
    rest = data[_IPV6.size :]
    while protocol in {_HOP_BY_HOP, _FRAGMENT, _DESTINATION} and len(rest) >= 8:
        following, length, offset = _EXTENSION.unpack_from(rest)
        if protocol == _FRAGMENT and offset & 0xFFF8:  # a later fragment has no ports
            return found | {"protocol": following}
        rest = rest[8 if protocol == _FRAGMENT else 8 * (length + 1) :]
        protocol = following
    return found | {"protocol": protocol} | _transport(protocol, rest)


def _transport(protocol: int, data: bytes) -> dict[str, object]:
    if protocol == TCP and len(data) >= _TCP.size:
        sport, dport, seq, ack, flags, _ = _TCP.unpack_from(data)
        return {"sport": sport, "dport": dport, "tcp": Tcp(flags & 0xFF, seq, ack)}
    if protocol == UDP and len(data) >= _UDP.size:
        sport, dport = _UDP.unpack_from(data)
        return {"sport": sport, "dport": dport}
    if protocol in {ICMP, ICMP6} and len(data) >= 2:
        about = _nd(data) if protocol == ICMP6 and data[0] in {SOLICIT, ADVERT} else None
        return {"icmp": Icmp(data[0], data[1], about)}
    return {}


def _nd(data: bytes) -> Nd | None:
    if len(data) < _ND.size:
        return None
    kind, _, _, _, target = _ND.unpack_from(data)
    option = data[_ND.size : _ND.size + 8]
    mac = option[2:].hex(":") if len(option) == 8 and option[0] in {1, 2} else ""
    return Nd(kind, socket.inet_ntop(socket.AF_INET6, target), mac)
