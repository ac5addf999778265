"""Requests, as strictly as they are read."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.serve.http import REASONS, Refused, Request, Response, parsed, refusal

NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
HOST = "Host: localhost:9877"


def read(*lines: str) -> Request:
    return parsed("\r\n".join(lines).encode("latin-1"), NAMES)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/", Request("/", {})),
        ("/metrics?collect[]=buckets", Request("/metrics", {"collect[]": ("buckets",)})),
        ("/x?c%5B%5D=a&c%5b%5d=b", Request("/x", {"c[]": ("a", "b")})),
        ("/x?client=2001%3Adb8::7&&", Request("/x", {"client": ("2001:db8::7",)})),
        ("/x?a=b%20c+d", Request("/x", {"a": ("b c d",)})),
        ("/x?a", Request("/x", {"a": ("",)})),
    ],
)  # fmt: skip
def test_what_is_asked_for(target: str, wanted: Request) -> None:
    assert read(f"GET {target} HTTP/1.1", HOST) == wanted
    assert read(f"HEAD {target} HTTP/1.0", HOST, "Content-Length: 0") == wanted


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:9877", "[::1]:9877", "[::1]"]
)
def test_a_name_of_this_host(host: str) -> None:
    assert read("GET / HTTP/1.1", f"Host: {host}").path == "/"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([""], 400),
        (["GET / HTTP/1.1"], 400),
        (["GET / HTTP/2", HOST], 400),
        (["GET  / HTTP/1.1", HOST], 400),
        (["get / HTTP/1.1", HOST], 400),
        (["GET http://localhost/ HTTP/1.1", HOST], 400),
        (["GET * HTTP/1.1", HOST], 400),
        (["GET /\x00 HTTP/1.1", HOST], 400),
        (["GET /\xe9 HTTP/1.1", HOST], 400),
        (["GET / HTTP/1.1", HOST, "no colon"], 400),
        (["GET / HTTP/1.1", HOST, "X : y"], 400),
        (["GET / HTTP/1.1", HOST, " folded"], 400),
        (["GET / HTTP/1.1", HOST, "X: a\x00"], 400),
        (["GET / HTTP/1.1", HOST, "X: a\nHost: b"], 400),
        (["GET / HTTP/1.1", HOST, HOST], 400),
        (["GET / HTTP/1.1", HOST, "Content-Length: 7"], 400),
        (["GET / HTTP/1.1", HOST, "Content-Length: 0", "Content-Length: 7"], 400),
        (["GET / HTTP/1.1", HOST, "Transfer-Encoding: chunked"], 400),
        (["GET / HTTP/1.1", "Host: evil.example"], 421),
        (["GET / HTTP/1.1", "Host: localhost.evil.example:9877"], 421),
        (["GET / HTTP/1.1", "Host: localhost:x"], 421),
        (["GET / HTTP/1.1", "Host:"], 421),
        (["POST / HTTP/1.1", HOST, "Content-Length: 7"], 405),
        (["OPTIONS / HTTP/1.1", HOST], 405),
        ([f"GET /{'x' * 3000} HTTP/1.1", HOST], 414),
        (["GET /?a=%zz HTTP/1.1", HOST], 400),
        (["GET /?a=%4 HTTP/1.1", HOST], 400),
        (["GET /?a=%ff HTTP/1.1", HOST], 400),
        (["GET /?a=%00 HTTP/1.1", HOST], 400),
        (["GET /?%0d%0ax=y HTTP/1.1", HOST], 400),
        (["GET /?" + "a=b&" * 9 + " HTTP/1.1", HOST], 400),
    ],
)
def test_what_is_refused(lines: list[str], status: int) -> None:
    with pytest.raises(Refused) as found:
        read(*lines)
    assert found.value.status == status
    assert status in REASONS


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(head: bytes) -> None:
    for one in (head, b"GET / HTTP/1.1\r\n" + head, b"GET /?" + head + b" HTTP/1.1\r\nHost: [::1]"):
        with suppress(Refused):
            parsed(one, NAMES)


def test_every_answer_is_strict() -> None:
    head = Response(200, "text/plain", b"seven").head().decode()
    assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n")
    assert "Content-Security-Policy: default-src 'none'" in head
    assert "nosniff" in head
    assert head.endswith("Connection: close\r\n\r\n")
    assert "Allow: GET, HEAD" in refusal(Refused(405, "no")).head().decode()
