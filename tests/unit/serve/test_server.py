"""The server, on real connections: bad input and slow clients, in bounded memory and time."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from vipnft.serve import server
from vipnft.serve.http import HEAD_BYTES, Request, Response
from vipnft.serve.server import CONNECTIONS, Server

BIG = 1 << 20
HUGE = 16 * BIG
ASK = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answer(request: Request, local: str) -> Response:
    sizes = {"/big": BIG, "/huge": HUGE}
    size = sizes.get(request.path)
    body = bytes(size) if size else f"{request.path} at {local}".encode()
    return Response(200, "text/plain", body)


@pytest.fixture
def port() -> Iterator[int]:
    """A server's port, whose thread ends with the test."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Server(listener, frozenset({"localhost"}), answer)

        def run() -> None:
            while not end.is_set():
                one.step(0.05)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        end.set()
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def asked(port: int, *parts: bytes) -> bytes:
    with connect(port) as one:
        for part in parts:
            one.sendall(part)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while data := one.recv(1 << 16):
                said += data
    return said


def test_an_answer(port: int) -> None:
    assert asked(port, ASK % b"/x").endswith(b"\r\n\r\n/x at 127.0.0.1")
    assert asked(port, *(bytes([c]) for c in ASK % b"/slow")).endswith(b"/slow at 127.0.0.1")
    assert asked(port, (ASK % b"/x").replace(b"GET", b"HEAD")).endswith(b"\r\n\r\n")
    assert asked(port, ASK % b"/x" + b"and more of it").count(b"HTTP/1.1") == 1


def test_a_large_answer_is_whole(port: int) -> None:
    assert len(asked(port, ASK % b"/big").partition(b"\r\n\r\n")[2]) == BIG


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n", 431),
        (b"x" * (HEAD_BYTES + 1), 431),
    ],
)
def test_what_is_refused_is_answered(port: int, said: bytes, status: int) -> None:
    assert asked(port, said).startswith(b"HTTP/1.1 %d " % status)
    assert asked(port, ASK % b"/x").startswith(b"HTTP/1.1 200 ")


def test_who_goes_away_ends_nothing(port: int) -> None:
    for _ in range(100):
        with connect(port) as one:
            one.sendall(ASK % b"/big")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert asked(port, ASK % b"/x").startswith(b"HTTP/1.1 200 ")


def test_slow_clients_make_room_for_others(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 600.0)
    with contextlib.ExitStack() as slow:
        clients = []
        for _ in range(3 * CONNECTIONS):
            clients.append(slow.enter_context(connect(port)))
            clients[-1].sendall(b"GET / HT")
            assert asked(port, ASK % b"/x").startswith(b"HTTP/1.1 200 ")
        for one in clients[: 2 * CONNECTIONS]:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b"", "who was slow longest is sent away"


def test_who_says_nothing_is_sent_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 0.1)
    with connect(port) as one:
        assert one.recv(1) == b""


def test_answers_that_nobody_reads_make_room_for_others(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 600.0)
    monkeypatch.setattr(server, "_UNSENT_BYTES", 4 * BIG)
    with contextlib.ExitStack() as slow:
        clients = []
        for _ in range(8):
            one = slow.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(60)
            one.connect(("127.0.0.1", port))
            one.sendall(ASK % b"/huge")
            assert one.recv(1) == b"H"
            clients.append(one)
        assert asked(port, ASK % b"/x").startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionResetError):
            read = 0
            while data := clients[0].recv(1 << 16):
                read += len(data)
            assert read < HUGE, "who left it unread longest is sent away"
