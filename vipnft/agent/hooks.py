"""Call the operator's programs for each event, beside the beats.

Rule 1: in a thread that no beat waits for.
Rule 2: a new life goes on behind the last event that they were called for.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vipnft.agent.signals import start_apart
from vipnft.host.commands import GRACE_S, Stop
from vipnft.host.event_file import EventFile
from vipnft.host.hooks import DIRECTORY, SECONDS, Backlog, Programs


class Hooks:
    """Calls hooks for the events behind number `after`, or behind those that they were called for
    before; `news` is set when there are some, `say` takes lines for the log."""

    def __init__(
        self,
        events: EventFile,
        say: Callable[[str], None],
        news: threading.Event,
        after: int,
        *,
        directory: Path = DIRECTORY,
        seconds: float = SECONDS,
    ) -> None:
        self._events, self._say, self._news = events, say, news
        self._seconds = seconds
        hooked = events.hooked()
        if hooked is None or hooked > after:
            hooked = after
            with suppress(OSError):
                events.note_hooked(after)
        self._backlog = Backlog(events, hooked)
        self._stop = Stop()
        self._programs = Programs(self._stop, say, directory)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)

    def start(self) -> None:
        """Call them from now on."""
        start_apart(self._thread)

    def stop(self, grace: float) -> None:
        """Call them no more, but for what waits already, for so many seconds."""
        self._ending = True
        self._news.set()
        self._thread.join(grace)
        self._stop.set()
        self._thread.join(2 * GRACE_S)

    # The thread.

    def _run(self) -> None:
        untold = 0
        while not self._stop.wait(0):
            ending = self._ending  # what happened before it was said is seen by the look below
            with suppress(OSError):
                if missed := self._backlog.look():
                    self._say(f"the hooks missed {missed} events: they take too long")
                    untold += missed
            if event := self._backlog.take():
                self._programs.call(self._events, {**event, "missed": untold}, self._seconds)
                untold = 0
            elif ending:
                return
            else:
                self._news.wait()
                self._news.clear()
