"""What the lab's switch has learned: which MAC it believes behind which port.

Rule 1: a watch misses nothing: it listens before it looks, and when the kernel had to drop a
        notification the answer is an error, not a shorter list.
Rule 2: the bridge's and the ports' own entries (permanent) are not learned and not reported.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vipnft.errors import VipnftError
from vipnft.kernel import netlink
from vipnft.lab.lab import Lab
from vipnft.lab.plan import SEGMENT
from vipnft.lab.reader import Reader, widen

_BUFFER_BYTES = 8 << 20
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30  # linux/rtnetlink.h
_RTMGRP_NEIGH = 4
_NUD_PERMANENT, _NDA_LLADDR = 0x80, 2  # linux/neighbour.h

_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the forwarding table: the MAC, and the interface index of the port."""

    mac: str
    port: int


def learned(lab: Lab) -> dict[str, str]:
    """Return the switch's table: MAC to the node at that port."""
    with lab.socket(SEGMENT, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        return {entry.mac: lab.ports[entry.port] for entry in _dump(kernel)}


class FdbWatch(Reader):
    """Every MAC the switch learned while watched: `with FdbWatch(lab) as watch: ...`.

    `seen` maps each MAC to all ports it was learned at, those from before the watch included.
    """

    def __init__(self, lab: Lab) -> None:
        self._ports = lab.ports
        self._seen: dict[str, set[str]] = {}
        kind = (socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        source = lab.socket(SEGMENT, *kind)
        try:
            widen(source, _BUFFER_BYTES)
            source.bind((0, _RTMGRP_NEIGH))
            with lab.socket(SEGMENT, *kind) as asking:
                asking.bind((0, 0))
                self._note(_dump(asking))
            source.setblocking(False)
        except BaseException:
            source.close()
            raise
        super().__init__(source, "fdb watch")

    @property
    def seen(self) -> dict[str, frozenset[str]]:
        """The ports each MAC was learned at; VipnftError if a notification was lost."""
        if self._failure is not None:
            raise VipnftError(
                f"what the switch learned is not known for certain: {self._failure}",
                fix="run it as root, or raise net.core.rmem_max",
            )
        return {mac: frozenset(ports) for mac, ports in dict(self._seen).items()}

    def _note(self, entries: Iterator[Entry]) -> None:
        for entry in entries:
            if entry.port in self._ports:
                self._seen.setdefault(entry.mac, set()).add(self._ports[entry.port])

    def _drain(self) -> None:
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            self._note(entries(data))


def entries(data: bytes) -> Iterator[Entry]:
    """Yield what was learned, as far as a datagram says so."""
    for kind, _, begin, end in netlink.messages(data, len(data)):
        entry = _entry(data[begin:end]) if kind == _RTM_NEWNEIGH else None
        if entry is not None:
            yield entry


def _entry(body: bytes) -> Entry | None:
    if len(body) < _NEIGHBOUR.size:
        return None
    family, port, state, _, _ = _NEIGHBOUR.unpack_from(body)
    if family != socket.AF_BRIDGE or state & _NUD_PERMANENT:
        return None
    rest = body[_NEIGHBOUR.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            return None
        if kind == _NDA_LLADDR:
            return Entry(rest[_ATTRIBUTE.size : length].hex(":"), port)
        rest = rest[length + 3 & ~3 :]
    return None


def _dump(kernel: socket.socket) -> Iterator[Entry]:
    """Ask for the whole table."""
    body = _NEIGHBOUR.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
    for _, data, begin, end in netlink.dump(kernel, _RTM_GETNEIGH, body, "what a bridge learned"):
        entry = _entry(data[begin:end])
        if entry is not None:
            yield entry
