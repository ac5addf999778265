"""Faults one after the other and beside each other, until the time is over.

Rule 1: one thread draws, each fault has its own; an error in one ends no other, and is told.
Rule 2: from time to time all faults end, and the cluster must be whole again by itself.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos.faults import ENDS_S, Fault, attempted, drawn
from tests.chaos.judge import NEVER_BACK_S, Done
from tests.chaos.scene import Scene
from tests.netns.support import PACE

_PAUSE_S = 1.6  # between two faults, as a mean
_MOST = 5  # faults at once
_STORM_S = 120.0  # between two times of calm
_WHOLE_S = 60.0 * PACE  # in which the cluster must be whole again


class Storm:
    """`done` are the faults that were; `over` ends it early."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene, self._draw = scene, random.Random(seed)
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._running: list[threading.Thread] = []
        self.done: list[Done] = []
        self.over = threading.Event()

    @property
    def kinds(self) -> Counter[str]:
        """How many faults there were of each kind."""
        return Counter(fault.kind for fault in self.done)

    def rage(self, seconds: float, check: Callable[[], None]) -> None:
        """Do it for so long, with a calm at least in the end; at each, `check` may raise."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not self.over.is_set():
            self._stretch(min(end, now + _STORM_S))
            self._calm()
            check()

    def _stretch(self, end: float) -> None:
        while time.monotonic() < end and not self.over.is_set():
            self._next(drawn(self._scene, self._draw))
            self.over.wait(self._draw.expovariate(1 / _PAUSE_S))
            self._tend()
            if self._scene.broken:
                self.over.set()

    def _tend(self) -> None:
        now = time.monotonic()
        for host in self._scene.tended():
            with self._lock:
                self.done.append(Done("agent ended by itself", (host,), now - _PAUSE_S, now))

    def _next(self, fault: Fault) -> None:
        """Begin a fault, unless others hold what it needs."""
        self._running = [thread for thread in self._running if thread.is_alive()]
        with self._lock:
            if self._held & fault.holds or len(self._running) >= _MOST:
                return
            self._held |= fault.holds
        thread = threading.Thread(target=self._do, args=(fault,), name=fault.kind, daemon=True)
        thread.start()
        self._running.append(thread)

    def _do(self, fault: Fault) -> None:
        began = time.monotonic()
        attempted(fault.kind, fault.begin, self._scene)
        self.over.wait(fault.seconds)
        attempted(f"the end of: {fault.kind}", fault.end, self._scene)
        done = Done(
            fault.kind,
            fault.hosts,
            began,
            time.monotonic(),
            fault.store,
            fault.tail,
            fault.apart,
        )
        with self._lock:
            self.done.append(done)
            self._held -= fault.holds

    def _calm(self) -> None:
        """Let all faults end, and wait until every host has its share again."""
        for thread in self._running:
            thread.join(NEVER_BACK_S + ENDS_S)
        scene, hosts = self._scene, self._scene.lab.hosts
        end = time.monotonic() + _WHOLE_S
        share = scene.lab.cluster.buckets // len(hosts)
        while True:
            self._tend()
            owners = Counter(scene.seen.tables[-1][1])
            if all(owners[host] == share for host in hosts):
                return
            if time.monotonic() > end or self.over.wait(0.2):
                if not self.over.is_set():
                    scene.broken.append(f"not whole after {_WHOLE_S:.0f} s of calm: {owners}")
                    self.over.set()
                return
