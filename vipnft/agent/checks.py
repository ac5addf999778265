"""Run a host's checks, each in a thread of its own.

Rule 1: a probe ends at its timeout as a whole, whatever the other side does, and ends in "" or
        in a reason; what it raises is a reason, too, never the end of its thread.
Rule 2: nobody waits for a probe: `failing` only reads what the last ones left.
Rule 3: the first result counts at once; then `rise` or `fall` in a row change the state.
"""

import os
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from ipaddress import ip_address
from types import ModuleType
from typing import Any

from vipnft.agent.signals import start_apart
from vipnft.errors import UsageError
from vipnft.host.commands import GRACE_S, Command, Stop
from vipnft.model import Address, Check, CheckKind

_PAGE_BYTES = 1_000_000
"""Bytes of a page that are read; text behind them is not found."""
_KILL_S = 2 * GRACE_S
"""How long to wait, at the end, until commands are killed, seconds."""
_LONGEST_CHARS = 300
"""Letters of a reason, or of a command, that are shown."""
_OURS = {"PYTHONPATH", "PYTHONNOUSERSITE"}
"""Set by the package's command for itself: a check in Python has modules of its own."""


class Checks:
    """All checks of one host. Use it once: start, ask `failing` at will, stop."""

    def __init__(self, checks: Sequence[Check], vips: Sequence[Address]) -> None:
        """Look at the checks and run none yet; UsageError if one can't be run here at all."""
        for check in checks:
            if check.kind is CheckKind.DNS:
                _dns_probe().question(check)
        self._stop = Stop()
        self._watches = tuple(_Watch(check, tuple(vips), self._stop) for check in checks)

    def start(self) -> None:
        """Probe from now on, at once and then every interval; every check starts as healthy."""
        for watch in self._watches:
            start_apart(watch.thread)

    def stop(self) -> None:
        """Probe no more; takes at most `_KILL_S`: a lease goes on meanwhile. Again: nothing.

        Commands are killed. What waits for a service ends by itself, by its timeout, unseen.
        """
        self._stop.set()
        deadline = time.monotonic() + _KILL_S
        for watch in self._watches:
            if watch.is_command and watch.thread.ident is not None:
                watch.thread.join(max(0.0, deadline - time.monotonic()))

    def failing(self) -> tuple[str, ...]:
        """Return a sentence for each check that is down, with why; never waits.

        For example "http 192.0.2.100:80/: status 500, not 200". Empty: all is well.
        """
        return tuple(why for watch in self._watches if (why := watch.why))

    def each(self) -> tuple[tuple[str, str], ...]:
        """Return what each check is called, and why it is down, "" if it is not; never waits."""
        return tuple((watch.name, watch.why) for watch in self._watches)


def probe(check: Check, vips: Sequence[str]) -> str:
    """Return why a check fails now, on the first VIP on which it does; "" if it does not."""
    return _Watch(check, tuple(map(ip_address, vips)), Stop()).round() or ""


@dataclass(frozen=True, slots=True)
class _Health:
    """The state of one check; `against` results in a row speak against it."""

    good: bool = True
    against: int = 0
    known: bool = False

    def after(self, good: bool, check: Check) -> "_Health":
        """Return the state after one more result."""
        needed = (check.rise if good else check.fall) if self.known else 1
        if good == self.good or self.against + 1 >= needed:
            return _Health(good, 0, True)
        return _Health(self.good, self.against + 1, True)


class _Watch:
    """One check, run for ever; `why` is "" while it is healthy."""

    def __init__(self, check: Check, vips: tuple[Address, ...], stop: Stop) -> None:
        self.why = ""
        self._check, self._stop = check, stop
        self.is_command = check.kind is CheckKind.EXEC
        self.name = _line(_title(check, vips[0]))
        self._vips = vips[:1] if self.is_command else vips
        self._probe = _commanded(stop) if self.is_command else _PROBES[check.kind]
        self.thread = threading.Thread(target=self._run, name=f"check {check.kind}", daemon=True)

    def _run(self) -> None:
        health, wait = _Health(), 0.0
        while not self._stop.wait(wait):
            began = time.monotonic()
            why = self.round()
            if why is None:
                return
            health = health.after(not why, self._check)
            self.why = "" if health.good else why or self.why
            wait = began + self._check.interval - time.monotonic()

    def round(self) -> str | None:
        """Probe every VIP until one fails; return its reason, "" if none, None if stopped."""
        for vip in self._vips:
            why = self._ask(vip)
            if self._stop.wait(0):
                return None
            if why:
                return _line(f"{_title(self._check, vip)}: {why}")
        return ""

    def _ask(self, vip: Address) -> str:
        try:
            return self._probe(self._check, vip)
        except TimeoutError:
            return "timed out"
        except OSError as error:
            return (error.strerror or str(error)).lower()
        except Exception as error:  # what a server sends can make a library raise anything
            return f"{type(error).__name__} {error}"


