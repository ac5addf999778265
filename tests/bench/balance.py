"""Buckets that follow the load, simulated: `make balance`; writes docs/balance.md.

Clients ask in Zipf's proportions, the k-th as often as k to the power of -s, and their addresses
put them into buckets at random. What moves is what agents move: vipnft/buckets/balance.py, one
bucket a host a minute, by what vipnft/buckets/measured.py measures.

Rule 1: random sequences come from fixed seeds, so that a result comes back.
"""

import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.bench import costly
from tests.bench.costly import DAY, MINUTE_S, SOON, alike
from vipnft.buckets.assign import Move, assign
from vipnft.buckets.balance import even, is_worth, least, next_moves, shares
from vipnft.buckets.measured import SPAN, Measured
from vipnft.model import Owners

DOCUMENT = Path(__file__).parents[2] / "docs/balance.md"
SEEDS = 40
UNRULY = 0.3  # by how much of its own a client's load varies from minute to minute

_HEAD = f"""# Buckets that follow the load: what was simulated

Written by `make balance`. 100,000 clients ask in Zipf's proportions, the k-th as often as k to the
power of minus the skew; their addresses put them into 256 buckets at random. Hosts weigh the same.
What moves is what agents move, one bucket a host a minute.

## Loads that stand still

Medians of {SEEDS} times 100,000 clients: how busy the busiest host is, over the mean. "Worst" is by
how much that is above what is possible at last, in the worst of them.

| skew | hosts | dealt by number | by load | least possible | worst | moves | minutes |
|---|---|---|---|---|---|---|---|
"""
_BETWEEN = f"""

Where the least possible is far above 1, one client, or its bucket, is more than a host's fair
share: no whole buckets can even that, and `vipnft plan --by-load` says so. More buckets don't help
either. A service to which any host will do (`affinity = "flow"`) does.

## A day

24 hours in which the load rises and falls to 1.7 and 0.3 of its mean, for all clients alike, or in
three zones, one after another; each client's load varies by {UNRULY:.0%} from minute to minute
besides. The median and the worst are after the first hour, of the true load, which nobody knows:
agents go by what they measured over {SPAN} minutes, and leave alone what chance may have made. The
heavier the heaviest clients, the more that is. "Swung": came back within two hours to a host that
it had left.

| skew | hosts | zones | median | worst | moves in the first hour | later | of one bucket | swung |
|---|---|---|---|---|---|---|---|---|
"""
_BY_CPU = f"""

## CPU

A day on equal hosts and 256 buckets that carry unlike many packets (lognormal). A packet costs
0.1 ms of CPU, but for what the row says, and {costly.NOISE:.0%} more or less from minute to minute.
Medians of {costly.SEEDS} such clusters: the busiest host's CPU over the mean as dealt by number, by
packets, and by CPU (`balance_cpu`) when the day is over; the least possible where it is known what
each bucket costs, which agents don't know. "Worst" is by how much it was above that at any time
after three hours, in the worst of them. Then moves by CPU: in the first hour, later, and the most
of one bucket. "Swung": came back within two hours to a host that it had left, in all of them
together.

| packets | hosts | by number | by packets | by CPU | least | worst | first | later | most | swung |
|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Scene:
    """Who asks: `zones` have their days one after another; all ask `packets` a second."""

    skew: float
    hosts: int
    clients: int = 100_000
    buckets: int = 256
    zones: int = 1
    packets: float = 20_000.0
    seed: int = 0

    @property
    def weights(self) -> dict[str, int]:
        return alike(self.hosts)


class Settled(NamedTuple):
    """Busiest over mean before and after, the least possible, moves, minutes they took."""

    before: float
    after: float
    least: float
    moves: int
    minutes: int


class Day(NamedTuple):
    """After an hour: the worst of busiest over mean, the least possible at that time, its median;
    moves before and since, the most of one bucket, and how often one came back to a host that it
    had left within two hours."""

    worst: float
    least: float
    median: float
    first: int
    later: int
    most: int
    again: int


def loads(scene: Scene) -> list[list[float]]:
    """Return each bucket's part of all, by zone, and what its clients vary by at last."""
    chance = random.Random(scene.seed)
    found = [[0.0] * (scene.zones + 1) for _ in range(scene.buckets)]
    total = sum(k**-scene.skew for k in range(1, scene.clients + 1))
    for k in range(1, scene.clients + 1):
        part = k**-scene.skew / total
        bucket = found[chance.randrange(scene.buckets)]
        bucket[chance.randrange(scene.zones)] += part
        bucket[-1] += part * part
    return [[*bucket[:-1], UNRULY * math.sqrt(bucket[-1])] for bucket in found]


def moved(owners: Owners, moves: Sequence[Move]) -> Owners:
    """Return the owners after some moves."""
    result = list(owners)
    for move in moves:
        result[move.bucket] = move.target
    return tuple(result)


