"""Who works on this machine: one agent, whoever else asks whether there is one."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from vipnft.errors import UsageError
from vipnft.host import locks


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "DIRECTORY", tmp_path)
    return tmp_path


def test_one_agent_lives_here() -> None:
    assert not locks.tended()
    with locks.living("first"):
        assert locks.tended()
        with pytest.raises(UsageError, match="an agent runs on this machine already"):
            locks.living("second").__enter__()
    assert not locks.tended()
    with locks.living("third") as before:
        assert before == {"first"}


def test_whoever_asks_keeps_no_agent_from_its_start() -> None:
    """To ask is to hold the lock for an instant."""
    held = os.open(locks.path_of(".agent"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    end = threading.Timer(0.02, os.close, [held])
    end.start()
    with locks.living("first"):
        assert locks.tended()
    end.join()
