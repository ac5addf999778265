"""The agent's log, and what is remembered of it.

Rule 1: a line is said before it is counted: who is told of an event finds it in the log.
"""

import time
from collections import Counter, deque
from collections.abc import Callable

from vipnft.observe.events import KINDS, NOTE, Event, kind_of, public

_LAST = 50
"""Events that a snapshot has."""


class Journal:
    """Passes lines on to `log`; `last` are the last events, `counts` how many there were of each
    kind; `hearing`: calls of other hosts arrive, as far as was said."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._number = 0
        self.last: deque[Event] = deque(maxlen=_LAST)
        self.counts = Counter(dict.fromkeys((*KINDS, NOTE), 0))
        self.hearing = True

    def say(self, line: str) -> None:
        """Say a line, and note what kind of event it is."""
        self._log(line)
        kind = kind_of(line)
        self._number += 1
        self.last.append(Event(self._number, round(time.time(), 3), kind, public(line)))
        self.counts[kind] += 1
        if kind in {"deaf", "hearing"}:
            self.hearing = kind == "hearing"
