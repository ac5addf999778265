"""Were beats late, and by what? Pure: every time is one of this host's monotonic clock, in seconds.

Rule 1: to wait as was meant is not late; that the store failed is said elsewhere.
Rule 2: it is a line once a minute at most, of the worst since.
"""

import math

from vipnft.observe.figures import Histogram

_AGAIN_S = 60.0
_PART = 10
"""What part of a lease a beat may be late, and nobody need know."""


class Lateness:
    """One life's; beats come every `period` seconds; `took`: how long they took, but for waiting,
    in seconds."""

    def __init__(self, period: float, lease: float, took: Histogram | None = None) -> None:
        self._took = took or Histogram()
        self._period, self._limit = period, lease / _PART
        self._last: float | None = None  # when the lease was renewed last
        self._waited = 0.0  # since then, as was meant
        self._spent: dict[str, float] = {}  # likewise, on what
        self._worst = (0.0, "", 0.0)  # how late, why, and when
        self._count = 0
        self._said = -math.inf

    def forget(self) -> None:
        """Count the next renewal from itself on."""
        self._last = None

    def waited(self, seconds: float) -> None:
        """Note that this life has waited, as it meant to."""
        self._waited += seconds

    def spent(self, what: str, seconds: float) -> None:
        """Note what it spent its time on."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def renewed(self, now: float) -> str:
        """Note a renewal; return what to say."""
        if self._last is not None:
            gap = now - self._last
            self._took.note(max(0.0, gap - self._waited))
            late = gap - max(self._period, self._waited)
            self._count += late > self._limit
            if late > max(self._limit, self._worst[0]):
                self._worst = late, self._why(gap - self._waited), now
        self._last, self._waited, self._spent = now, 0.0, {}
        if not self._count or now - self._said < _AGAIN_S:
            return ""
        return self._say(now)

    def _why(self, seconds: float) -> str:
        unknown = seconds - sum(self._spent.values())
        parts = {**self._spent, "this process did not run": unknown}
        what, seconds = max(parts.items(), key=lambda part: part[1])
        return f"{what}, {seconds:.2f} s"

    def _say(self, now: float) -> str:
        late, why, at = self._worst
        ago = f" {now - at:.0f} s ago" if now > at else ""
        several = f"; the worst of {self._count}" if self._count > 1 else ""
        self._worst, self._count, self._said = (0.0, "", 0.0), 0, now
        return f"a beat was {late:.2f} s late{ago} ({why}{several})"
