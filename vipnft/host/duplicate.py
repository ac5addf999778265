"""Does another machine on the segment have a VIP?

Rule 1: it is asked as who wants an address for himself asks (RFC 5227, 2.1.1): from 0.0.0.0, so
        that nobody learns anything.
Rule 2: a host of this cluster answers with the listen MAC; whoever says another one is no friend.
"""

import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from vipnft.host.announce import ethernet
from vipnft.kernel import libc
from vipnft.kernel.packet_socket import Port
from vipnft.model import BROADCAST, Mode, Nic
from vipnft.ruleset.ndp import mac

_ARP, _REQUEST, _REPLY = 0x0806, 1, 2
_BODY = struct.Struct("!HHBBH6s4s6s4s")
_HEADER_BYTES = 14  # of Ethernet
_ANSWERS_S = 0.5  # seconds for which answers are waited for


def others(nic: Nic, modes: Iterator[Mode] | list[Mode]) -> dict[IPv4Address, str]:
    """Return the MAC of whoever answers for an IPv4 VIP of an interface and wears the listen MAC
    of none of these modes, by VIP. UsageError without the right to send raw frames."""
    own = libc.mac_of(nic.interface) or ""
    ours = {own, *(nic.listen_mac(mode) for mode in modes)}
    found: dict[IPv4Address, str] = {}
    with Port(nic.interface, _ARP) as port:
        for vip in nic.v4:
            port.send(ethernet(BROADCAST, own, _ARP, _question(vip, own)))
        end = time.monotonic() + _ANSWERS_S
        while (frame := port.receive(end)) is not None:
            for vip, answered in _answers(frame, nic):
                if answered not in ours:
                    found[vip] = answered
    return found


def _question(vip: IPv4Address, own: str) -> bytes:
    return _BODY.pack(1, 0x0800, 6, 4, _REQUEST, mac(own), bytes(4), bytes(6), vip.packed)


def _answers(frame: bytes, nic: Nic) -> Iterator[tuple[IPv4Address, str]]:
    """Yield the VIP, and who says that he has it, if a frame says so."""
    body = frame[_HEADER_BYTES:]
    if len(body) < _BODY.size:
        return
    *_, operation, sender, address, _, _ = _BODY.unpack_from(body)
    said = IPv4Address(address)
    if operation == _REPLY and said in nic.v4:
        yield said, sender.hex(":")
