"""The agent's log: nobody waits for it, and what it does not take is counted."""

import threading
from unittest import mock

from vipnft.agent import journal as journals
from vipnft.agent.journal import Journal, into_log
from vipnft.host.journald import Journald
from vipnft.observe.events import Event, Place


class Kept:
    """A log and a file of events that take what they are given, unless told otherwise."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[Event] = []
        self.open = threading.Event()
        self.open.set()
        self.room = self.disk = True

    def log(self, _: Event, line: str) -> bool:
        self.open.wait(60)
        if self.room:
            self.lines.append(line)
        return self.room

    def keep(self, event: Event) -> None:
        if not self.disk:
            raise OSError(28, "No space left on device")
        self.events.append(event)


def test_the_log_goes_on_and_the_last_events_are_kept_in_order() -> None:
    kept = Kept()
    journal = Journal(kept.log, kept.keep, after=100)
    for number in range(1000):
        journal.say(f"{number} buckets drained")
    journal.say("WARNING: no call of another host to the listen MAC came here for 100 s")
    journal.flush()
    assert kept.lines[:-1] == [f"{number} buckets drained" for number in range(1000)]
    assert [one.number for one in kept.events] == list(range(101, 1102))
    assert [one.number for one in journal.last] == list(range(1052, 1102))
    assert journal.counts["drained"] == 1000
    assert not journal.hearing
    journal.say("calls of other hosts to the listen MAC arrive here again")
    journal.flush()
    assert journal.hearing


def test_nobody_waits_for_a_log_that_takes_nothing() -> None:
    kept = Kept()
    kept.open.clear()
    journal = Journal(kept.log, kept.keep)
    with mock.patch.object(journals, "_MOST", 5):
        journal.say("0")
        while journal._lines.qsize():
            pass
        for number in range(1, 100):
            journal.say(f"{number}")
        kept.open.set()
        journal.flush()
        journal.say("more")
    journal.flush()
    lost = "94 lines of this log were lost: it took no more"
    assert kept.lines == ["0", "1", "2", "3", "4", "5", lost, "more"]
    assert [one.number for one in kept.events] == list(range(1, 9))


def test_what_the_log_did_not_take_is_told_once_it_takes_something() -> None:
    kept = Kept()
    journal = Journal(kept.log, kept.keep)
    kept.room = False
    for number in range(3):
        journal.say(f"{number}")
    journal.flush()
    kept.room = True
    journal.say("3")
    journal.flush()
    journal.flush()
    assert kept.lines == ["3", "3 lines of this log were lost: it took no more"]
    assert [one.number for one in kept.events] == [1, 2, 3, 4, 5]


def test_that_events_are_not_kept_is_said_once() -> None:
    kept = Kept()
    journal = Journal(kept.log, kept.keep)
    kept.disk = False
    for number in range(3):
        journal.say(f"{number}")
    journal.flush()
    journal.flush()
    assert len(kept.lines) == 4
    assert "No space left" in kept.lines[3]


def test_without_a_journal_lines_are_as_they_were() -> None:
    said: list[str] = []
    event, place = Event(1, 1.0, "note", "text"), Place("dns", "web1")
    assert into_log(place, said.append, None)(event, "text")
    assert into_log(place, said.append, Journald("/nowhere/socket"))(event, "text")
    assert said == ["text", "text"]
    assert not into_log(place, mock.Mock(side_effect=BrokenPipeError), None)(event, "text")
