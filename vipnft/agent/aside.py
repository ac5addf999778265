"""Do what takes long beside the beats, in a thread of its own.

Rule 1: one at a time, and never for more than its share of a processor: after something that
        took a second of it, this rests for so many seconds.
Rule 2: nobody waits for it: whoever asked comes back for the outcome.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from vipnft.agent.signals import start_apart
from vipnft.errors import VipnftError

T = TypeVar("T")
_SHARE = 50
"""What part of a processor it may take: a fiftieth."""


class Outcome(NamedTuple, Generic[T]):
    """What came of it: a value, or an error of ours; and when it began (monotonic seconds)."""

    value: T | None
    error: VipnftError | None
    began: float


class Aside(Generic[T]):
    """A thread for one kind of thing, from the first `begin` to the end of the process."""

    def __init__(self, name: str, share: int = _SHARE) -> None:
        self._name, self._share = name, share
        self._asked: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Outcome[T], float]] = queue.SimpleQueue()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._busy, self._rests_until = False, 0.0
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return what is readable once there is an outcome."""
        return self._event

    def begin(self, what: Callable[[], T]) -> bool:
        """Do it, unless something is being done, its outcome is still here, or it is too soon;
        tell whether it was begun. What it raises that is no error of ours ends the process."""
        if self._busy or time.monotonic() < self._rests_until:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            start_apart(self._thread)
        self._busy = True
        self._asked.put(what)
        return True

    def outcome(self) -> Outcome[T] | None:
        """Return what came of it, once; None where nothing has. Never waits."""
        try:
            os.eventfd_read(self._event)  # what it tells of is there: put before it is told
        except BlockingIOError:
            return None
        outcome, seconds = self._done.get_nowait()
        self._busy = False
        self._rests_until = time.monotonic() + seconds * self._share
        return outcome

    def _run(self) -> None:
        while True:
            what, began = self._asked.get(), time.monotonic()
            spent = time.thread_time()
            value, error = None, None
            try:
                value = what()
            except VipnftError as ours:
                error = ours
            self._done.put((Outcome(value, error, began), time.thread_time() - spent))
            os.eventfd_write(self._event, 1)
