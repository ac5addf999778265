"""Has a host that came back been well for long enough to take buckets? Pure: times are this host's
monotonic clock, in seconds.

Rule 1: what a host owns it serves: it waits only before it is given anything.
Rule 2: who falls out again soon after a return waits twice as long the next time, up to a limit:
        a cable that flaps moves buckets about once a minute at most (by the default).
"""

_LONGEST = 12
"""The longest wait, and how soon after a return a host's falling out is its fault, in settles."""


class Settling:
    """One life's, which waits for `settle` seconds; who doesn't look for a lease was not well."""

    def __init__(self, settle: float, lease: float) -> None:
        self._settle, self._lease = settle, lease
        self._wait = settle
        self._since: float | None = None  # well, without a break
        self._took: float | None = None  # when it began to serve, since the last break
        self._looked = 0.0
        self.again = 0

    def look(self, now: float, *, well: bool, owns: bool) -> float:
        """Note how the host is, and whether it owns anything; return for how many seconds more it
        is to be given nothing. `again` is how often it fell out soon after a return."""
        if not well or (self._since is not None and now - self._looked > self._lease):
            self._fall(now)
        self._looked = now
        if well and self._since is None:
            self._since = now
        left = self._wait if self._since is None else self._since + self._wait - now
        if owns or left <= 0:
            if well and self._took is None:
                self._took = now
            return 0.0
        return left

    def _fall(self, now: float) -> None:
        if self._took is not None:
            soon = now - self._took < _LONGEST * self._settle
            self.again = self.again + 1 if soon else 0
            self._wait = self._settle * min(2**self.again, _LONGEST)
        self._since = self._took = None
