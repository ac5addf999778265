"""Tell systemd's journal, in fields: a datagram each (systemd.io, "Native Journal Protocol").

Rule 1: an agent does only where standard error is the journal's already: whoever reads it elsewhere
        gets lines.
Rule 2: who does not take a datagram within a second is not waited for again until he takes one.
"""

import os
import select
import socket
from collections.abc import Mapping

_PATH = "/run/systemd/journal/socket"
_WAIT_S = 1.0
_MOST_BYTES = 48 << 10
"""Of a value: a datagram has room for 200 kB, a line of the journal's for so much."""


def is_stderr() -> bool:
    """Tell whether standard error goes to the journal, by what the service manager says."""
    try:
        found = os.fstat(2)
    except OSError:  # it is closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def encoded(fields: Mapping[str, str]) -> bytes:
    """Return fields as a datagram: a value of several lines by its length."""
    parts = []
    for name, text in fields.items():
        value = text.encode(errors="replace")[:_MOST_BYTES]
        if b"\n" in value:
            parts += [name.encode(), b"\n", len(value).to_bytes(8, "little"), value, b"\n"]
        else:
            parts += [name.encode(), b"=", value, b"\n"]
    return b"".join(parts)


class Journald:
    """A sender, of one thread, that waits `wait` seconds for who does not take a datagram."""

    def __init__(self, path: str = _PATH, wait: float = _WAIT_S) -> None:
        self._path, self._wait = path, wait
        self._socket: socket.socket | None = None
        self._stuck = False

    def send(self, fields: Mapping[str, str]) -> bool:
        """Tell whether it was taken. OSError if there is nobody to take it."""
        data = encoded(fields)
        try:
            taken = self._put(data)
        except ConnectionError:  # another socket stands there since
            self._socket = None
            taken = self._put(data)
        self._stuck = not taken
        return taken

    def _put(self, data: bytes) -> bool:
        self._socket = one = self._socket or self._connected()
        poll = select.poll()
        poll.register(one, select.POLLOUT)
        if not poll.poll(0 if self._stuck else self._wait * 1000):
            return False
        try:
            one.send(data)
        except BlockingIOError:  # somebody else was first
            return False
        return True

    def _connected(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            one.connect(self._path)
        except OSError:
            one.close()
            raise
        return one
