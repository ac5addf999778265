"""A kept HTTP connection to one address, with TLS or without, by the standard library.

Rule 1: connecting and asking are two calls: what fails in the first was never sent.
Rule 2: a request goes to that address and nowhere else, and as it is: no redirects, no proxies or
        CA bundles of the environment, which are for browsers, and no compression.
Rule 3: no answer is read past its bound.
Rule 4: what was given up is not sent any more: the kernel would try for minutes after a close, or
        after the death of this process, and a member do it long after all.
"""

import http.client
import json
import select
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_ANSWER_BYTES = 16 << 20
"""The longest answer that is read: the keys of a cluster of 1,000 hosts take a tenth of it."""
_RESET = struct.pack("ii", 1, 0)
"""Lingering for no time: a close is a reset, and what was not sent is let go (socket(7))."""
BROKEN = (OSError, http.client.HTTPException)
"""What a connection raises when it ends, breaks, hangs or speaks something else than HTTP."""


class Unreadable(Exception):  # noqa: N818 - named for what is wrong
    """A file of the credentials can't be used."""


class TooLong(http.client.HTTPException):
    """The answer is longer than any should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to etcd. With a CA the connection is TLS."""

    user: str = ""
    password: str = ""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files; OSError if they can't be used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key, password=lambda: "")
        return context


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer as it came."""

    status: int
    reason: str
    body: bytes


class Connection:
    """A kept connection to one address."""

    def __init__(self, address: tuple[str, int], credentials: Credentials) -> None:
        self._address, self._credentials = address, credentials
        self._http: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._over = False

    def open(self, timeout: float) -> None:
        """Connect, handshake included; do nothing where a connection stands.

        Raises Unreadable, one of BROKEN, or UnicodeError for a name that can't be one.
        """
        if self._http and self._http.sock and not _readable(self._http.sock):
            return
        self.close()  # readable while nothing was asked: the member has ended it
        if self._credentials.ca:
            try:
                context = self._credentials.context()  # of files that may have been renewed
            except OSError as error:
                raise Unreadable(str(error)) from error
            self._http = http.client.HTTPSConnection(
                *self._address, timeout=timeout, context=context
            )
        else:
            self._http = http.client.HTTPConnection(*self._address, timeout=timeout)
        self._http.connect()
        self._socket = self._http.sock
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self._over:
            raise ConnectionAbortedError("closed while it was opened")

    def post(
        self, path: str, body: Any, token: str | None, timeout: float
    ) -> http.client.HTTPResponse:
        """Send JSON over the open connection; return when the answer's head has come."""
        assert self._http is not None  # noqa: S101 - see `open`
        self._http.sock.settimeout(timeout)
        headers = {"Authorization": token} if token else {}
        text = json.dumps(body, separators=(",", ":"))
        self._http.request("POST", f"/v3/{path}", text, headers)
        return self._http.getresponse()

    def ask(self, path: str, body: Any, token: str | None, timeout: float) -> Reply:
        """Send JSON over the open connection; return the whole answer."""
        with self.post(path, body, token, timeout) as answer:
            content = answer.read(_ANSWER_BYTES + 1)
            if len(content) > _ANSWER_BYTES:
                raise TooLong(
                    f"it answers more than {_ANSWER_BYTES >> 20} MiB: see what stands below this"
                    " cluster's keys (etcdctl get --keys-only --prefix /vipnft/)"
                )
            if answer.length:  # such a read ends early without an error
                raise http.client.IncompleteRead(content, answer.length)
            return Reply(answer.status, answer.reason, content)

    def shutdown(self) -> None:
        """End it for good, under a thread that opens it or reads from it."""
        self._over = True
        self.cut()

    def cut(self) -> None:
        """End what is open, under a thread that reads from it; the next `open` opens another."""
        if self._socket:
            with suppress(OSError):  # it has just ended by itself
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; the next `open` opens one."""
        if self._http:
            self._http.close()
        self._http = self._socket = None


def _readable(end: socket.socket) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(0))
