"""What each bucket carries, smoothed: from counts that only grow, read once a period.

Rule 1: a mean over all periods that were seen, until those are more than SPAN; from then on the
        past counts for less and less.
Rule 2: who takes a bucket over goes on with what was known of it.
Rule 3: counts that fell began anew: rules were loaded again.
Rule 4: how much loads vary from period to period tells how far the mean may be off.
"""

import math
from collections.abc import Mapping

SPAN = 15
"""Over how many periods loads are smoothed."""


class Measured:
    """Packets a second by bucket; `periods`: over how many they were measured."""

    def __init__(self) -> None:
        self._counts: Mapping[int, int] = {}
        self._at: float | None = None
        self._varied: dict[int, float] = {}
        self.periods = 0
        self.rates: dict[int, float] = {}

    def look(self, counts: Mapping[int, int], now: float, known: Mapping[int, float]) -> None:
        """Note what has been counted so far, by bucket that is here; `known`: what others said that
        buckets carry which were not."""
        since, self._at = self._at, now
        if since is not None and now > since:
            self._rate(counts, now - since, known)
        self._counts = dict(counts)

    @property
    def doubt(self) -> float:
        """By how many packets a second the sum of all may be off: its standard deviation."""
        part = self._part
        return math.sqrt(sum(self._varied.values()) * part / (2 - part))

    @property
    def _part(self) -> float:
        """How much the newest period counts for."""
        return 1 / min(max(self.periods, 1), SPAN)

    def _rate(self, counts: Mapping[int, int], seconds: float, known: Mapping[int, float]) -> None:
        self.periods += 1
        part = self._part
        rates: dict[int, float] = {}
        varied: dict[int, float] = {}
        for bucket, count in counts.items():
            before = self._counts.get(bucket)
            if before is None:  # here since a moment ago
                rates[bucket], varied[bucket] = known.get(bucket, 0.0), 0.0
                continue
            rate = (count - before if count >= before else count) / seconds
            mean = self.rates.get(bucket, rate)
            rates[bucket] = mean + part * (rate - mean)
            was = self._varied.get(bucket, 0.0)
            varied[bucket] = was + part * ((rate - mean) * (rate - rates[bucket]) - was)
        self.rates, self._varied = rates, varied
