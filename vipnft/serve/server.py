"""Answers requests, one after another, in one thread.

Rule 1: memory is bounded, whoever asks: so many connections, each with a head of so many bytes and
        so many seconds as a whole; where there is no room, who was slow longest makes it.
Rule 2: nothing of a connection ends the process.
"""

import select
import socket
import time
from collections.abc import Callable

from vipnft.serve.http import HEAD_BYTES, Refused, Request, Response, parsed, refusal

CONNECTIONS = 64
DEADLINE_S = 5.0
"""Seconds from a connection's begin to its end."""
_UNSENT_BYTES = 16 << 20
"""Of answers that wait to be read by the other sides, together."""
_READ_BYTES = 4096
_END = b"\r\n\r\n"

Answer = Callable[[Request, str], Response]
"""What is answered to whom, by the local address at which he asked."""


class _Connection:
    """Reads a head, then sends an answer, then waits for the other side to have read it."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.sock, self.ends = sock, now + DEADLINE_S
        self.head = bytearray()
        self.left: list[memoryview] = []
        self.size = 0  # of an answer that was not sent whole
        self.done = False

    def wants(self) -> int:
        return select.POLLOUT if self.left else select.POLLIN

    def send(self) -> bool:
        """Send what can be sent; tell whether all was."""
        while self.left:
            sent = self.sock.send(self.left[0])
            self.left[0] = self.left[0][sent:]
            if not self.left[0]:
                self.left.pop(0)
        return not self.left


class Server:
    """Serves what `answer` gives on a socket that listens; `names` are this host's."""

    def __init__(self, listener: socket.socket, names: frozenset[str], answer: Answer) -> None:
        self._listener, self._names, self._answer = listener, names, answer
        self._open: dict[int, _Connection] = {}
        self._poll = select.poll()
        listener.setblocking(False)
        self._poll.register(listener, select.POLLIN)

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            self.step(DEADLINE_S)

    def step(self, longest: float) -> None:
        """Wait for something to do, at most so many seconds, and do it."""
        first = min((one.ends for one in self._open.values()), default=None)
        wait = longest if first is None else max(0.0, min(longest, first - time.monotonic()))
        for number, _ in self._poll.poll(wait * 1000 + 1):
            if number == self._listener.fileno():
                self._accept()
            elif number in self._open:
                self._serve(self._open[number])
        now = time.monotonic()
        for one in [one for one in self._open.values() if one.ends <= now]:
            self._close(one)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._open) >= CONNECTIONS:
            self._close(min(self._open.values(), key=lambda one: one.ends))
        sock.setblocking(False)
        self._open[sock.fileno()] = _Connection(sock, time.monotonic())
        self._poll.register(sock, select.POLLIN)

    def _serve(self, one: _Connection) -> None:
        try:
            if one.left or not self._read(one):
                self._send(one)
        except BlockingIOError:
            pass
        except OSError:
            self._close(one)

    def _read(self, one: _Connection) -> bool:
        """Read on; tell whether there is nothing to send yet."""
        data = one.sock.recv(_READ_BYTES)
        if not data:
            raise OSError("it ended")
        if one.done:  # whatever he says more
            return True
        one.head += data
        head, end, _ = one.head.partition(_END)
        if not end and len(one.head) <= HEAD_BYTES:
            return True
        response = self._respond(one, bytes(head), too_long=len(head) > HEAD_BYTES or not end)
        one.left = [memoryview(response.head())]
        if response.body and not head.startswith(b"HEAD "):
            one.left.append(memoryview(response.body))
            one.size = len(response.body)
            self._make_room(one)
        return False

    def _make_room(self, new: _Connection) -> None:
        """Close who has left an answer unread longest, while too much waits."""
        unread = sorted(
            (one for one in self._open.values() if one.left and one is not new),
            key=lambda one: one.ends,
        )
        waiting = sum(one.size for one in (*unread, new))
        for one in unread:
            if waiting <= _UNSENT_BYTES:
                return
            waiting -= one.size
            self._close(one)

    def _respond(self, one: _Connection, head: bytes, *, too_long: bool) -> Response:
        try:
            if too_long:
                raise Refused(431, "the request is too long")
            local = str(one.sock.getsockname()[0]).removeprefix("::ffff:")
            return self._answer(parsed(head, self._names), local)
        except Refused as error:
            return refusal(error)

    def _send(self, one: _Connection) -> None:
        try:
            finished = one.send()
        finally:
            self._poll.modify(one.sock, one.wants())
        if finished:
            # Closed now, what he sent behind his request would have the kernel reset the answer.
            one.done = True
            one.sock.shutdown(socket.SHUT_WR)

    def _close(self, one: _Connection) -> None:
        del self._open[one.sock.fileno()]
        self._poll.unregister(one.sock)
        one.sock.close()
