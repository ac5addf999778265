"""When an agent sleeps, and what wakes it.

Rule 1: there is one sleep, so whatever is waited for, the service manager hears of life in time.
"""

import math
import os
import select
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from vipnft.agent import systemd
from vipnft.agent.lateness import Lateness
from vipnft.agent.signals import Signals
from vipnft.agent.upkeep import Upkeep
from vipnft.agreement.effects import Wait
from vipnft.kernel.watch import Watch

_SOON_S = 0.005  # seconds between two looks at a store without hints while buckets are to come
_JUST_S = 0.001  # seconds later than a time that must be past
_ALIVE_S = 1.0  # seconds between two signs of life for systemd, or less if it wants them sooner


class Pace:
    """Beats come every `period` seconds, or at once after `hurry`; `lateness` is told of all that
    is waited, and of what delays."""

    def __init__(self, period: float, watch: Watch, signals: Signals, lateness: Lateness) -> None:
        self._period, self._watch, self._signals = period, watch, signals
        self.lateness = lateness
        self._beat_at = time.monotonic()
        self._alive = min(_ALIVE_S, (systemd.watchdog_interval() or math.inf) / 2)

    def due(self) -> bool:
        """Tell whether it is time to beat."""
        return time.monotonic() >= self._beat_at

    def hurry(self) -> None:
        """Make it time to beat."""
        self._beat_at = time.monotonic()

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Count what this life spends its time on."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.lateness.spent(what, time.monotonic() - began)

    def wait(self, asked: Wait, hints: int | None, upkeep: Upkeep, *, told: bool) -> None:
        """Wait for the next beat, or for what is asked before; mend the kernel meanwhile.

        `told`: a signal to stop is known already, and no reason to beat once more.
        """
        now = time.monotonic()
        if self._beat_at <= now:
            self._beat_at = max(self._beat_at + self._period, now)
        look = now + asked.most + _JUST_S
        if asked.soon and hints is None:
            look = min(look, now + _SOON_S)
        while True:
            # Who has nothing to come can wait for the beat: many hosts would look at each change.
            wanted = hints if asked.soon else None
            hinted = self._sleep(min(look, self._beat_at), wanted, upkeep.filenos())
            with self.spending("the comparison with the kernel"):
                upkeep.tend(self._watch.heard())
            if upkeep.mended():  # rules come silent: grant them at once
                self.hurry()
            if hinted or time.monotonic() >= min(look, self._beat_at):
                return
            if self._signals.reread or (self._signals.stop and not told):
                self.hurry()  # to be told at once, and only once

    def pause(self, seconds: float, *, news: bool = False) -> bool:
        """Sleep so long, with `news` until the kernel tells of a change; False if a signal came."""
        until = time.monotonic() + seconds
        while not self._told() and time.monotonic() < until:
            self._sleep(until)
            if any(self._watch.heard()) and news:
                break
        return not self._told()

    def _told(self) -> bool:
        return self._signals.stop or self._signals.reread

    def _sleep(self, until: float, hints: int | None = None, more: Collection[int] = ()) -> bool:
        """Sleep until then (monotonic seconds), the next sign of life, a signal, a change in the
        kernel, more that is readable, or a hint from the store: tell whether it was that."""
        systemd.alive()
        now = time.monotonic()
        poll = select.poll()
        for number in (*self._watch.filenos(), self._signals.fileno(), *more):
            poll.register(number, select.POLLIN)
        if hints is not None:
            poll.register(hints, select.POLLIN)
        meant = max(0.0, min(until - now, self._alive))
        ready = poll.poll(meant * 1000)
        self.lateness.waited(min(meant, time.monotonic() - now))
        self._signals.drain()
        if hints is None or hints not in dict(ready):
            return False
        os.eventfd_read(hints)
        return True
