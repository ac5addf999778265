"""One etcd member, asked through its JSON gateway.

Rule 1: an answer or an exception within the time given, whatever hangs (name lookup, too):
        the asking is done by a thread, and a member whose thread still hangs is not asked.
Rule 2: what went wrong is said as what it means for the request: Missed, Lost or Refused.
        Missed needs proof; etcd's own errors count as Lost unless known to be harmless.
        Until a connection stands, its handshake done, nothing was asked. So it is where a
        member that has never answered refuses our kind of connection: TLS 1.3 tells so only
        after the request was sent.
Rule 3: a token is got when etcd first asks for one or no longer takes the old one: members
        forget tokens, and authentication may be switched on at any time.
"""

import http.client
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from vipnft.store.etcd_connection import BROKEN, Connection, Credentials, Reply, TooLong, Unreadable

_ADD_CA = "add ?ca=FILE to the URL, the CA's certificate"
_GRACE_S = 0.1
"""Seconds that a thread may take longer than the request's own timeouts."""
_CHANGE_BYTES = 1 << 16
"""How much of a watch's stream counts as one change, at most."""


_FAULT_BYTES = 1000
"""How much of an error is read, at most."""


class _Fault(Exception):  # noqa: N818 - named for what became of the request
    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


class Missed(_Fault):
    """Not executed, for certain; another member may do it."""


class Unfit(Missed):
    """Not executed: this member won't talk to us until somebody mends that."""


class Lost(_Fault):
    """It may have been executed, or may yet be."""


class Refused(_Fault):
    """Not executed: etcd said no, and every member would."""


class _WantsToken(Exception):  # noqa: N818
    """Not executed: there is authentication, and our token is none, old or forgotten."""


