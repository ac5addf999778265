"""The journal's own protocol, over a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from vipnft.host import journald
from vipnft.host.journald import Journald, encoded


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture
def other(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(path)
        one.settimeout(10)
        yield one


def test_a_value_of_several_lines_goes_by_its_length() -> None:
    assert encoded({"MESSAGE": "one", "PRIORITY": "6"}) == b"MESSAGE=one\nPRIORITY=6\n"
    assert encoded({"M": "a\nB=b"}) == b"M\n" + (5).to_bytes(8, "little") + b"a\nB=b\n"
    assert len(encoded({"M": "x" * 10**6})) < 50_000


def test_fields_arrive_also_at_a_journal_that_was_started_anew(
    path: str, other: socket.socket
) -> None:
    sender = Journald(path)
    assert sender.send({"MESSAGE": "one"})
    assert other.recv(100) == b"MESSAGE=one\n"
    other.close()
    Path(path).unlink()
    with pytest.raises(FileNotFoundError):
        sender.send({"MESSAGE": "two"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as later:
        later.bind(path)
        assert sender.send({"MESSAGE": "three"})
        assert later.recv(100) == b"MESSAGE=three\n"


def test_a_journal_that_takes_nothing_is_waited_for_once(path: str, other: socket.socket) -> None:
    sender = Journald(path, wait=0.01)
    sent = 0
    while sender.send({"MESSAGE": "x"}):
        sent += 1
    assert not sender.send({"MESSAGE": "x"})  # at once: it would take a second
    for _ in range(sent):
        other.recv(100)
    assert sender.send({"MESSAGE": "y"})
    assert other.recv(100) == b"MESSAGE=y\n"


def test_standard_error_is_the_journal_s_if_the_service_manager_says_so() -> None:
    found = os.fstat(2)
    with mock.patch.dict(os.environ, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}):
        assert journald.is_stderr()
    with mock.patch.dict(os.environ, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}):
        assert not journald.is_stderr()
    with mock.patch.dict(os.environ):
        os.environ.pop("JOURNAL_STREAM", None)
        assert not journald.is_stderr()
