"""The file of events: every one is read once, in order, however the file moves."""

import json
import os
import resource
from pathlib import Path
from unittest import mock

import pytest

from vipnft.host import event_file
from vipnft.host.event_file import EventFile, Reader


def add(events: EventFile, *numbers: int) -> None:
    for number in numbers:
        said = {"number": number, "time": 1.0, "kind": "note", "text": "x", "severity": "info"}
        events.append(json.dumps(said))


def numbers(reader: Reader) -> list[int]:
    return [event["number"] for event in reader.more()]


@pytest.fixture
def events(tmp_path: Path) -> EventFile:
    return EventFile(tmp_path)


def test_what_is_added_is_read_once(events: EventFile) -> None:
    reader = Reader(events)
    assert events.last() == 0
    assert numbers(reader) == []
    add(events, 1, 2)
    assert numbers(reader) == [1, 2]
    assert numbers(reader) == []
    add(events, 3)
    assert numbers(reader) == [3]
    assert numbers(Reader(events)) == [1, 2, 3]
    assert events.last() == 3
    old = os.umask(0o77)
    try:
        add(events, 4)
    finally:
        os.umask(old)
    assert events.path.stat().st_mode & 0o777 == 0o644


def test_nothing_is_lost_or_read_twice_when_the_file_is_full(events: EventFile) -> None:
    with mock.patch.object(event_file, "_MOST_BYTES", 800):
        often, seldom = Reader(events), Reader(events)
        found, later = [], []
        for number in range(1, 101):
            add(events, number)
            found += numbers(often)
            if number % 12 == 0:
                later += numbers(seldom)
        assert found == list(range(1, 101))
        assert later == list(range(1, 97))
        assert events.path.stat().st_size + events.before.stat().st_size <= 1600
        rest = numbers(Reader(events))
        assert rest == list(range(rest[0], 101))
        assert events.last() == 100
        add(events, *range(101, 141))
        late = numbers(seldom)  # too late for some
        assert late == sorted(set(late))
        assert late[-1] == 140
        events.path.unlink()
        assert events.last() < 140


def test_what_is_no_event_is_passed_over(events: EventFile) -> None:
    add(events, 1)
    with events.path.open("ab") as file:
        file.write(b"\xff\n[1]\n{}\n" + b"[" * 99_999 + b"\n")
        file.write(b'{"number": 2, "time": NaN, "kind": "note", "text": "", "severity": "info"}\n')
        file.write(b"x" * 300_000 + b"\n")
    add(events, 3)
    with events.path.open("ab") as file:
        file.write(b'{"number": 4, "ti')
    assert numbers(Reader(events)) == [1, 3]
    assert events.last() == 3


def test_a_link_or_a_pipe_is_no_file_of_events(events: EventFile, tmp_path: Path) -> None:
    events.path.symlink_to(tmp_path / "aim")
    with pytest.raises(OSError, match="symbolic links"):
        add(events, 1)
    (tmp_path / "aim").touch()
    with pytest.raises(OSError, match="symbolic links"):
        numbers(Reader(events))
    events.path.unlink()
    os.mkfifo(events.path)
    with pytest.raises(OSError, match="no file"):
        numbers(Reader(events))


def test_what_hooks_were_called_for_is_noted(events: EventFile) -> None:
    assert events.hooked() is None
    events.note_hooked(7)
    assert events.hooked() == 7
    events.note_hooked(None)
    assert events.hooked() is None


def test_what_found_half_a_room_is_told_and_spoils_nothing(events: EventFile) -> None:
    add(events, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.path.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            add(events, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    add(events, 3)
    assert numbers(Reader(events)) == [1, 3]


def test_who_follows_a_file_that_was_made_shorter_goes_on(events: EventFile) -> None:
    reader = Reader(events)
    add(events, 1, 2)
    assert numbers(reader) == [1, 2]
    os.truncate(events.path, 0)
    add(events, 3)
    assert numbers(reader) == [3]
