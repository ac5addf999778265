"""One run of chaos: play, judge, and see that the judge is awake."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.judge import Judge, Verdict
from tests.chaos.scene import Scene, played
from tests.chaos.storm import Storm
from tests.chaos.traffic import Traffic, asking
from tests.netns.support import until
from vipnft.model import StoreLoss

_FORGED = (
    "from vipnft.kernel.lease import Lease; lease = Lease(); lease.arm(0, 60000); lease.grant(0)"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be run; `every`: seconds between two questions of each bucket's clients."""

    name: str
    minutes: float
    seed: int
    etcd: bool = True
    loss: StoreLoss = StoreLoss.FENCE
    lease: float = 1.0
    every: float = 0.25


@dataclass(frozen=True)
class Outcome:
    """What came of it; `control`: questions answered twice under a forged lease."""

    verdict: Verdict
    storm: Storm
    broken: list[str]
    control: int

    @property
    def is_well(self) -> bool:
        """Whether all is as it must be."""
        v = self.verdict
        return bool(self.control) and not (v.double or v.unexplained or v.given or self.broken)


def run(options: Options, where: Path) -> Outcome:
    """Do it, in a directory for all files."""
    with played(
        options.name, where, etcd=options.etcd, loss=options.loss, lease=options.lease
    ) as scene:
        storm = Storm(scene, options.seed)
        try:
            with asking(scene.lab, options.every) as traffic:
                began = time.monotonic()
                storm.rage(options.minutes * 60, traffic.check)
                ledger = traffic.finish()
            judge = Judge(
                scene.seen,
                storm.done,
                loss=scene.loss,
                lease=scene.lease,
                began=began,
            )
            verdict = judge.verdict(ledger)
            control = 0
            if not scene.broken:
                with asking(scene.lab, options.every) as traffic:
                    control = forged(scene, traffic)
        finally:
            storm.over.set()
        return Outcome(verdict, storm, scene.broken, control)


def forged(scene: Scene, traffic: Traffic) -> int:
    """Give a host that lost all its buckets a lease by hand; return how many questions were
    answered twice."""
    host = scene.lab.hosts[0]
    scene.down.add(host)
    scene.cast.running[host].kill()
    until(lambda: scene.order("off", host), what="the word that it is off")
    until(lambda: host not in scene.seen.tables[-1][1], what="the takeover")
    scene.lab.run(host, [sys.executable, "-c", _FORGED], check=True)
    with suppress(AssertionError):
        until(lambda: traffic.doubles > 0, seconds=20)
    return len(traffic.finish().double)
