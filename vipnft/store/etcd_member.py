"""One etcd member, asked through its JSON gateway by etcd3gw.

Rule 1: an answer or an exception within the time given, whatever hangs (name lookup, too):
        the asking is done by a thread, and a member whose thread still hangs is not asked.
Rule 2: what went wrong is said as what it means for the request: Missed, Lost or Refused.
        Missed needs proof; etcd's own errors count as Lost unless known to be harmless.
        A handshake that failed is proof. So is, for a member that has never answered, that it
        refuses our kind of connection: TLS 1.3 tells so only after the request was sent.
Rule 3: a token is got when etcd first asks for one or no longer takes the old one: members
        forget tokens, and authentication may be switched on at any time.
"""

import queue
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import dumps, loads
from typing import Any

import etcd3gw
import requests
from etcd3gw.exceptions import Etcd3Exception
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import MaxRetryError, NewConnectionError

_ADD_CA = "add ?ca=FILE to the URL, the CA's certificate"
_GRACE = 0.1
"""How much longer than the request's own timeouts a thread may take, seconds."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to etcd. With a CA the connection is TLS."""

    user: str = ""
    password: str = ""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class _Session(requests.Session):
    """A session that sends each request as it is: no cookies, no redirects, no proxies, .netrc or
    CA bundles of the environment, which are for browsers; and half the CPU time."""

    def __init__(self, credentials: "Credentials") -> None:
        super().__init__()
        self.trust_env = False
        self.verify = credentials.ca or True
        if credentials.cert and credentials.key:
            self.cert = (credentials.cert, credentials.key)

    def post(
        self, url: Any, data: Any = None, json: Any = None, **options: Any
    ) -> requests.Response:
        """Send and return the answer."""
        body = data if json is None else dumps(json)
        request = requests.PreparedRequest()
        request.method, request.url, request.body = "POST", str(url), body
        request.headers = CaseInsensitiveDict(self.headers)
        request.headers["Content-Length"] = str(len(body))
        return self.get_adapter(str(url)).send(
            request,
            stream=options.get("stream", False),
            timeout=options.get("timeout"),
            verify=self.verify,
            cert=self.cert,
        )


