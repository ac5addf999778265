"""Does another machine on the segment have a VIP?

Rule 1: nobody learns anything by being asked. By ARP it is asked from 0.0.0.0 (RFC 5227, 2.1.1),
        which no proxy answers either. By a solicitation it is asked from an address of the
        interface's own: who is asked from nobody tells all neighbours, and routers would follow.
Rule 2: a host of this cluster answers with the listen MAC; whoever says another one is no friend.
Rule 3: an interface is as before: nothing is promiscuous, and frames that are no answers are left
        in the kernel.
"""

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from vipnft.host.announce import ethernet
from vipnft.kernel import libc
from vipnft.kernel.packet_socket import Port, receive
from vipnft.model import BROADCAST, Cluster, Mode, Nic
from vipnft.ruleset import ndp
from vipnft.ruleset.ndp import mac

_ARP, _IPV6, _REQUEST, _REPLY = 0x0806, 0x86DD, 1, 2
_BODY = struct.Struct("!HHBBH6s4s6s4s")
_HEADER_BYTES = 14  # of Ethernet
_IS_REPLY = {21: _REPLY}  # bytes of a frame, by where they stand: the operation
_IS_ADVERT = {20: 58, 54: ndp.ADVERTISE}  # what follows the IPv6 header, and its type
_ANSWERS_S = 0.3  # seconds for which answers are waited for
REMEDY = "take the address from it, or another one for the service"
"""What to do about a claim."""


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """Another machine that says it has a VIP."""

    interface: str
    vip: str
    mac: str

    def __str__(self) -> str:
        return f"another machine on {self.interface} has {self.vip}: {self.mac}"


class Inquiry:
    """Asks on these interfaces who has their VIPs; use it as a context manager. UsageError without
    the right to send raw frames, or if an interface is down.

    `unasked` has a sentence for each question that could not be put.
    """

    def __init__(self, cluster: Cluster, nics: Sequence[Nic]) -> None:
        self.unasked: tuple[str, ...] = ()
        self._nics = {nic.interface: nic for nic in nics}
        self._ours = {one for host in cluster.hosts for one in host.send_macs.values()}
        self._ours |= {nic.listen_mac(mode) for nic in nics for mode in Mode}
        with ExitStack() as opened:
            self._ports = [port for nic in nics for port in self._ask(nic, opened)]
            self._opened = opened.pop_all()
        self._end = time.monotonic() + _ANSWERS_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def claims(self) -> frozenset[Claim]:
        """Return who else has a VIP, 0.3 s after it was asked at the earliest."""
        found = set()
        while (heard := receive(self._ports, self._end)) is not None:
            port, frame = heard
            nic = self._nics[port.interface]
            for vip, answered in _answers(frame, nic):
                if answered not in self._ours:
                    found.add(Claim(nic.interface, str(vip), answered))
        return frozenset(found)

    def _ask(self, nic: Nic, opened: ExitStack) -> Iterator[Port]:
        own = libc.mac_of(nic.interface) or "00:00:00:00:00:00"
        self._ours.add(own)
        if nic.v4:
            port = opened.enter_context(Port(nic.interface, _ARP, only=_IS_REPLY))
            for vip in nic.v4:
                port.send(ethernet(BROADCAST, own, _ARP, _arp_question(vip, own)))
            yield port
        if not nic.v6:
            return
        source = libc.ipv6_of(nic.interface)
        if source is None:
            why = f"{nic.interface} has no IPv6 address to ask from"
            self.unasked += (f"who else has {', '.join(map(str, nic.v6))} was not asked: {why}",)
            return
        port = opened.enter_context(Port(nic.interface, _IPV6, only=_IS_ADVERT))
        for address in nic.v6:
            group = ndp.solicited_node(address)
            question = ndp.packet(source, group, ndp.solicitation(address, source, own))
            port.send(ethernet(ndp.group_mac(group), own, _IPV6, question))
        yield port


def _arp_question(vip: IPv4Address, own: str) -> bytes:
    return _BODY.pack(1, 0x0800, 6, 4, _REQUEST, mac(own), bytes(4), bytes(6), vip.packed)


def _answers(frame: bytes, nic: Nic) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    """Yield the VIP, and who says that he has it, if a frame says so."""
    kind, body = int.from_bytes(frame[12:14], "big"), frame[_HEADER_BYTES:]
    if kind == _ARP and len(body) >= _BODY.size:
        *_, sender, address, _, _ = _BODY.unpack_from(body)
        said = IPv4Address(address)
        if said in nic.v4:
            yield said, sender.hex(":")
    if kind == _IPV6 and (advert := ndp.advertised(body)):
        target, at = advert
        if target in nic.v6:
            yield target, at or frame[6:12].hex(":")
