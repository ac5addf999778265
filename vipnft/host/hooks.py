"""The operator's programs that are called for events: what is executable in /etc/vipnft/hooks.d.

Rule 1: one after another, in the events' order, in the names' order, each for 10 s at most.
Rule 2: what waits is in the file of events. Where more waits than 1,000, hooks are left the newest
        half; they are told how many they missed, and so is the log.
Rule 3: whoever comes next goes on behind the last event that they were called for.
Rule 4: a program runs only if nobody but root can have written it. It is not called for what is
        said of hooks: one that fails would be called for that.
"""

import json
import re
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vipnft.host.commands import Command, Stop
from vipnft.host.event_file import EventFile, Reader
from vipnft.observe.events import OF_HOOKS

DIRECTORY = Path("/etc/vipnft/hooks.d")
SECONDS = 10.0
_BY_SHELL = ("/bin/sh", "-c", 'echo 1000 >/proc/self/oom_score_adj; exec "$0"')
"""Python lets no other thread run until what it starts is loaded. A shell is in memory; a hook may
be on a disk that takes its time. Where memory is short it is killed, and not the agent."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
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


class Programs:
    """The hooks in a directory; `say` is told which of them fails, once, until it is well again."""

    def __init__(self, stop: Stop, say: Callable[[str], None], directory: Path = DIRECTORY) -> None:
        self._stop, self._say, self._directory = stop, say, directory
        self._command = Command(stop)
        self._faults: dict[str, str] = {}

    def call(
        self, events: EventFile, event: dict[str, Any], each: float, end: float | None = None
    ) -> bool:
        """Call them for an event, each for so many seconds, until `end` (monotonic seconds) at
        most, and note that they were; tell whether they are through with it."""
        given = json.dumps(event).encode()
        hooks = self._found()
        for path in hooks:
            left = each if end is None else min(each, end - time.monotonic())
            if left <= 0:
                return False
            try:
                why = self._command([*_BY_SHELL, str(path)], _ENVIRONMENT, left, given)
            except OSError as error:
                why = f"can't be run: {error.strerror}"
            if self._stop.wait(0):
                return False  # it may have been killed: the next life calls it again
            self._judge(path.name, why)
        with suppress(OSError):
            events.note_hooked(event["number"] if hooks else None)
        return True

    def _found(self) -> list[Path]:
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


def there() -> bool:
    """Tell whether anything is where hooks are."""
    with suppress(OSError):
        return any(DIRECTORY.iterdir())
    return False


def _fault(path: Path) -> str:
    """Return why a file is not to be run, or a directory not to be looked into; OSError."""
    found = path.stat()
    if found.st_uid != 0:
        return "not run: its owner is not root"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "not run: others than its owner can write it"
    return ""
