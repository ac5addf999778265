"""Where labs are written down: claims, stale files, processes that are not the one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vipnft.errors import UsageError
from vipnft.lab import state
from vipnft.lab.state import State
from vipnft.model import Mode


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "directory", lambda: tmp_path)
    return tmp_path


def lab(name: str = "a", *, pid: int | None = None, start: int | None = None) -> State:
    me = os.getpid()
    return State(
        name=name,
        pid=pid or me,
        start=start or state.start_time(me) or 0,
        user=True,
        hosts=2,
        mode=Mode.HUB,
        mtu=1400,
        nodes={"web1": (3, 4, 5), "router": (6, 7, 8)},
        ports={3: "router", 4: "web1"},
    )


def dead() -> State:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return lab(pid=ended.pid)


def test_what_is_written_is_read_again() -> None:
    assert State.load(lab().dump()) == lab()
    state.write(lab())
    assert state.read("a") == lab()
    assert state.running() == [lab()]


def test_a_claim_is_no_running_lab_but_keeps_others_off() -> None:
    claim = state.claim("a")
    assert state.running() == []
    with pytest.raises(UsageError, match="being brought up"):
        state.claim("a")
    state.forget(claim)
    state.claim("a")


def test_a_running_lab_keeps_its_name() -> None:
    state.write(lab())
    with pytest.raises(UsageError, match="already runs") as refused:
        state.claim("a")
    assert refused.value.fix == "vipnft lab down --name a, or give another name"


@pytest.mark.parametrize(
    "text",
    [dead().dump(), lab(start=1).dump(), "", "{", "[]", "null", '{"name": "a"}'],
    ids=["dead", "another process of that number", "empty", "cut", "list", "null", "partial"],
)
def test_stale_files_are_removed(directory: Path, text: str) -> None:
    (directory / "a.json").write_text(text)
    (directory / "a.toml").write_text("")
    assert state.read("a") is None
    assert list(directory.iterdir()) == []


def test_forgetting_spares_a_later_lab_of_the_name(directory: Path) -> None:
    state.write(lab())
    state.forget(lab(pid=1))
    assert (directory / "a.json").exists()
    state.forget(lab())
    assert list(directory.iterdir()) == []
    state.forget(lab())


def test_a_missing_lab_is_an_error_that_names_others() -> None:
    state.write(lab("b"))
    error = state.missing("lab")
    assert str(error) == "no lab 'lab' runs (there is b)"
    assert error.fix == "vipnft lab up"
    assert state.missing("c").fix == "vipnft lab up --name c"


def test_start_times_tell_processes_apart() -> None:
    assert state.start_time(os.getpid()) == state.start_time(os.getpid())
    assert state.start_time(dead().pid) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert state.start_time(zombie.pid) is None


def test_a_directory_of_somebody_else_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "vipnft-lab").mkdir()
    with pytest.raises(UsageError, match="not a directory that only user 12345 can write to"):
        state.directory()
