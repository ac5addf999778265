"""What the service manager is told, over a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vipnft.agent import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager's socket, as a file or in the abstract namespace."""
    path = str(tmp_path / "notify")
    address = path if request.param == "path" else f"@vipnft{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(address.replace("@", "\0", 1))
        one.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield one


def test_what_is_told(manager: socket.socket) -> None:
    systemd.ready("owns 128 of 256 buckets")
    systemd.alive()
    systemd.status("one line\nmore of it")
    systemd.status("")
    systemd.stopping("drains")
    systemd.ready()
    assert [manager.recv(4096).decode() for _ in range(5)] == [
        "READY=1\nSTATUS=owns 128 of 256 buckets",
        "WATCHDOG=1",
        "STATUS=one line more of it",
        "STOPPING=1\nSTATUS=drains",
        "READY=1",
    ]


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    systemd.reloading()
    first, second = manager.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_a_manager_that_does_not_read_stops_nobody(manager: socket.socket) -> None:
    """The socket's queue fills up: what does not fit is lost, in a moment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(manager.getsockname())
        with suppress(BlockingIOError):
            while True:
                filler.send(b"full")
    systemd.alive()
    assert manager.recv(4096) == b"full"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "/nowhere/at/all", "@nobody"])
def test_without_a_manager_nothing_happens(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.ready("fine")


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10),
        ({"WATCHDOG_USEC": "250000", "WATCHDOG_PID": str(os.getpid())}, 0.25),
        ({"WATCHDOG_USEC": "250000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_one_process(
    variables: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert systemd.watchdog_interval() == seconds
