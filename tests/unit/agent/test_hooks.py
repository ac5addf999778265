"""Hooks, as real programs: in order, each event once, for as long as they may take."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vipnft.agent.hooks import Hooks
from vipnft.host.event_file import EventFile
from vipnft.host.hooks import Backlog
from vipnft.observe.events import Event, Place, document, kind_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a hook belongs to root")

TELL = '#!/bin/sh\nprintf "%s\\n" "$(cat)" >>"$0.out"\n'


class Stage:
    """Events, hooks in a directory, and what they say."""

    def __init__(self, home: Path) -> None:
        self.events = EventFile(home)
        self.folder = home / "hooks.d"
        self.folder.mkdir(mode=0o755)
        self.said: list[str] = []
        self.number = 0
        self.news = threading.Event()

    def hook(self, name: str, text: str = TELL, mode: int = 0o755) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def happen(self, *lines: str) -> None:
        for line in lines:
            self.number += 1
            event = Event(self.number, 1.0, kind_of(line), line)
            self.events.append(json.dumps(document(event, Place("dns", "web1"))))
        self.news.set()

    def told(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / f"{name}.out"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @contextmanager
    def running(self, *, grace: float = 60, seconds: float = 60, after: int = 0) -> Iterator[None]:
        """Call hooks meanwhile; in the end for what is left, within `grace` seconds."""
        say, news = self.said.append, self.news
        hooks = Hooks(self.events, say, news, after, directory=self.folder, seconds=seconds)
        hooks.start()
        try:
            yield
        finally:
            hooks.stop(grace)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_hook_is_called_for_each_event_in_order(stage: Stage) -> None:
    stage.hook("20-second", f"{TELL}echo second >>{stage.folder}/order\n")
    stage.hook("10-first", f"{TELL}echo first >>{stage.folder}/order\n")
    stage.hook("README", mode=0o644)
    stage.hook("20-second~")
    with stage.running():
        stage.happen("healthy", "took over from web2: silent for 1.2 s", "7 buckets drained")
    for name in ("10-first", "20-second"):
        told = stage.told(name)
        assert [one["number"] for one in told] == [1, 2, 3]
        assert [one["kind"] for one in told] == ["healthy", "takeover", "drained"]
        assert {one["missed"] for one in told} == {0}
        assert told[1]["peer"] == "web2"
    assert (stage.folder / "order").read_text().split() == ["first", "second"] * 3
    assert not stage.said
    assert not (stage.folder / "README.out").exists()
    assert not (stage.folder / "20-second~.out").exists()


def test_a_hook_is_given_little(stage: Stage) -> None:
    stage.hook("look", '#!/bin/sh\ncat /proc/self/oom_score_adj >"$0.out"; env >>"$0.out"\n')
    with stage.running():
        stage.happen("healthy")
    memory, *env = (stage.folder / "look.out").read_text().splitlines()
    assert memory == "1000"
    assert {line.partition("=")[0] for line in env} <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}


def test_a_hook_that_hangs_is_killed_with_all_that_it_began(stage: Stage) -> None:
    path = stage.hook("hang", '#!/bin/sh\nsleep 1000 & echo $! >"$0.pid"; wait\n')
    stage.hook("tell")
    with stage.running(seconds=0.5):
        stage.happen("healthy", "healthy")
    assert stage.said == ["hook hang: still running after 0.5 s"]
    assert len(stage.told("tell")) == 2
    pid = int(path.with_name("hang.pid").read_text())
    until(lambda: not Path(f"/proc/{pid}/cmdline").exists())


def test_that_a_hook_fails_is_said_once_and_no_hook_is_called_for_it(stage: Stage) -> None:
    stage.hook("bad", "#!/bin/sh\ntest -e $0.well\n")
    stage.hook("tell")
    with stage.running():
        stage.happen("healthy", "hook bad: exit code 1", "healthy")
        until(lambda: len(stage.told("tell")) == 2)
        (stage.folder / "bad.well").touch()
        stage.happen("hook bad is well again", "healthy")
    assert stage.said == ["hook bad: exit code 1", "hook bad is well again"]
    assert [one["number"] for one in stage.told("tell")] == [1, 3, 5]
    assert {one["missed"] for one in stage.told("tell")} == {0}


def test_what_others_may_have_written_is_not_run(stage: Stage) -> None:
    stage.hook("open").chmod(0o775)
    os.chown(stage.hook("another"), 65534, 65534)
    stage.hook("nonsense", "#!/no/such/shell\n")
    stage.hook("tell")
    with stage.running():
        stage.happen("healthy")
    assert sorted(stage.said) == [
        "hook another: not run: its owner is not root",
        "hook nonsense: exit code 127",
        "hook open: not run: others than its owner can write it",
    ]
    assert len(stage.told("tell")) == 1
    stage.folder.chmod(0o777)
    stage.said.clear()
    with stage.running(after=1):
        stage.happen("healthy")
    assert stage.said == ["hook hooks.d: not run: others than its owner can write it"]
    assert len(stage.told("tell")) == 1


def test_a_new_life_goes_on_where_the_last_one_was_cut_off(stage: Stage) -> None:
    hang = stage.hook("hook", f'{TELL}grep -q drained "$0.out" && sleep 1000\n')
    with stage.running(grace=0):
        stage.happen("9 buckets drained")
        until(lambda: len(stage.told("hook")) == 1)
    stage.happen("healthy", "9 buckets drained", "healthy")
    hang.write_text(TELL)
    with stage.running(after=4):
        pass
    assert [one["number"] for one in stage.told("hook")] == [1, 1, 2, 3, 4]
    assert not [line for line in stage.said if "is well" in line]


def test_who_begins_with_hooks_is_not_called_for_what_was_before(stage: Stage) -> None:
    stage.happen("healthy", "healthy")
    with stage.running(after=1):
        pass
    stage.hook("tell")
    with stage.running(after=2):
        stage.happen("healthy")
    assert [one["number"] for one in stage.told("tell")] == [3]


def test_of_too_many_events_the_newest_are_left(stage: Stage) -> None:
    backlog = Backlog(stage.events, 0)
    stage.happen(*["healthy"] * 1000)
    assert backlog.look() == 0
    stage.happen("healthy")
    assert backlog.look() == 501
    first = backlog.take()
    assert first
    assert first["number"] == 502
    assert len(list(iter(backlog.take, None))) == 499
    stage.number += 5  # never written, or gone
    stage.happen("healthy")
    assert backlog.look() == 5


def test_a_hook_is_told_how_many_it_missed(stage: Stage) -> None:
    hook = stage.hook("slow", f'{TELL}until test -e "$0.go"; do sleep 0.01; done\n')
    with stage.running(grace=0):
        stage.happen("healthy")
        until(lambda: stage.told("slow"))
        stage.happen(*["healthy"] * 1200)
        hook.with_name("slow.go").touch()
        until(lambda: len(stage.told("slow")) > 3)
    told = stage.told("slow")
    assert [one["number"] for one in told[:3]] == [1, 702, 703]
    assert [one["missed"] for one in told[:3]] == [0, 700, 0]
    assert stage.said == ["the hooks missed 700 events: they take too long"]
