"""Buckets that follow hosts' CPU where packets of some cost ten times those of others, simulated.

All that agents do is theirs: what a host counts and spends is measured by
vipnft/buckets/measured.py and vipnft/buckets/spent.py, and each gives its own by
vipnft/agreement/evening.py. CPU is not known by bucket, here as there.

Rule 1: random sequences come from fixed seeds, so that a result comes back.
"""

import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from vipnft.agreement.evening import Evening, Scales
from vipnft.agreement.loads import ENOUGH_PERIODS, Load, Spending
from vipnft.buckets.assign import assign
from vipnft.buckets.balance import least
from vipnft.buckets.measured import Measured
from vipnft.buckets.spent import Spent
from vipnft.model import Owners

MINUTE_S = 60.0
DAY = 24 * 60  # minutes
SETTLED = 180  # minutes after which packets are even
SOON = 120  # minutes in which a bucket that comes back has swung
SEEDS = 10
UNRULY = 0.1  # by how much of its own a bucket's load varies from minute to minute
NOISE = 0.02  # by how much what a packet costs does
DEARER = 10.0
_COST_S = 1e-4


def alike(hosts: int) -> dict[str, int]:
    """Return so many hosts of equal weight."""
    return {f"web{n}": 1 for n in range(1, hosts + 1)}


@dataclass(frozen=True)
class Scene:
    """So many buckets are `dear`: their packets cost DEARER times the others'; the first is the one
    with most packets where it is `heavy`. `base`: what the first host spends on nothing, in CPU
    seconds a second; `slow`: by how many times its processor is slower."""

    hosts: int = 4
    buckets: int = 256
    dear: int = 1
    heavy: bool = False
    base: float = 0.0
    slow: float = 1.0
    packets: float = 20_000.0
    seed: int = 0

    @property
    def weights(self) -> dict[str, int]:
        return alike(self.hosts)


class Costly:
    """A cluster, minute by minute; how often each bucket `moved`, and how often one came back
    `again` to a host that it had left within two hours."""

    def __init__(self, scene: Scene, *, by_cpu: bool = False) -> None:
        self.scene, self.by_cpu = scene, by_cpu
        self.chance = chance = random.Random(scene.seed)
        found = [chance.lognormvariate(0, 1) for _ in range(scene.buckets)]
        self.rates = [scene.packets * one / sum(found) for one in found]
        ranked = sorted(range(scene.buckets), key=self.rates.__getitem__)
        dear = ranked[-1:] if scene.heavy else chance.sample(ranked, scene.dear)
        self.costs = [_COST_S * (DEARER if b in dear else 1) for b in range(scene.buckets)]
        self.owners = assign(scene.weights, scene.buckets)
        self.hosts = [_Host(name, self) for name in scene.weights]
        self.moved = [0] * scene.buckets
        self.minute = self.again = 0
        self.left: dict[tuple[int, str], int] = {}

    def busiest(self) -> float:
        """Return the busiest host's CPU over the mean, as it is."""
        spent = [host.spends(self.owners) for host in self.hosts]
        return max(spent) * len(spent) / sum(spent)

    def least(self) -> float:
        """Return what whole buckets can do about it at most, on equal hosts."""
        each = [rate * cost for rate, cost in zip(self.rates, self.costs, strict=True)]
        return least(each, self.scene.weights)

    @property
    def moves(self) -> int:
        return sum(self.moved)

    def run(self, minutes: int) -> None:
        """Let time pass."""
        former = self.owners
        for _ in range(minutes):
            counts = [
                rate * MINUTE_S * max(0.0, 1 + UNRULY * self.chance.gauss(0, 1))
                for rate in self.rates
            ]
            before, former = former, self.owners
            for host in self.hosts:
                host.measure(counts, before)
            loads = {host.name: host.load for host in self.hosts}
            scales = Scales(loads, calm=True, busy=frozenset())
            for host in (*self.hosts, *self.hosts):  # each looks more than once
                target = host.mind.target(self.scene.weights, self.owners, set(), scales, b"")
                self._give(host.name, target)
            self.minute += 1

    def _give(self, host: str, target: Owners) -> None:
        for bucket, (old, new) in enumerate(zip(self.owners, target, strict=True)):
            if old == host != new:
                self.moved[bucket] += 1
                self.again += self.minute - self.left.get((bucket, new), -SOON) < SOON
                self.left[bucket, old] = self.minute
        self.owners = tuple(
            new if old == host else old for old, new in zip(self.owners, target, strict=True)
        )


