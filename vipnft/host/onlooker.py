"""What can be seen of a host that has no agent, as its snapshot, cheap enough for once a second.

Rule 1: it reads; nobody waits for it, and nothing here changes what is applied.
Rule 2: contents are compared where a glance differs from the one before, and now and then; the
        glances take a hundredth of a CPU at most, also where there are many buckets.
Rule 3: where an agent lives, the snapshot is its. Where one is gone, it left an old one, and none
        is to look fresh: its lease is over, and what is applied serves nobody.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from vipnft import __version__
from vipnft.buckets.phases import phases
from vipnft.config.writer import digest
from vipnft.errors import KernelError
from vipnft.host import facts, glance, locks, published, record
from vipnft.host.event_file import EventFile, Reader
from vipnft.host.stage import Stage
from vipnft.kernel import clock, libc, load
from vipnft.model import Applied
from vipnft.observe import snapshot, status_report
from vipnft.observe.events import Event, public
from vipnft.observe.snapshot import Stamp
from vipnft.ruleset.strays import STRAYS

PERIOD_S = 1.0
_LAST = 50
"""Events that a snapshot has, as an agent's."""
_SPARING = 100
"""What part of its time it looks into the kernel, at most."""
_CLOSELY_S, _AGAIN_S = 60.0, 5.0
"""Seconds between two comparisons: while no glance differs, and at least; more where one is
dear."""


class Onlooker:
    """Looks at this host; `stale` tells how the cluster file and what was applied differ."""

    def __init__(self, stale: Callable[[Applied], str]) -> None:
        self._stale = stale
        self._written: tuple[int, int] | None = None  # which record was read
        self._applied: Applied | None = None
        self._config = ""
        self._seen: object = None
        self._drift: tuple[str, ...] = ()
        self._compared_at = self._look_at = -math.inf
        self._cost = 0.0  # of the last comparison, seconds of a CPU
        self._why: list[str] = []
        self._status = "null"
        self._events = _Events()

    def write(self) -> None:
        """Write the snapshot anew; none where nothing is applied. OSError, VipnftError."""
        if locks.tended():
            self._written = None
            return
        applied = self._read()
        if applied is None:
            published.forget()
            return
        if applied.leased:
            return
        if time.monotonic() >= self._look_at:
            self._look(applied)
        stamp = Stamp(
            version=__version__, time=time.time(), boottime=clock.boottime(), period=PERIOD_S
        )
        head = snapshot.document(stamp, None, self._why) | {"config_sha256": self._config}
        events = self._events.look()
        published.write(snapshot.text(head, events, None, status=self._status, cluster="null"))

    def _read(self) -> Applied | None:
        """Return what is applied; the record is read if it is another one than before."""
        try:
            found = locks.path_of(".json").stat()
        except FileNotFoundError:
            self._written = None
            return None
        if (written := (found.st_ino, found.st_mtime_ns)) != self._written:
            self._applied = record.load()
            self._config = digest(self._applied.cluster) if self._applied else ""
            self._written, self._compared_at, self._look_at = written, -math.inf, -math.inf
        return self._applied

    def _look(self, applied: Applied) -> None:
        """Make the report of what there is now."""
        began, spent = time.monotonic(), time.thread_time()
        seen: object = None  # the kernel has none of our rules
        with suppress(KernelError):
            seen = glance.at_rest(applied)
        strayed = {number: packets for number, (packets, _) in _counted(STRAYS).items()}
        share = phases(applied.owners, applied.drains, applied.host, clock.boottime())
        moving = any(phase.left > 0 for phase in share)
        counted = _counted("load")
        stages = Stage().glance(applied)
        live = facts.connections(applied) if moving else {}
        spent = time.thread_time() - spent
        self._compare(applied, seen, began)
        spent -= time.thread_time()
        report = status_report.build(
            applied,
            counted,
            share,
            live,
            self._drift,
            public(self._stale(applied)),
            {name: libc.mac_of(name) or worn.mac for name, worn in applied.worn.items()},
            facts.strays(applied, strayed),
            stages,
        )
        self._status = json.dumps(status_report.document(report))
        weight = applied.cluster.weights[applied.host]
        self._why = snapshot.untended(self._drift, owned=len(report.owned), weight=weight)
        spent += time.thread_time()
        self._look_at = began + max(PERIOD_S / 2, _SPARING * spent)

    def _compare(self, applied: Applied, seen: object, now: float) -> None:
        """Compare contents, if it is time to."""
        waits = (
            max(_CLOSELY_S, _SPARING * self._cost)
            if seen == self._seen
            else max(_AGAIN_S, _SPARING / 10 * self._cost)
        )
        if now < self._compared_at + waits:
            return
        spent = time.thread_time()
        self._drift = tuple(map(public, facts.inspect(applied)))
        self._seen, self._compared_at = seen, now
        self._cost = time.thread_time() - spent


class _Events:
    """The last of what the file of events has."""

    def __init__(self) -> None:
        self._reader = Reader(EventFile())
        self._last: deque[Event] = deque(maxlen=_LAST)

    def look(self) -> tuple[Event, ...]:
        """Return them, as far as the file can be read."""
        with suppress(OSError):
            for one in self._reader.more():
                event = Event(one["number"], one["time"], one["kind"], public(one["text"]))
                self._last.append(event)
        return tuple(self._last)


def _counted(name: str) -> load.Counted:
    try:
        return load.read(name)
    except KernelError:  # there are no rules
        return {}