def _title(check: Check, vip: Address) -> str:
    if check.kind is CheckKind.EXEC:
        return f"exec {shlex.join(check.command)[:_LONGEST_CHARS]}"
    page = f"{check.path} of {check.name}" if check.name else check.path
    about = {
        CheckKind.HTTP: page,
        CheckKind.HTTPS: page,
        CheckKind.DNS: f" {check.name} {check.type}",
    }
    where = f"{f'[{vip}]' if vip.version == 6 else vip}:{check.port}"
    return f"{check.kind} {where}{about.get(check.kind, '')}"


def _line(text: str) -> str:
    """Return text of any origin as one line of bounded length that is fit for a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[: 2 * _LONGEST_CHARS]


class _Hurried(socket.socket):
    """A connection whose every wait ends at one moment, as a whole."""

    deadline: float

    def recv_into(self, *args: Any, **more: Any) -> int:
        """Read what there is, as http.client does through makefile."""
        self.hurry()
        return super().recv_into(*args, **more)

    def hurry(self) -> None:
        """Let the next wait end in time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)


class _Timed(_Hurried):
    """A TCP connection whose every wait ends at one moment: TimeoutError."""

    def __init__(self, vip: Address, port: int, timeout: float) -> None:
        family = socket.AF_INET if vip.version == 4 else socket.AF_INET6
        super().__init__(family, socket.SOCK_STREAM)
        self.deadline = time.monotonic() + timeout
        try:
            self.settimeout(timeout)
            self.connect((str(vip), port))
            self.hurry()
        except BaseException:
            self.close()
            raise


def _tcp(check: Check, vip: Address) -> str:
    _Timed(vip, check.port, check.timeout).close()
    return ""


class _Secured(_Hurried, ssl.SSLSocket):
    """TLS over a connection."""


def _secured(check: Check, vip: Address) -> _Secured:
    """Connect and shake hands. The certificate is not judged: whether a name is right is a
    client's question, and whether the service works is not answered by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslsocket_class = _Secured
    end = time.monotonic() + check.timeout
    plain = _Timed(vip, check.port, check.timeout)
    try:
        name = check.name or None
        sock = context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname=name)
    except BaseException:
        plain.close()
        raise
    try:
        if not isinstance(sock, _Secured):
            raise TypeError(type(sock).__name__)
        sock.deadline = end
        sock.hurry()
        sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    return sock


def _http(check: Check, vip: Address) -> str:
    secured = check.kind is CheckKind.HTTPS
    with _secured(check, vip) if secured else _Timed(vip, check.port, check.timeout) as sock:
        connection = HTTPConnection(check.name or str(vip), check.port)
        connection.default_port = 443 if secured else 80  # which Host leaves out
        connection.sock = sock
        headers = {"User-Agent": "vipnft", "Connection": "close"}
        connection.request("GET", check.path, headers=headers)
        with connection.getresponse() as response:
            if response.status != check.status:
                return f"status {response.status}, not {check.status}"
            page = response.read(_PAGE_BYTES)
            if response.length and len(page) < _PAGE_BYTES:
                return f"the page ends {response.length} bytes early"
    if check.body.encode() not in page:
        return f"no {check.body[:_LONGEST_CHARS]!r} in the answer"
    return ""


def _dns_probe() -> ModuleType:
    try:
        from vipnft.agent import dns_probe  # noqa: PLC0415 - dnspython is optional
    except ImportError:
        fix = "install python3-dnspython (Fedora: python3-dns), or pip install 'vipnft[dns]'"
        raise UsageError("a check of kind dns needs the package dnspython", fix=fix) from None
    return dns_probe


def _dns(check: Check, vip: Address) -> str:
    why: str = _dns_probe().ask(check, vip)
    return why


_PROBES: dict[CheckKind, Callable[[Check, Address], str]] = {
    CheckKind.TCP: _tcp,
    CheckKind.HTTP: _http,
    CheckKind.HTTPS: _http,
    CheckKind.DNS: _dns,
}


def _commanded(stop: Stop) -> Callable[[Check, Address], str]:
    command = Command(stop)
    theirs = {key: value for key, value in os.environ.items() if key not in _OURS}
    return lambda check, vip: command(
        check.command, theirs | {"VIPNFT_VIP": str(vip)}, check.timeout
    )
