"""Raw frames of one interface, sent and received over packet sockets (packet(7))."""

import ctypes
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Self

from vipnft.errors import UsageError

_SOL_PACKET, _ADD_MEMBERSHIP, _MR_PROMISC = 263, 1, 1  # linux/socket.h, linux/if_packet.h
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# linux/bpf_common.h: BPF_LD | BPF_B | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
_LOAD_BYTE, _IF_EQUAL, _RETURN = 0x30, 0x15, 0x06
_FRAME_BYTES = 2048


class Port:
    """A packet socket on an interface; with `kind` it receives frames of that EtherType, if
    `promiscuous` whoever they are for; with `only` those to this host that have these bytes, by
    where they stand. UsageError without the right to (CAP_NET_RAW). Use it as a context manager."""

    def __init__(
        self,
        interface: str,
        kind: int = 0,
        *,
        promiscuous: bool = True,
        only: Mapping[int, int] | None = None,
    ) -> None:
        self.interface = interface
        self._member: socket.socket | None = None
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except OSError as error:  # EAFNOSUPPORT where a service manager lets no such socket be
            raise UsageError(
                "raw frames need root (CAP_NET_RAW)", fix="run it with sudo"
            ) from error
        try:
            if only:
                _filter(self._socket, only)
            self._socket.bind((interface, kind))
            if kind and promiscuous and not only:
                index = socket.if_nametoindex(interface)
                wanted = struct.pack("=iHH8x", index, _MR_PROMISC, 0)
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, wanted)
        except OSError as error:
            self._socket.close()
            raise UsageError(
                f"{interface}: {error.strerror}", fix="see interface in the cluster file"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        if self._member is not None:
            self._member.close()

    def join(self, group: IPv4Address) -> None:
        """Be a member of a group, as switches that snoop must know, until closed."""
        with self._trouble():
            self._member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            index = socket.if_nametoindex(self.interface)
            wanted = struct.pack("=4s4si", group.packed, b"", index)  # struct ip_mreqn, ip(7)
            self._member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)

    def send(self, frame: bytes) -> None:
        """Send a frame as it is; UsageError if the interface is down."""
        with self._trouble():
            self._socket.send(frame)

    def receive(self, until: float) -> bytes | None:
        """Return the next frame that came in, or None at the time `until` (monotonic seconds)."""
        found = receive([self], until)
        return found[1] if found else None

    def read(self) -> bytes | None:
        """Return a frame that is there, if it came in."""
        with self._trouble():
            frame, whence = self._socket.recvfrom(_FRAME_BYTES)
        return frame if whence[2] != socket.PACKET_OUTGOING else None

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self._socket.fileno()

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"{self.interface}: {error.strerror}", fix=f"ip link set {self.interface} up"
            ) from error


def receive(ports: Sequence[Port], until: float) -> tuple[Port, bytes] | None:
    """Return the next frame that came in at any of these, or None at the time `until`."""
    while True:
        ready, _, _ = select.select(ports, [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        for port in ready:
            if (frame := port.read()) is not None:
                return port, frame


def _filter(one: socket.socket, only: Mapping[int, int]) -> None:
    """Leave in the kernel what has not these bytes (socket(7), SO_ATTACH_FILTER)."""
    tests, last = [], 2 * len(only)
    for number, (place, value) in enumerate(only.items()):
        tests.append(struct.pack("=HBBI", _LOAD_BYTE, 0, 0, place))
        tests.append(struct.pack("=HBBI", _IF_EQUAL, 0, last - 2 * number - 1, value))
    ends = [struct.pack("=HBBI", _RETURN, 0, 0, size) for size in (_FRAME_BYTES, 0)]
    program = b"".join([*tests, *ends])
    held = ctypes.create_string_buffer(program, len(program))
    wanted = struct.pack("HP", len(program) // 8, ctypes.addressof(held))  # struct sock_fprog
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, wanted)
