"""A socket that a thread reads to the end: what is before `stop` is read when it returns."""

import abc
import contextlib
import os
import select
import socket
import threading
from typing import Self

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def widen(source: socket.socket, size: int) -> None:
    """Ask for a receive buffer of `size` bytes; without root net.core.rmem_max is the most."""
    source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    with contextlib.suppress(PermissionError):
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)


class Reader(abc.ABC):
    """Owns a non-blocking socket; `_drain` reads it until nothing is left, in the thread."""

    def __init__(self, source: socket.socket, name: str) -> None:
        self._socket = source
        self._failure: BaseException | None = None
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    @abc.abstractmethod
    def _drain(self) -> None: ...

    def _failed(self, failure: BaseException) -> None:
        """Keep what ended the thread, for whoever asks for figures."""
        self._failure = failure

    def stop(self) -> None:
        """Read what is left, and close. Twice does no harm."""
        if self._socket.fileno() < 0:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.register(self._stop, select.POLLIN)
        try:
            stopping = False
            while not stopping:
                stopping = any(fd == self._stop for fd, _ in waiting.poll())
                self._drain()
        except BaseException as failure:  # whatever it is, the reader of figures must hear of it
            self._failed(failure)