class Member:
    """One etcd server. `where` is its host and port."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._credentials = credentials
        self._worker: threading.Thread | None = None
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] | None = None
        self._address = (host, port)
        self._answered = False
        self._watched: requests.Response | None = None
        self._client = etcd3gw.client(
            host=host,
            port=port,
            protocol="https" if credentials.ca else "http",
            api_path="/v3/",  # else found out by one more round trip; etcd 3.4 and later
            session=_Session(credentials),
        )

    def transaction(self, body: dict[str, Any], *, connect: float, total: float) -> Any:
        """Send one transaction: connected within `connect` seconds, answered within `total`."""
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
                target=self._work, name=f"etcd {self.where}", daemon=True
            )
            self._worker.start()
        self._requests.put((answers, body, connect, end))
        try:
            answer, error = answers.get(timeout=max(0.0, end - time.monotonic()) + _GRACE)
        except queue.Empty:
            raise Lost(f"no answer within {total:.2g} s") from None
        self._answers = None
        if error is not None:
            raise error
        return answer

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            answers, *asked = request
            try:
                answers.put((self._transaction(*asked), None))
            except BaseException as error:  # raised where the caller waits
                answers.put((None, error))

    def watch(self, key: str, heard: Callable[[], None], *, connect: float, idle: float) -> None:
        """Call `heard` once the member watches a key (in base64), and at each change of it.

        Returns when the connection ends, or says nothing for `idle` seconds; any exception else.
        """
        body = {"create_request": {"key": key}}
        url, session = self._client.get_url("/watch"), self._client.session
        if self._credentials.user and "Authorization" not in session.headers:
            self._log_in(connect, time.monotonic() + connect)
        with session.post(url, json=body, stream=True, timeout=(connect, idle)) as answer:
            if answer.status_code != requests.codes["ok"]:
                session.headers.pop("Authorization", None)  # it may have forgotten the token
                return
            self._watched = answer
            for _ in answer.iter_lines():
                heard()

    def close(self) -> None:
        """Close the connections, one that watches too; the next request opens one."""
        if self._worker is not None:
            self._requests.put(None)
            self._worker, self._requests = None, queue.SimpleQueue()
        if self._watched is not None:
            self._watched.raw.shutdown()
        self._client.session.close()

    def _transaction(self, body: dict[str, Any], connect: float, end: float) -> Any:
        try:
            return self._send(lambda: self._client.transaction(body), connect, end)
        except _WantsToken:
            self._log_in(connect, end)
        try:
            return self._send(lambda: self._client.transaction(body), connect, end)
        except _WantsToken as error:
            raise Missed("etcd does not take the token it has just given") from error

    def _log_in(self, connect: float, end: float) -> None:
        """Get a token. It takes etcd about 0.1 s of one processor: passwords are bcrypt hashes."""
        user, password = self._credentials.user, self._credentials.password
        if not user:
            raise Refused(
                "etcd wants a user and a password",
                fix="give them in the URL: etcd://USER:PASSWORD@HOST",
            )
        url = self._client.get_url("/auth/authenticate")
        body = {"name": user, "password": password}
        self._client.session.headers.pop("Authorization", None)
        try:
            token = self._send(lambda: self._client.post(url, json=body), connect, end)["token"]
        except Lost as lost:
            raise Missed(f"{lost}, at logging in") from lost  # our own request was not sent yet
        self._client.session.headers["Authorization"] = token

    def _send(self, call: Callable[[], Any], connect: float, end: float) -> Any:
        left = end - time.monotonic()
        if left <= 0:
            raise Missed("no time was left to ask")
        # The library hands it on to requests as it is, which takes a pair.
        self._client.timeout = (min(connect, left), left)  # type: ignore[assignment]
        try:
            answer = call()
        except Etcd3Exception as error:
            cause = error.__context__
            if isinstance(cause, requests.RequestException):
                raise self._broken(cause, end) from error
            self._answered = True
            raise _said(error) from error
        except requests.JSONDecodeError as error:
            raise _no_etcd("it answers without JSON") from error
        except requests.RequestException as error:
            raise self._broken(error, end) from error
        except OSError as error:  # a file of ours that requests can't find
            raise Unfit(str(error), fix="see ca, cert and key in the URL") from error
        self._answered = True
        return answer

    def _broken(self, error: requests.RequestException, end: float) -> Exception:
        """Say what a request that got no HTTP answer means."""
        verdict = _verdict(error)
        if self._answered or isinstance(error, requests.Timeout) or isinstance(verdict, Unfit):
            return verdict
        limit = min(1.0, end - time.monotonic())
        if limit <= 0:
            return verdict
        return (self._refusal(limit) if self._credentials.ca else self._tls(limit)) or verdict

    def _refusal(self, limit: float) -> Unfit | None:
        """Try TLS as the request did, and say what the member does not like of it."""
        files = self._credentials
        try:
            context = ssl.create_default_context(cafile=files.ca)
            if files.cert:
                context.load_cert_chain(files.cert, files.key, password=lambda: "")
            with (
                socket.create_connection(self._address, limit) as raw,
                context.wrap_socket(raw, server_hostname=self._address[0]) as secured,
            ):
                secured.read(1)  # a member that takes us waits for a request
        except ssl.SSLError as error:
            if unfit := _unfit(error):
                return unfit
        except OSError:
            pass  # such as a reset: what does not speak TLS may end it like that
        try:
            plain = self._client.session.get(f"http://{self.where}/version", timeout=limit).ok
        except requests.RequestException:
            return None
        return Unfit("it does not speak TLS", fix="take ca= out of the URL") if plain else None

    def _tls(self, limit: float) -> Unfit | None:
        """Say whether the member speaks TLS."""
        context = ssl.create_default_context()
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


def _verdict(error: requests.RequestException) -> Exception:
    """Say what the library's account of a broken request means."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and (unfit := _unfit(cause)):
            return unfit
    words = _words(causes[-1])
    if isinstance(error, requests.ConnectTimeout):
        return Missed("no connection in time")
    if any(isinstance(cause, NewConnectionError) for cause in causes):
        return Missed(words)
    if any(_in_handshake(cause) for cause in causes):
        return Missed(f"TLS failed: {words}")
    if isinstance(error, requests.Timeout):
        return Lost("no answer in time")
    return Lost(f"the connection broke ({words})")


def _in_handshake(error: BaseException) -> bool:
    """Tell whether it was raised in a TLS handshake: then nothing was asked yet."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is ssl.SSLSocket.do_handshake.__code__ for frame, _ in frames)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk down to the first cause, as requests and urllib3 wrap them."""
    inner: object = error
    while isinstance(inner, BaseException):
        yield inner
        if isinstance(inner, MaxRetryError):
            inner = inner.reason
        else:
            inner = inner.args[-1] if inner.args else None


def _words(error: BaseException) -> str:
    """Return what happened, without the objects and URLs that urllib3 puts in front."""
    text = str(error.args[-1]) if error.args else type(error).__name__
    text = re.sub(r"^HTTPS?Connection\(.*?\): ", "", text)
    return text.removeprefix("Failed to establish a new connection: ")


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


def _said(error: Etcd3Exception) -> Exception:
    """Say what an HTTP answer other than 200 means."""
    text = " ".join((error.detail_text or "").split())
    try:
        fault = loads(text)
        words, code = str(fault["error"]), int(fault["code"])
    except (ValueError, KeyError, TypeError):
        return _not_as_etcd(text, " ".join(map(str, error.args)))
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
