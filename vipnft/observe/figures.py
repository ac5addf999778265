"""What is counted over an agent's life.

Rule 1: a figure is added to by one thread; whoever reads it meanwhile may be one event behind.
"""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEAT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds of a beat's duration, and of a request's to the store, in seconds."""


class Histogram:
    """How many values were at most each of `bounds`, which grow."""

    def __init__(self, bounds: Sequence[float] = BEAT_S) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def document(self) -> dict[str, object]:
        """Return it for programs: `counts` has one more, of what was above all bounds."""
        return {"bounds": self._bounds, "counts": self._counts, "sum": round(self._sum, 6)}


@dataclass(frozen=True, slots=True)
class Figures:
    """One life's: how long beats took that were done; requests to the store by how they ended, and
    how long they took."""

    requests: Counter[str] = field(default_factory=lambda: Counter(done=0, refused=0, failed=0))
    beat: Histogram = field(default_factory=Histogram)
    request: Histogram = field(default_factory=Histogram)

    def document(self, events: Mapping[str, int]) -> dict[str, object]:
        """Return them for programs, with how many events of each kind there were."""
        return {
            "beat_seconds": self.beat.document(),
            "store_requests": self.requests,
            "store_request_seconds": self.request.document(),
            "events": events,
        }
