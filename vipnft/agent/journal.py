"""The agent's log, and what is remembered of it.

Rule 1: whoever says a line waits for nobody: a thread passes it on, to the log first, then to the
        file of events. What finds no room is counted, and told as soon as there is some.
Rule 2: a line is said before it is counted: who is told of an event finds it in the log.
"""

import json
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from vipnft.agent.hooks import Hooks
from vipnft.agent.signals import start_apart
from vipnft.host import locks
from vipnft.host.event_file import EventFile
from vipnft.host.journald import Journald, is_stderr
from vipnft.observe.events import KINDS, Event, Place, document, journal_fields, kind_of, public

_LAST = 50
"""Events that a snapshot has."""
_MOST = 10_000
"""Lines that wait to be passed on."""
_FLUSH_S = 0.2
"""For less than a lease: an agent that begins anew waits for it."""
_HOOKS_S = 10.0
"""For what waits for hooks where the host was given back."""

Outlet = Callable[[Event, str], bool]
"""Takes an event and its whole line; False where it had no room."""


class _Line(NamedTuple):
    number: int
    time: float
    text: str


class Journal:
    """Passes lines on to `log`, then to `keep` (which may raise OSError), by number behind `after`;
    `last` are the last events, `counts` how many there were of each kind; `hearing`: calls of
    other hosts arrive, as far as was said."""

    def __init__(self, log: Outlet, keep: Callable[[Event], object], after: int = 0) -> None:
        self._log, self._keep, self._number = log, keep, after
        self._lines: queue.SimpleQueue[_Line | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._crowded_out = self._unsent = 0
        self._unkept = ""
        self.last: deque[Event] = deque(maxlen=_LAST)
        self.counts = Counter(dict.fromkeys(KINDS, 0))
        self.hearing = True
        start_apart(threading.Thread(target=self._run, name="events", daemon=True))

    def say(self, line: str) -> None:
        """Say a line, and have it noted what kind of event it is."""
        with self._lock:
            if self._lines.qsize() >= _MOST:
                self._crowded_out += 1
                return
            if self._crowded_out:
                self._put(_lost(self._crowded_out))
                self._crowded_out = 0
            self._put(line)

    def _put(self, line: str) -> None:
        self._number += 1
        self._lines.put(_Line(self._number, time.time(), line))

    def flush(self) -> None:
        """Wait a little until all that was said has been passed on."""
        passed = threading.Event()
        self._lines.put(passed)
        passed.wait(_FLUSH_S)

    # The thread.

    def _run(self) -> None:
        while True:
            one = self._lines.get()
            if isinstance(one, threading.Event):
                one.set()
            else:
                self._pass_on(one)

    def _pass_on(self, one: _Line) -> None:
        text = public(one.text)
        event = Event(one.number, round(one.time, 3), kind_of(one.text), text)
        if not self._log(event, one.text):
            self._unsent += 1
        elif self._unsent:
            self.say(_lost(self._unsent))
            self._unsent = 0
        self._keep_it(event)
        self.last.append(event)
        self.counts[event.kind] += 1
        if event.kind in {"deaf", "hearing"}:
            self.hearing = event.kind == "hearing"

    def _keep_it(self, event: Event) -> None:
        try:
            self._keep(event)
        except OSError as error:
            if str(error) != self._unkept:
                self._unkept = str(error)
                self.say(f"WARNING: `vipnft events` and hooks miss events: {error}")
        else:
            self._unkept = ""


def _lost(count: int) -> str:
    return f"{count} lines of this log were lost: it took no more"


def into_log(place: Place, say: Callable[[str], None], journald: Journald | None) -> Outlet:
    """Return the way into the log: fields for the journal where there is one, lines elsewhere."""

    def into(event: Event, line: str) -> bool:
        if journald is not None:
            with suppress(OSError):  # standard error is the journal's, too
                return journald.send(journal_fields(event, place, line))
        try:
            say(line)
        except OSError:
            return False
        return True

    return into


@contextmanager
def telling(place: Place, say: Callable[[str], None]) -> Iterator[Journal]:
    """Tell of a host: in the log, whose lines `say` takes, in the file of events, and by hooks."""
    events, news, after = EventFile(), threading.Event(), 0
    with locks.locked(), suppress(OSError):  # a command that is at it tells of that first
        after = events.last()

    def keep(event: Event) -> None:
        events.append(json.dumps(document(event, place)))
        news.set()

    journald = Journald() if is_stderr() else None
    journal = Journal(into_log(place, say, journald), keep, after)
    hooks = Hooks(events, journal.say, news, after)
    hooks.start()
    try:
        yield journal
    finally:
        journal.flush()
        hooks.stop(_HOOKS_S if journal.counts["stopped"] else 0.0)
        journal.flush()  # what is said of hooks