class Member:
    """One etcd server. `where` is its host and port."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address, self._credentials = (host, port), credentials
        self._connection = Connection(self._address, credentials)
        self._token: str | None = None
        self._answered = False
        self._worker: threading.Thread | None = None
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] | None = None

    def transaction(self, body: dict[str, Any], *, connect: float, total: float) -> Any:
        """Send one transaction: connected within `connect` seconds, answered within `total`."""
        return self.ask("kv/txn", body, connect=connect, total=total)

    def ask(self, path: str, body: dict[str, Any], *, connect: float, total: float) -> Any:
        """Send one request to a path below /v3/; times as of `transaction`."""
        end = time.monotonic() + total
        if self._answers is not None:  # an earlier one's have not come yet
            try:
                self._answers.get(timeout=connect)
            except queue.Empty:
                raise Missed("still hangs in an earlier request") from None
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._answers = answers
        if self._worker is None:
            self._worker = threading.Thread(
                target=self._work,
                args=(self._requests, self._connection),
                name=f"etcd {self.where}",
                daemon=True,
            )
            self._worker.start()
        self._requests.put((answers, path, body, connect, end))
        try:
            answer, error = answers.get(timeout=max(0.0, end - time.monotonic()) + _GRACE_S)
        except queue.Empty:
            self._connection.cut()  # an answer may drip for ever, within each read's own time
            raise Lost(f"no answer within {total:.2g} s") from None
        self._answers = None
        if error is not None:
            raise error
        return answer

    def _work(self, requests: queue.SimpleQueue[Any], connection: Connection) -> None:
        while (request := requests.get()) is not None:
            answers, *asked = request
            try:
                answers.put((self._asked(connection, *asked), None))
            except BaseException as error:  # raised where the caller waits
                answers.put((None, error))
        connection.close()

    def watch(self, key: str, heard: Callable[[], None], *, connect: float, idle: float) -> None:
        """Call `heard` once the member watches a key (in base64), and at each change of it.

        Returns when the connection ends, or says nothing for `idle` seconds; any exception else.
        """
        body, connection = {"create_request": {"key": key}}, self._connection
        if self._credentials.user and not self._token:
            self._log_in(connection, connect, time.monotonic() + connect)
        try:
            connection.open(connect)
            with connection.post("watch", body, self._token, idle) as answer:
                if answer.status != http.HTTPStatus.OK:
                    self._token = None  # it may have forgotten the token
                    return
                while answer.read1(_CHANGE_BYTES):
                    heard()
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections, one that watches too; the next request opens one."""
        self._connection.shutdown()
        if self._worker is not None:  # it closes its connection, which may be in use
            self._requests.put(None)
            self._worker, self._requests = None, queue.SimpleQueue()
        self._connection = Connection(self._address, self._credentials)

    def _asked(
        self, connection: Connection, path: str, body: dict[str, Any], connect: float, end: float
    ) -> Any:
        try:
            return self._send(connection, path, body, connect, end)
        except _WantsToken:
            self._log_in(connection, connect, end)
        try:
            return self._send(connection, path, body, connect, end)
        except _WantsToken as error:
            raise Missed("etcd does not take the token it has just given") from error

    def _log_in(self, connection: Connection, connect: float, end: float) -> None:
        """Get a token. It takes etcd about 0.1 s of one processor: passwords are bcrypt hashes."""
        user, password = self._credentials.user, self._credentials.password
        if not user:
            raise Refused(
                "etcd wants a user and a password",
                fix="etcd://USER@HOST as the URL, and the password in password_file",
            )
        body = {"name": user, "password": password}
        self._token = None
        try:
            answer = self._send(connection, "auth/authenticate", body, connect, end)
        except Lost as lost:
            raise Missed(f"{lost}, at logging in") from lost  # our own request was not sent yet
        token = answer.get("token")
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise _no_etcd("it gives no token")
        self._token = token

    def _send(
        self, connection: Connection, path: str, body: Any, connect: float, end: float
    ) -> Any:
        left = end - time.monotonic()
        if left <= 0:
            raise Missed("no time was left to ask")
        try:
            connection.open(min(connect, left))
        except Unreadable as error:
            raise Unfit(str(error), fix="see ca, cert and key in the URL") from error
        except (*BROKEN, UnicodeError) as error:  # of a name that can't be one
            connection.close()
            raise self._sure(_not_connected(error), error, end) from error
        try:
            # A moment for who connected at the last one: sent or not must not be in doubt.
            reply = connection.ask(path, body, self._token, max(_GRACE_S, end - time.monotonic()))
        except BROKEN as error:
            connection.close()
            raise self._sure(_broken(error), error, end) from error
        self._answered = True
        return understood(reply)

    def _sure(self, verdict: Exception, error: Exception, end: float) -> Exception:
        """Return what a request that got no HTTP answer means: this verdict, or a better one."""
        if self._answered or isinstance(error, TimeoutError) or isinstance(verdict, Unfit):
            return verdict
        limit = min(1.0, end - time.monotonic())
        if limit <= 0:
            return verdict
        return (self._refusal(limit) if self._credentials.ca else self._tls(limit)) or verdict

    def _refusal(self, limit: float) -> Unfit | None:
        """Try TLS as the request did, and say what the member does not like of it."""
        try:
            with (
                socket.create_connection(self._address, limit) as raw,
                self._credentials.context().wrap_socket(
                    raw, server_hostname=self._address[0]
                ) as secured,
            ):
                secured.read(1)  # a member that takes us waits for a request
        except ssl.SSLError as error:
            if unfit := _unfit(error):
                return unfit
        except OSError:
            pass  # such as a reset: what does not speak TLS may end it like that
        plain = http.client.HTTPConnection(*self._address, timeout=limit)
        with suppress(*BROKEN), closing(plain):
            plain.request("GET", "/version")
            if plain.getresponse().status == http.HTTPStatus.OK:
                return Unfit("it does not speak TLS", fix="take ca= out of the URL")
        return None

    def _tls(self, limit: float) -> Unfit | None:
        """Say whether the member speaks TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system's CAs take 40 ms to load
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(self._address, limit) as raw, context.wrap_socket(raw):
                pass
        except ssl.SSLError as error:
            if "ALERT" not in (error.reason or ""):
                return None
        except OSError:
            return None
        return Unfit("it speaks TLS", fix=_ADD_CA)


def _no_etcd(what: str) -> Unfit:
    return Unfit(f"no etcd is there: {what}", fix="see host and port; etcd must be 3.4 or later")


def _not_connected(error: Exception) -> Missed:
    """Say what a failure to connect means."""
    if isinstance(error, ssl.SSLError):
        return _unfit(error) or Missed(f"TLS failed: {_words(error)}")
    return Missed("no connection in time" if isinstance(error, TimeoutError) else _words(error))


def _broken(error: Exception) -> Missed | Lost:
    """Say what it means that a connection broke after the request was sent, maybe in part."""
    if isinstance(error, ssl.SSLError) and (unfit := _unfit(error)):
        return unfit
    if isinstance(error, TimeoutError):
        return Lost("no answer in time")
    if isinstance(error, TooLong):
        return Lost(str(error))
    return Lost(f"the connection broke ({_words(error)})")


def _words(error: Exception) -> str:
    """Return what happened, in short."""
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error) or type(error).__name__)[:200]


def _unfit(error: ssl.SSLError) -> Unfit | None:
    """Say what is to be done about TLS; None if that is not clear."""
    reason = error.reason or ""
    if reason == "CERTIFICATE_VERIFY_FAILED":
        fix = "see that ca= is the CA of etcd's certificate, and that it names this host"
    elif reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        fix = "it does not speak TLS: take ca= out of the URL"
    elif "ALERT" in reason and ("CERTIFICATE" in reason or reason.endswith("_CA")):
        fix = "etcd does not take our certificate: see cert= and key= in the URL"
    elif "ALERT_HANDSHAKE" in reason or "ALERT_PROTOCOL" in reason:
        fix = "see cert= and key= in the URL, and etcd's log"
    else:
        return None
    return Unfit(f"TLS failed: {_words(error)}", fix=fix)


def understood(reply: Reply) -> dict[str, Any]:
    """Return what a member answered; what else an answer says is raised."""
    if reply.status != http.HTTPStatus.OK:
        raise _said(reply)
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise _no_etcd("it answers without JSON") from error
    if not isinstance(found, dict):
        raise _no_etcd("it answers without an object")
    return found


def _said(reply: Reply) -> Exception:
    """Say what an HTTP answer other than 200 means."""
    text = " ".join(reply.body[:_FAULT_BYTES].decode(errors="replace").split())
    try:
        fault = json.loads(text)
        # etcd 3.4.23 has `error` and `message`, the 3.5.16 of Debian 13 `message` alone.
        words, code = str(fault["error" if "error" in fault else "message"]), int(fault["code"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return _not_as_etcd(text, reply.reason)
    if code not in _GRPC:
        return _not_as_etcd(text, reply.reason)
    words = words.removeprefix("etcdserver: ")
    fix = next((fix for part, fix in _FIXES.items() if part in words), "")
    if code == _UNAUTHENTICATED or words in _STALE:
        return _WantsToken(words)
    if words in _HARMLESS or "SubConns are in TransientFailure" in words:
        return Missed(words)
    if fix or code in _NEVER_DONE:
        return Refused(f"etcd says: {words}", fix=fix or "see etcd's log")
    return Lost(f"etcd says: {words}")


def _not_as_etcd(text: str, reason: str) -> Exception:
    """Say what an error that is not etcd's JSON means: another server's, or a proxy's."""
    if "HTTP request to an HTTPS server" in text:
        return Unfit("it speaks TLS", fix=_ADD_CA)
    if reason in ("Bad Request", "Not Found", "Method Not Allowed"):
        return _no_etcd(f"it answers {text[:80]!r}")
    return Lost(f"it answers {reason!r}")


_GRPC = range(1, 17)
_UNAUTHENTICATED = 16
_NEVER_DONE = {3, 5, 7, 8, 9, 11, 12}
"""gRPC codes of requests that were refused before they were done: invalid argument, not found,
permission denied, exhausted, failed precondition, out of range, unimplemented."""
_STALE = {
    "user name is empty",
    "invalid auth token",
    "revision of auth store is old",
    "auth: revision in header is old",
}
_HARMLESS = {
    "no leader",
    "raft proposal dropped",
    "too many requests",
    "authentication is not enabled",  # switched off since it asked for a token
}
_FIXES = {
    "invalid user ID or password": "see user and password in the URL (percent-encode signs)",
    "permission denied": "let an etcd administrator grant the user's role: "
    "etcdctl role grant-permission ROLE readwrite --prefix=true /vipnft/",
    "database space exceeded": "compact and defragment etcd, then: etcdctl alarm disarm",
    "too many operations": "start etcd with a higher --max-txn-ops",
    "request is too large": "start etcd with a higher --max-request-bytes",
}
