"""Frames that tell a segment where a VIP is: gratuitous ARP and unsolicited advertisements.

Who knew the address under another MAC learns at once, instead of when his entry ages. Both forms
of gratuitous ARP are sent, since some listen to the one only (RFC 5944, 4.6).
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vipnft.errors import UsageError
from vipnft.host.change import Outcome
from vipnft.host.facts import macs, present
from vipnft.kernel.links import Links
from vipnft.kernel.packet_socket import Port
from vipnft.model import BROADCAST, Applied, Mode, Nic, send_mac
from vipnft.ruleset import ndp
from vipnft.ruleset.ndp import mac

_ARP, _IPV6 = 0x0806, 0x86DD
_REQUEST, _REPLY = 1, 2
_ALL_NODES = IPv6Address("ff02::1")


def announcements(nic: Nic, mode: Mode, macs: Mapping[str, str]) -> list[bytes]:
    """Return the frames for every VIP of an interface, whose own MAC `macs` has."""
    listen, send = nic.listen_mac(mode), send_mac(nic, mode, macs)
    arp = [_arp(vip, listen, send, kind) for vip in nic.v4 for kind in (_REQUEST, _REPLY)]
    return arp + [_advert(vip, listen, send) for vip in nic.v6]


def ethernet(destination: str, source: str, kind: int, body: bytes) -> bytes:
    """Return a frame, long enough to be one (60 bytes without its checksum)."""
    frame = mac(destination) + mac(source) + struct.pack("!H", kind) + body
    return frame + bytes(max(0, 60 - len(frame)))


def _arp(vip: IPv4Address, listen: str, send: str, operation: int) -> bytes:
    who, target = mac(listen), mac(BROADCAST if operation == _REPLY else "00:00:00:00:00:00")
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet(BROADCAST, send, _ARP, head + who + vip.packed + target + vip.packed)


def _advert(vip: IPv6Address, listen: str, send: str) -> bytes:
    body = ndp.advertisement(vip, _ALL_NODES, listen)
    return ethernet(ndp.group_mac(_ALL_NODES), send, _IPV6, ndp.packet(vip, _ALL_NODES, body))


def announce(applied: Applied) -> int:
    """Tell the segments where the VIPs are; return in how many frames. UsageError if it can't."""
    with Links() as links:
        own = macs(applied, present(links, applied))
    count = 0
    for nic in applied.nics:
        with Port(nic.interface) as port:
            for frame in announcements(nic, applied.mode, own):
                port.send(frame)
                count += 1
    return count


def announced(outcome: Outcome, applied: Applied) -> Outcome:
    """Announce, and say so where it can't be: it serves all the same."""
    try:
        announce(applied)
    except UsageError as error:
        notes = (*outcome.notes, f"the VIPs were not announced: {error}")
        return replace(outcome, notes=notes)
    return outcome
