"""The buckets that this host drains, and when each is done."""

import time
from collections import Counter
from collections.abc import Callable, Iterable

from vipnft.agent.dataplane import Dataplane
from vipnft.errors import KernelError

_LOOK_S = 1.0  # seconds between two looks at which drains are over


class Drains:
    """A drain is over when no connection is left, or after `longest` seconds."""

    def __init__(self, plane: Dataplane, longest: float, log: Callable[[str], None]) -> None:
        self._plane, self._longest, self._log = plane, longest, log
        self._since: dict[int, float] = {}
        self._look_at = time.monotonic()

    def follow(self, draining: Iterable[int]) -> None:
        """Note which buckets are drained now."""
        now = time.monotonic()
        self._since = {b: self._since.get(b, now) for b in draining}

    def over(self) -> frozenset[int]:
        """Return the buckets whose drain is over; nothing between two looks at the sockets."""
        now = time.monotonic()
        if not self._since or now < self._look_at:
            return frozenset()
        self._look_at = now + _LOOK_S
        try:
            live = self._plane.connections()
        except KernelError as error:
            self._log(f"{error}: buckets drain for {self._longest:g} s")
            live = Counter(dict.fromkeys(self._since, 1))
        late = now - self._longest
        return frozenset(b for b, since in self._since.items() if not live[b] or since <= late)
