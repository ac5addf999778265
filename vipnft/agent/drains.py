"""The buckets that this host drains, and when each is done.

Rule 1: no beat waits for a count of the connections.
Rule 2: a count tells of the buckets that were drained before it began.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable

from vipnft.agent.aside import Aside
from vipnft.agent.dataplane import Dataplane

_LOOK_S = 1.0  # seconds between two looks at which drains are over
_SHARE = 10  # a tenth of a processor at most, while buckets drain


class Drains:
    """A drain is over when no connection is left, or after `longest` seconds; `live`: how many
    there were at the last look, by bucket."""

    def __init__(self, plane: Dataplane, longest: float, log: Callable[[str], None]) -> None:
        self._plane, self._longest, self._log = plane, longest, log
        self._since: dict[int, float] = {}
        self._counting: Aside[Counter[int]] = Aside("connections", _SHARE)
        self._look_at = time.monotonic()
        self.live: Counter[int] = Counter()

    def follow(self, draining: Iterable[int]) -> None:
        """Note which buckets are drained now."""
        now = time.monotonic()
        self._since = {b: self._since.get(b, now) for b in draining}
        if not self._since:
            self.live = Counter()

    def over(self) -> frozenset[int]:
        """Return the buckets whose drain is over, as far as it is known by now."""
        now = time.monotonic()
        idle = self._idle()
        if self._since and now >= self._look_at and self._counting.begin(self._plane.connections):
            self._look_at = now + _LOOK_S
        late = now - self._longest
        return frozenset(b for b, since in self._since.items() if b in idle or since <= late)

    def _idle(self) -> frozenset[int]:
        """Return the buckets in which no connection is left, when it is known anew."""
        found = self._counting.outcome()
        if found is None:
            return frozenset()
        if found.value is None:
            self._log(f"{found.error}: buckets drain for {self._longest:g} s")
            return frozenset()
        self.live = live = found.value
        return frozenset(
            b for b, since in self._since.items() if not live[b] and since < found.began
        )