def settle(scene: Scene) -> Settled:
    """Even loads that stand still."""
    weights = scene.weights
    owners = assign(weights, scene.buckets)
    carried = [sum(bucket[:-1]) for bucket in loads(scene)]
    before, moves, minutes = max(shares(owners, carried, weights).values()), 0, 0
    while True:
        outcome = even(owners, carried, weights)
        found = next_moves(outcome, owners, carried, weights)
        if not found or not is_worth(outcome, 0.0, begun=minutes > 0):
            after = max(shares(owners, carried, weights).values())
            return Settled(before, after, least(carried, weights), moves, minutes)
        owners, moves, minutes = moved(owners, found), moves + len(found), minutes + 1


class Simulated:
    """A cluster, minute by minute."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.parts = scene, loads(scene)
        self.chance = random.Random(scene.seed + 1)
        self.owners = assign(scene.weights, scene.buckets)
        self.measured = Measured()
        self.counts = [0] * scene.buckets
        self.begun = False

    def carried(self, minute: int) -> list[float]:
        """Return what each bucket carries at a minute, in packets a second, without chance."""
        zones = self.scene.zones
        day = [
            1 + 0.7 * math.sin(math.tau * (minute / DAY + zone / zones)) for zone in range(zones)
        ]
        return [
            self.scene.packets * sum(p * d for p, d in zip(bucket, day, strict=False))
            for bucket in self.parts
        ]

    def step(self, minute: int) -> tuple[Move, ...]:
        """Let a minute pass; return what moves."""
        weights, gauss = self.scene.weights, self.chance.gauss
        for b, rate in enumerate(self.carried(minute)):
            *parts, varies = self.parts[b]
            counted = rate * MINUTE_S * (1 + varies / (sum(parts) or 1.0) * gauss(0, 1))
            counted += math.sqrt(rate * MINUTE_S) * gauss(0, 1)
            self.counts[b] += max(0, round(counted))
        self.measured.look(dict(enumerate(self.counts)), minute * MINUTE_S, {})
        if self.measured.periods < 3:
            return ()
        carried = list(self.measured.rates.values())
        outcome = even(self.owners, carried, weights)
        doubt = self.measured.doubt / (sum(carried) / len(weights)) / math.sqrt(len(weights))
        self.begun = is_worth(outcome, doubt, begun=self.begun)
        if not self.begun:
            return ()
        found = next_moves(outcome, self.owners, carried, weights)
        self.begun = bool(found)
        self.owners = moved(self.owners, found)
        return found


def day(scene: Scene, minutes: int = DAY) -> Day:
    """Follow loads that rise and fall for a day."""
    cluster = Simulated(scene)
    busiest, lows, times = [], [], [0, 0]
    each: Counter[int] = Counter()
    left: dict[tuple[int, str], int] = {}
    again = 0
    for minute in range(minutes):
        found = cluster.step(minute)
        times[minute >= 60] += len(found)
        for move in found:
            each[move.bucket] += 1
            again += minute - left.get((move.bucket, move.target), -DAY) < SOON
            left[move.bucket, str(move.source)] = minute
        if minute >= 60:
            carried = cluster.carried(minute)
            busiest.append(max(shares(cluster.owners, carried, scene.weights).values()))
            lows.append(least(carried, scene.weights))
    worst = max(range(len(busiest)), key=lambda n: busiest[n] - lows[n])
    return Day(
        busiest[worst],
        lows[worst],
        statistics.median(busiest),
        times[0],
        times[1],
        max(each.values(), default=0),
        again,
    )


def _settled() -> Iterator[str]:
    """Yield the rows of what becomes of loads that stand still."""
    for skew in (1.0, 1.1, 1.2, 1.3, 1.4):
        for hosts in (4, 8, 16):
            every = [settle(Scene(skew, hosts, seed=seed)) for seed in range(SEEDS)]
            before, after, lowest, moves, minutes = map(statistics.median, zip(*every, strict=True))
            worst = max(one.after - max(1.0, one.least) for one in every)
            yield (
                f"| {skew} | {hosts} | {before:.2f} | {after:.2f} | {lowest:.2f} | {worst:.2f}"
                f" | {moves:.0f} | {minutes:.0f} |"
            )


def _days() -> Iterator[str]:
    """Yield the rows of a day each."""
    for skew in (1.0, 1.2, 1.4):
        for hosts in (4, 8):
            for zones in (1, 3):
                found = day(Scene(skew, hosts, zones=zones))
                yield (
                    f"| {skew} | {hosts} | {zones} | {found.median:.2f} | {found.worst:.2f}, where"
                    f" {found.least:.2f} was possible | {found.first} | {found.later} |"
                    f" {found.most} | {found.again} |"
                )


def main() -> None:
    DOCUMENT.write_text(
        _HEAD
        + "\n".join(_settled())
        + _BETWEEN
        + "\n".join(_days())
        + _BY_CPU
        + "\n".join(costly.rows())
        + "\n",
        encoding="utf-8",
    )
    print(DOCUMENT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