class _Host:
    """One host: its agent's mind, and what it measured."""

    def __init__(self, name: str, cluster: Costly) -> None:
        self.name, self.cluster = name, cluster
        self.mind, self.measured, self.spent = Evening(), Measured(), Spent()
        self.counts, self.used = [0] * len(cluster.rates), 0.0
        self.owned: list[int] = []
        self.load = Load(MINUTE_S)
        first = name == "web1"
        self.base, self.slow = (cluster.scene.base, cluster.scene.slow) if first else (0.0, 1.0)
        # Hosts look at different times: of a period, how much was before the last moves.
        self.late = 0.0 if first else cluster.chance.random()

    def spends(self, owners: Owners) -> float:
        """Return its CPU seconds a second, as it is."""
        cluster = self.cluster
        own = (b for b, owner in enumerate(owners) if owner == self.name)
        return self.base + self.slow * sum(cluster.rates[b] * cluster.costs[b] for b in own)

    def measure(self, counts: list[float], before: Owners) -> None:
        """Note a minute, in a part of which buckets were whose they were `before`."""
        cluster, packets, cpu = self.cluster, 0, self.base * MINUTE_S
        for bucket, count in enumerate(counts):
            here = self.late * (before[bucket] == self.name)
            here += (1 - self.late) * (cluster.owners[bucket] == self.name)
            packets += round(count * here)
            self.counts[bucket] += round(count * here)
            cpu += count * here * cluster.costs[bucket] * self.slow
        self.used += cpu * max(0.0, 1 + NOISE * cluster.chance.gauss(0, 1))
        known = {b: much for h in cluster.hosts if h is not self for b, much in h.load.heaviest}
        owned = [b for b, owner in enumerate(cluster.owners) if owner == self.name]
        now = (cluster.minute + 1 - self.late) * MINUTE_S
        self.measured.look({b: self.counts[b] for b in owned}, now, known)
        self.spent.look(self.used, packets, now, moved=owned != self.owned)
        self.owned = owned
        rates, doubt = self.measured.rates, self.measured.doubt
        self.load = Load.of(MINUTE_S, self.measured.periods, rates, doubt)
        if cluster.by_cpu and self.spent.periods >= ENOUGH_PERIODS:
            spent = Spending(self.spent.cpu, self.spent.packets, self.spent.doubt)
            self.load = replace(self.load, spent=spent)


_SCENES = (
    ("all cost the same", Scene(dear=0)),
    ("one bucket's cost 10 times", Scene()),
    ("and it has the most packets", Scene(heavy=True)),
    ("eight buckets' cost 10 times", Scene(dear=8)),
    ("16 buckets' cost 10 times", Scene(hosts=8, dear=16)),
    ("one host spends 0.3 CPU on nothing", Scene(dear=0, base=0.3)),
    ("one host's processor is half as fast", Scene(dear=0, slow=2.0)),
)


class Day(NamedTuple):
    """The busiest host's CPU over the mean: as dealt by number, by packets, by CPU after a day; the
    least possible, and by how much it was above that at worst, once three hours were over; moves in
    the first hour, and later; the most of one bucket; and how often one swung."""

    before: float
    by_packets: float
    by_cpu: float
    least: float
    worst: float
    first: int
    later: int
    most: int
    again: int


def day(scene: Scene) -> Day:
    """Follow a cluster for a day."""
    by_packets, by_cpu = Costly(scene), Costly(scene, by_cpu=True)
    before, lowest = by_cpu.busiest(), by_cpu.least()
    by_packets.run(SETTLED)
    by_cpu.run(60)
    first = by_cpu.moves
    by_cpu.run(SETTLED - 60)
    worst = 0.0
    while by_cpu.minute < DAY:
        by_cpu.run(10)
        worst = max(worst, by_cpu.busiest() - lowest)
    return Day(
        before,
        by_packets.busiest(),
        by_cpu.busiest(),
        lowest,
        worst,
        first,
        by_cpu.moves - first,
        max(by_cpu.moved),
        by_cpu.again,
    )


def rows() -> Iterator[str]:
    """Yield a row of the document for each scene."""
    for words, scene in _SCENES:
        days = [day(replace(scene, seed=seed)) for seed in range(SEEDS)]
        middle = Day(*map(statistics.median, zip(*days, strict=True)))
        yield (
            f"| {words} | {scene.hosts} | {middle.before:.2f} | {middle.by_packets:.2f} |"
            f" {middle.by_cpu:.2f} | {middle.least:.2f} | {max(one.worst for one in days):.2f} |"
            f" {middle.first:.0f} | {middle.later:.0f} | {max(one.most for one in days)} |"
            f" {sum(one.again for one in days)} |"
        )
