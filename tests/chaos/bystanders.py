"""Clients that a change is not about: in tests a few, as many as promised by `make bench-failover`.

Traffic is on every bucket, all the time; a lease is long, so that a machine with few processors is
no fault of agents.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.judge import Done, Judge, Verdict
from tests.chaos.scene import Scene, played
from tests.chaos.traffic import asking
from tests.netns.support import PACE, until

LEASE_S = 4.0 * PACE
EVERY_S = 0.25 * PACE
_LIVED = 12
"""Beats after which an agent that gives buckets to the dead has done so: it waits for three."""


@dataclass
class Beside:
    """What came of it: a `verdict` on all questions, of which those of buckets that moved and of
    hosts begun anew are explained; how often the table `changes`; and how many buckets were `given`
    to the host that is off."""

    verdict: Verdict
    changes: int
    given: int = 0


@contextmanager
def _judged(scene: Scene, faults: list[Done], late: float = 0.0) -> Iterator[list[Beside]]:
    """Ask meanwhile; what came of it is there in the end."""
    found: list[Beside] = []
    changes, began = scene.seen.changes, time.monotonic()
    with asking(scene.lab, EVERY_S) as traffic:
        yield found
        ledger = traffic.finish()
    judge = Judge(
        scene.seen, faults, loss=scene.loss, lease=scene.lease, began=began, late=4 * late
    )
    found.append(Beside(judge.verdict(ledger), scene.seen.changes - changes))


def changed(name: str, where: Path, *, late: float, times: int) -> Beside:
    """Change the table so many times, by weights, `late` seconds from the store (round trip)."""
    with played(name, where, lease=LEASE_S, settle=0.0) as scene:
        assert scene.members
        scene.members.late(late)
        first, size = scene.lab.hosts[0], scene.lab.cluster.buckets
        with _judged(scene, [], late) as found:
            begin, weight = scene.seen.changes, 1
            while scene.seen.changes - begin < times:
                weight = 3 - weight
                assert scene.order("weight", first, str(weight))
                share = size * weight // (3 + weight)
                until(partial(_owns, scene, first, share), what=f"{share} buckets of {first}")
    return found[0]


def _owned(scene: Scene, host: str) -> int:
    return scene.seen.tables[-1][1].count(host)


def _owns(scene: Scene, host: str, share: int) -> bool:
    return _owned(scene, host) in {share, share + 1}


def one_off(name: str, where: Path, *, times: int, hosts: int = 3) -> Beside:
    """One of four hosts is off; begin the agents of some others anew, by SIGHUP and by kill and
    start."""
    with played(name, where, lease=LEASE_S, settle=0.0) as scene:
        *others, off = scene.lab.hosts
        scene.down.add(off)
        scene.cast.running[off].kill()
        until(lambda: _owned(scene, off) == 0, what="the takeover")
        known, faults = len(scene.seen.tables), list[Done]()
        with _judged(scene, faults) as found:
            for host in others[:hosts] * times:
                for restart in (_renewed, _restarted):
                    began = time.monotonic()
                    restart(scene, host)
                    until(partial(scene.seen.beaten_since, host, began, _LIVED), what=host)
                    faults.append(Done("begun anew", (host,), began, began))
        found[0].given = sum(owners.count(off) for _, owners in scene.seen.tables[known:])
    return found[0]


def _renewed(scene: Scene, host: str) -> None:
    scene.cast.running[host].send_signal(signal.SIGHUP)


def _restarted(scene: Scene, host: str) -> None:
    scene.cast.running[host].kill()
    scene.cast.running[host].wait()
    scene.cast.start(host)
