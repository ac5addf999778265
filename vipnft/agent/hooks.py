"""Call the operator's programs for each event: what is executable in /etc/vipnft/hooks.d.

Rule 1: one after another, in the events' order, in the names' order, each for 10 s at most: in a
        thread that no beat waits for.
Rule 2: what waits is in the file of events. Where more waits than 1,000, hooks are left the newest
        half; they are told how many they missed, and so is the log.
Rule 3: a new life goes on behind the last event that they were called for.
Rule 4: a program runs only if nobody but root can have written it. It is not called for what is
        said of hooks: one that fails would be called for that.
"""

import json
import re
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vipnft.agent.commands import GRACE_S, Command, Stop
from vipnft.agent.signals import start_apart
from vipnft.host.event_file import EventFile, Reader
from vipnft.observe.events import OF_HOOKS

DIRECTORY = Path("/etc/vipnft/hooks.d")
_BY_SHELL = ("/bin/sh", "-c", 'echo 1000 >/proc/self/oom_score_adj; exec "$0"')
"""Python lets no other thread run until what it starts is loaded. A shell is in memory; a hook may
be on a disk that takes its time. Where memory is short it is killed, and not the agent."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_SECONDS = 10.0
_MOST = 1000
_LEFT_BEHIND = re.compile(r"\..*|.*(~|\.rpm(new|save)|\.dpkg-(dist|new|old))")
"""Names of what editors and package managers leave behind."""


class Backlog:
    """What hooks are still to be called for: events behind number `seen`."""

    def __init__(self, events: EventFile, seen: int) -> None:
        self._reader, self._seen = Reader(events), seen
        self._waiting: deque[dict[str, Any]] = deque()

    def look(self) -> int:
        """Read what is new; return how many events were left out, or are lost. OSError."""
        missed = 0
        for event in self._reader.more():
            number = event["number"]
            if number <= self._seen:
                continue
            missed += number - self._seen - 1
            self._seen = number
            if event["kind"] not in OF_HOOKS:
                self._waiting.append(event)
        if len(self._waiting) > _MOST:
            missed += len(self._waiting) - _MOST // 2
            self._waiting = deque(self._waiting, _MOST // 2)
        return missed

    def take(self) -> dict[str, Any] | None:
        """Return the next event, which waits no longer; None if none does."""
        return self._waiting.popleft() if self._waiting else None


class Hooks:
    """Calls hooks for the events behind number `after`, or behind those that an earlier life
    called them for; `news` is set when there are some, `say` takes lines for the log."""

    def __init__(
        self,
        events: EventFile,
        say: Callable[[str], None],
        news: threading.Event,
        after: int,
        *,
        directory: Path = DIRECTORY,
        seconds: float = _SECONDS,
    ) -> None:
        self._events, self._say, self._news = events, say, news
        self._directory, self._seconds = directory, seconds
        hooked = events.hooked()
        if hooked is None or hooked > after:
            hooked = after
            with suppress(OSError):
                events.note_hooked(after)
        self._backlog = Backlog(events, hooked)
        self._faults: dict[str, str] = {}
        self._stop = Stop()
        self._command = Command(self._stop)
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
                self._call({**event, "missed": untold})
                untold = 0
            elif ending:
                return
            else:
                self._news.wait()
                self._news.clear()

    def _call(self, event: dict[str, Any]) -> None:
        given = json.dumps(event).encode()
        hooks = self._hooks()
        for path in hooks:
            try:
                why = self._command([*_BY_SHELL, str(path)], _ENVIRONMENT, self._seconds, given)
            except OSError as error:
                why = f"can't be run: {error.strerror}"
            if self._stop.wait(0):
                return  # it may have been killed: the next life calls it again
            self._judge(path.name, why)
        with suppress(OSError):
            self._events.note_hooked(event["number"] if hooks else None)

    def _hooks(self) -> list[Path]:
        """Return what is to be called; say what is not, and why."""
        try:
            if not (found := sorted(self._directory.iterdir())):
                return []
            why = _fault(self._directory)
            self._judge(self._directory.name, why)
            if why:
                return []
        except OSError:
            return []
        hooks = []
        for path in found:
            with suppress(OSError):
                mode = path.stat().st_mode
                if not stat.S_ISREG(mode) or not mode & 0o111 or _LEFT_BEHIND.fullmatch(path.name):
                    continue
                if why := _fault(path):
                    self._judge(path.name, why)
                else:
                    hooks.append(path)
        return hooks

    def _judge(self, name: str, why: str) -> None:
        """Say why a hook failed, once, and that it does not any more."""
        before = self._faults.get(name, "")
        self._faults[name] = why
        if why and why != before:
            self._say(f"hook {name}: {why}")
        elif before and not why:
            self._say(f"hook {name} is well again")


def _fault(path: Path) -> str:
    """Return why a file is not to be run, or a directory not to be looked into; OSError."""
    found = path.stat()
    if found.st_uid != 0:
        return "not run: its owner is not root"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "not run: others than its owner can write it"
    return ""
