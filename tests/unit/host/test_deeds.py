"""What commands tell of what they did: in order, once, and without being held up."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.unit.observe.test_status_report import APPLIED
from vipnft.host import deeds, event_file, hooks, journald, locks
from vipnft.host.change import Outcome
from vipnft.host.event_file import EventFile
from vipnft.observe.events import Place, kind_of

PLACE = Place("dns", "web1")
NOW = replace(APPLIED, drains={})


@contextmanager
def at(home: Path, log: str = "/nowhere/socket", folder: str = "hooks.d") -> Iterator[EventFile]:
    """Have the file of events, the hooks and the journal elsewhere."""
    events = EventFile(home)
    with (
        mock.patch.object(deeds, "EventFile", return_value=events),
        mock.patch.object(deeds, "Journald", lambda wait: journald.Journald(log, wait)),
        mock.patch.object(hooks, "DIRECTORY", home / folder),
        mock.patch.object(
            deeds, "Programs", lambda stop, say: hooks.Programs(stop, say, home / folder)
        ),
        mock.patch.object(locks, "DIRECTORY", home),
    ):
        yield events


def found(events: EventFile) -> list[dict[str, Any]]:
    return list(event_file.Reader(events).more())


def test_what_a_command_did_is_behind_what_was_before(tmp_path: Path) -> None:
    with at(tmp_path) as events:
        deeds.tell(PLACE, "down: this host is as it was")
        done = deeds.told(Outcome(changed=True), NOW, "applied: 1 of 6 buckets here")
        assert done.told == Place(NOW.cluster.name, NOW.host)
        still = Outcome(changed=False)
        assert deeds.told(still, NOW, "applied: 1 of 6 buckets here") is still
        mended = Outcome(changed=True, mended=("  address gone", "a jhash b"))
        deeds.told(mended, NOW, "applied: 1 of 6 buckets here")
        said = found(events)
    assert [one["number"] for one in said] == [1, 2, 3]
    assert [one["kind"] for one in said] == ["stopped", "applied", "mended"]
    assert (said[1]["owned"], said[1]["buckets"]) == (1, 6)
    words = "found and mended: address gone; a rule (the agent's log has its words)"
    assert said[2]["text"] == words


def test_where_nothing_takes_an_event_a_command_goes_on(tmp_path: Path) -> None:
    with at(Path("/proc/nowhere")):
        deeds.tell(PLACE, "down: this host is as it was")
    (tmp_path / "events.jsonl").mkdir()
    with at(tmp_path, str(tmp_path)):
        deeds.tell(PLACE, "down: this host is as it was")
        deeds.call_hooks(PLACE, pytest.fail)


def test_a_journal_that_takes_nothing_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        with at(tmp_path, path) as events:
            deeds.tell(PLACE, "down: this host is as it was")
            assert b"\nVIPNFT_KIND=stopped\n" in log.recv(10_000)
            full = journald.Journald(path, wait=0)
            while full.send({"MESSAGE": "x"}):
                pass
            began = time.monotonic()
            deeds.tell(PLACE, "down: this host is as it was")
            assert time.monotonic() - began < journald._WAIT_S
            assert len(found(events)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="a hook belongs to root")
def test_hooks_are_called_for_what_waits_and_for_no_longer_than_they_may(tmp_path: Path) -> None:
    folder = tmp_path / "hooks.d"
    folder.mkdir(mode=0o755)
    with at(tmp_path) as events:
        deeds.tell(PLACE, "healthy")
        deeds.call_hooks(PLACE, pytest.fail)
        assert events.hooked() is None
        hook = folder / "tell"
        hook.write_text('#!/bin/sh\nprintf "%s\\n" "$(cat)" >>"$0.out"; test ! -e "$0.hang" ||\n'
                        "sleep 1000\n")  # fmt: skip
        hook.chmod(0o755)

        def told() -> list[int]:
            lines = (folder / "tell.out").read_text().splitlines()
            return [json.loads(line)["number"] for line in lines]

        deeds.tell(PLACE, "took over from web2: 6 of 6 buckets here")
        deeds.call_hooks(PLACE, pytest.fail)
        assert told() == [2]
        deeds.tell(PLACE, "healthy")  # whoever said it was cut off
        deeds.tell(PLACE, "healthy")
        deeds.call_hooks(PLACE, pytest.fail)
        assert told() == [2, 3, 4]
        assert events.hooked() == 4
        (folder / "tell.hang").touch()
        said: list[str] = []
        with mock.patch.object(deeds, "_HOOKS_S", 1.0), mock.patch.object(deeds, "SECONDS", 0.7):
            for _ in range(3):
                deeds.tell(PLACE, "healthy")
            deeds.call_hooks(PLACE, said.append)
        assert said[0] == "hook tell: still running after 0.7 s"
        assert [one["kind"] for one in found(events)].count("hook_failed") == len(said)
        (folder / "tell.hang").unlink()
        deeds.call_hooks(PLACE, pytest.fail)  # for what was left
        assert told()[-1] == 7
        assert sorted(set(told())) == [2, 3, 4, 5, 6, 7]


def test_many_at_once_have_a_number_each_and_a_line_each(tmp_path: Path) -> None:
    """Under their lock, as commands are."""
    with at(tmp_path) as events:

        def many() -> None:
            for _ in range(50):
                with locks.locked():
                    deeds.tell(PLACE, "healthy")

        threads = [threading.Thread(target=many) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert [one["number"] for one in found(events)] == list(range(1, 201))
        assert len(events.path.read_text().splitlines()) == 200


def test_what_each_command_says() -> None:
    owners = ("web1", "web1", "web2", "web2", "web3", "web1")
    before = replace(NOW, host="web1", owners=owners, drains={})
    now = replace(before, owners=("web1", "web1", "web1", "web3", "web3", "web1"))
    said = deeds.applied(None, before, ())
    assert said.startswith("applied: 3 of 6 buckets here (3 came, 0 went), ")
    assert ", without web3, " in deeds.applied(None, before, ("web3",))
    took = "took over from web2: 4 of 6 buckets here (1 came, 0 went), "
    assert deeds.applied(before, now, ("web2",)).startswith(took)
    assert deeds.applied(now, before, ("web9",)).startswith("applied: 3 of 6 buckets here (0 came")
    gone = replace(before, owners=("web2", *owners[1:]), drains={0: {"web1": 1e12}, 1: {"web1": 1}})
    words = "giving 1 buckets to web2 (0): 2 of 6 buckets here (0 came, 1 went), draining 0"
    assert deeds.released(before, gone, (0,), "web2") == words
    share = "4 of 6 buckets here (1 came, 0 went)"
    assert deeds.taken(before, now, (2,), "web2") == f"took 1 buckets from web2 (2): {share}"
    words = f"took over from web2: 1 buckets (2), {share}"
    assert deeds.taken(before, now, (2,), None) == words
    nobody = replace(before, owners=("",) * 6)
    assert kind_of(deeds.taken(nobody, now, (2,), None)) == "took"
