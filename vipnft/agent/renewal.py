"""Is this host's lease renewed, and since when not? Pure: every time is one of this host's
monotonic clock, in seconds.

Rule 1: what counts is a beat that was done, not an answer: a store that answers, and refuses what
        is written, is away.
Rule 2: a change is one line, and one that lasts is said again each minute, with the time since.
Rule 3: a beat that fails while the lease holds is no change: it is a line once a minute at most.
"""

import math

_AGAIN_S = 60.0


class Renewal:
    """One life's; `lease` in seconds; `hold`: it goes on without beats. What a method returns is a
    line for the log, or nothing."""

    def __init__(self, lease: float, *, hold: bool) -> None:
        self._lease, self._hold = lease, hold
        self._ends = self._armed = -math.inf  # when the granted lease is over; the armed one
        self._made = False  # the last beat was done
        self._since: float | None = None  # when the first beat failed of those not made up for
        self._over = 0.0  # when that ends the lease
        self._out = self._told = False  # it has ended; it was said
        self._said = -math.inf

    def armed(self, lease: float, now: float) -> None:
        """Note that a slot is armed for so many seconds."""
        self._armed = now + lease

    def wrote(self) -> None:
        """Note that the store did what it was asked to write."""
        self._made = True

    def granted(self, now: float) -> str:
        """Note that the armed slot is granted."""
        self._ends = self._armed
        since, told, dark = self._since, self._told, self._out and not self._hold
        if since is None or not self._made:
            return ""
        self._since, self._out = None, False
        # Silent since the lease was over; where there was none yet, all that time.
        silent = f", {now - max(self._over, since):.1f} s of them silent" if dark else ""
        return f"the store answers again after {now - since:.1f} s{silent}" if told else ""

    def failed(self, why: str, now: float) -> str:
        """Note that the store did not do what it was asked, or nobody knows whether."""
        self._made = False
        if self._since is None:
            self._since = now
            self._over = now + self._lease if self._hold else self._ends
            self._told = now - self._said >= _AGAIN_S
            if not self._told and now < self._over:
                return ""
            return self._say(f"{why}; {self._then(now)}", now)
        news = now >= self._over and not self._out and not (self._hold and self._told)
        if news or now - self._said >= _AGAIN_S:
            return self._say(f"{self._state(now)}: {why}", now)
        return ""

    def away(self, now: float) -> float:
        """Return for how many seconds no beat was done: 0 if the last was."""
        return 0.0 if self._since is None else now - self._since

    def _say(self, text: str, now: float) -> str:
        self._said, self._told, self._out = now, True, now >= self._over
        return text

    def _then(self, now: float) -> str:
        if self._hold:
            return "on_store_loss is hold: carrying on with the last table"
        if now >= self._over:
            return "silent until it does as asked"
        return f"silent in at most {self._over - now:.1f} s unless it does as asked"

    def _state(self, now: float) -> str:
        if self._hold:
            return f"carrying on with the last table, without the store for {self.away(now):.1f} s"
        if now < self._over:
            return f"no beat for {self.away(now):.1f} s"
        if self._over == -math.inf:
            return f"silent: no beat for {self.away(now):.1f} s"
        return f"SILENT for {now - self._over:.1f} s, as the lease is not renewed"
