# The edge to raw frames, over packet sockets (packet(7)).
"""Send and receive frames of one interface."""

import select
import socket
import struct
import time
from typing import Self

from vipnft.errors import UsageError

_SOL_PACKET, _ADD_MEMBERSHIP, _MR_PROMISC = 263, 1, 1  # linux/socket.h, linux/if_packet.h
_SNAP = 2048


class Port:
    """A packet socket on an interface; with `kind` it receives frames of that EtherType, whoever
    they are for. UsageError without the right to (CAP_NET_RAW). Use it as a context manager."""

    def __init__(self, interface: str, kind: int = 0) -> None:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise UsageError(
                "raw frames need root (CAP_NET_RAW)", fix="run it with sudo"
            ) from error
        try:
            self._socket.bind((interface, kind))
            if kind:
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

    def send(self, frame: bytes) -> None:
        """Send a frame as it is."""
        self._socket.send(frame)

    def receive(self, until: float) -> bytes | None:
        """Return the next frame that came in, or None at the time `until` (monotonic seconds)."""
        while True:
            left = max(0.0, until - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            frame, whence = self._socket.recvfrom(_SNAP)
            if whence[2] != socket.PACKET_OUTGOING:
                return frame
