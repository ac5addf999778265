"""Frames read off a node's interface, both ways, as they pass.

Rule 1: a count is never silently short: if the kernel dropped a frame for want of room, the
        figures can't be had, only an error.
Rule 2: nobody sleeps: `until` returns when the frames read so far satisfy the caller.
Rule 3: what was sent before `stop` is called has been counted when it returns.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable

from vipnft.errors import VipnftError
from vipnft.lab.frames import SNAP_BYTES, Frame, parse
from vipnft.lab.lab import Lab
from vipnft.lab.reader import Reader, widen
from vipnft.lab.tally import Tally

BUFFER_BYTES = 64 << 20
"""Bytes of socket buffer asked for; without root the kernel grants net.core.rmem_max."""

_ETH_P_ALL = 0x0003  # linux/if_ether.h
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
_BATCH = 256


class Wire(Reader):
    """Counts what passes an interface: `with Wire(lab, "router") as wire: ...; wire.tally`.

    `keep`: all frames are kept, in `frames`, besides being counted.
    """

    def __init__(self, lab: Lab, node: str, interface: str = "eth0", *, keep: bool = False) -> None:
        self.where = f"{interface} of {node}"
        self.frames: list[Frame] = []
        self.dropped = 0
        self._tally = Tally()
        self._keep = keep
        self._news = threading.Condition()
        # Protocol 0 until bound to the interface: or it reads all interfaces meanwhile.
        source = lab.socket(node, socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            widen(source, BUFFER_BYTES)
            source.setblocking(False)
            source.bind((interface, _ETH_P_ALL))
        except BaseException:
            source.close()
            raise
        super().__init__(source, f"wire {node}")

    @property
    def tally(self) -> Tally:
        """The figures; VipnftError if frames were dropped. Complete once stopped."""
        if self._failure is not None:
            raise self._failure
        if self.dropped:
            raise VipnftError(
                f"{self.where}: {self.dropped} frames were not counted, the buffer was full",
                fix="run it as root, or raise net.core.rmem_max",
            )
        return self._tally

    def until(self, enough: Callable[[Tally], bool], timeout: float = 300.0) -> Tally:
        """Return the figures as soon as `enough` of them says so; VipnftError if it never does."""
        end = time.monotonic() + timeout
        with self._news:
            while not enough(self.tally):
                if not self._news.wait(end - time.monotonic()):
                    raise VipnftError(
                        f"{self.where}: not seen within {timeout:g} s what was waited for",
                        fix="see what did pass: Wire(..., keep=True).frames",
                    )
            return self.tally

    def _failed(self, failure: BaseException) -> None:
        with self._news:
            super()._failed(failure)
            self._news.notify_all()

    def _drain(self) -> None:
        while self._batch():
            pass

    def _batch(self) -> bool:
        """Read and count some frames; tell whether there may be more."""
        read: list[Frame] = []
        more = True
        while more and len(read) < _BATCH:
            try:
                data, whence = self._socket.recvfrom(SNAP_BYTES)
            except BlockingIOError:
                more = False
                break
            frame = parse(data, outgoing=whence[2] == socket.PACKET_OUTGOING)
            if frame is not None:
                read.append(frame)
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        with self._news:
            self.dropped += struct.unpack("II", statistics)[1]  # reading it sets it back to 0
            for frame in read:
                self._tally.add(frame)
            if self._keep:
                self.frames += read
            self._news.notify_all()
        return more
