"""As much of HTTP/1.1 as a scrape and a browser need (RFC 9112), read strictly. Pure.

Rule 1: what is not understood is refused: no body, no second Host, no folded line, no escape that
        means two things.
Rule 2: only who names this host is answered: a page elsewhere that has its name lead here (DNS
        rebinding) reads nothing.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

HEAD_BYTES = 8192
"""The longest request that is read, its headers included."""
_TARGET_CHARS = 2048
_PARAMETERS = 8
_LINE = re.compile(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_PORT = re.compile(r":[0-9]{1,5}$")
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_ALWAYS = (
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Connection: close",
)
STRICT = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that is answered by a status alone; see REASONS."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; `query` has each parameter's values."""

    path: str
    query: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `policy` is its Content-Security-Policy."""

    status: int
    kind: str
    body: bytes
    policy: str = STRICT
    more: tuple[str, ...] = field(default=())

    def head(self) -> bytes:
        """Return the status line and the headers."""
        lines = (
            f"HTTP/1.1 {self.status} {REASONS[self.status]}",
            f"Content-Type: {self.kind}",
            f"Content-Length: {len(self.body)}",
            f"Content-Security-Policy: {self.policy}",
            *_ALWAYS,
            *self.more,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def refusal(error: Refused) -> Response:
    """Return the answer to a request that is refused."""
    more = ("Allow: GET, HEAD",) if error.status == 405 else ()
    return Response(error.status, "text/plain; charset=utf-8", f"{error}\n".encode(), more=more)


def parsed(head: bytes, names: Collection[str]) -> Request:
    """Read a request up to its empty line, which is left out; Refused says what is wrong. `names`
    are this host's, in lower case."""
    line, *fields = head.decode("latin-1").split("\r\n")
    if len(line) > _TARGET_CHARS:
        raise Refused(414, "the target is too long")
    found = _LINE.fullmatch(line)
    if not found:
        raise Refused(400, "no request of HTTP/1")
    headers: dict[str, list[str]] = {}
    for one in fields:
        header = _HEADER.fullmatch(one)
        if not header:
            raise Refused(400, "no header")
        headers.setdefault(header[1].lower(), []).append(header[2].strip())
    if found[1] not in {"GET", "HEAD"}:
        raise Refused(405, "GET and HEAD alone are answered")
    if "transfer-encoding" in headers or set(headers.get("content-length", ())) - {"0"}:
        raise Refused(400, "a request without a body is answered")
    hosts = headers.get("host", [])
    if len(hosts) != 1:
        raise Refused(400, "one Host is to be named")
    if _PORT.sub("", hosts[0]).lower() not in names:
        raise Refused(421, "this host has another name: vipnft serve --name")
    path, _, query = found[2].partition("?")
    return Request(path, _query(query))


def _query(text: str) -> dict[str, tuple[str, ...]]:
    pairs = [pair for pair in text.split("&") if pair]
    if len(pairs) > _PARAMETERS:
        raise Refused(400, "too many parameters")
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        found[_plain(name)] = (*found.get(_plain(name), ()), _plain(value))
    return found


def _plain(text: str) -> str:
    """Undo percent-encoding; Refused for what is none, or no printable text."""
    parts = text.replace("+", " ").split("%")
    try:
        data = parts[0].encode("ascii") + b"".join(
            bytes([int(part[:2], 16)]) + part[2:].encode("ascii")
            for part in map(_escape, parts[1:])
        )
        plain = data.decode("utf-8")
    except ValueError as error:
        raise Refused(400, "the query is no text") from error
    if not plain.isprintable():
        raise Refused(400, "the query is no text")
    return plain


def _escape(part: str) -> str:
    if not re.match(r"[0-9A-Fa-f]{2}", part):
        raise ValueError("no escape")
    return part
