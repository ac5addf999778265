"""What this host spends on its packets: CPU seconds a second, and the packets it spent them on.

Rule 1: both are smoothed alike, so that what a packet costs is known whatever their number does.
Rule 2: what was before other buckets came here counts for little: their packets may cost others.
Rule 3: how much the costs of a packet vary tells how far the CPU may be off.
Rule 4: CPU that falls was counted anew: the service was started again.
"""

import math

from vipnft.buckets.measured import SPAN

_ANEW = 2
"""For how many periods all count that were before buckets came or went."""


class Spent:
    """CPU seconds and packets a second, over `periods`."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None  # CPU seconds used so far, and when
        self._varied = 0.0
        self._weight = 0  # for how many periods those seen count
        self.periods = 0
        self.cpu = self.packets = 0.0

    @property
    def doubt(self) -> float:
        """By how many CPU seconds a second it may be off: its standard deviation."""
        part = 1 / max(self._weight, 1)
        return math.sqrt(self._varied * part / (2 - part))

    def look(self, used: float, packets: int, now: float, *, moved: bool) -> None:
        """Note the CPU seconds used so far, and how many packets came since the last look; `moved`:
        buckets came or went since."""
        last, self._last = self._last, (used, now)
        if last is None or now <= last[1]:
            return
        before, seconds = last[0], now - last[1]
        cpu = (used - before if used >= before else used) / seconds
        rate = packets / seconds
        if moved:
            self._weight = min(self._weight, _ANEW)
        self.periods += 1
        self._weight = min(self._weight + 1, SPAN)
        part = 1 / self._weight
        first = self.periods == 1
        expected = cpu if first else self._at(rate)
        self.cpu += part * (cpu - self.cpu)
        self.packets += part * (rate - self.packets)
        off = (cpu - expected) * (cpu - self._at(rate))
        self._varied += part * (max(off, 0.0) - self._varied)

    def _at(self, rate: float) -> float:
        """Return the CPU that so many packets take by what is known."""
        return self.cpu * rate / self.packets if self.packets else self.cpu
