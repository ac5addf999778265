"""Buckets that go where hosts have room, by what each bucket is measured to carry.

Rule 1: a host's load is told as a multiple of its fair share, by weight, of all there is: the
        busiest one's is what counts, and then the next.
Rule 2: as few buckets move as even it, none that nothing is won by: hosts that are even enough
        keep what they have, though better could be had.
Rule 3: no move on the way to even makes a host busier than it may be in the end, or than who gave
        the bucket was.
Rule 4: a bucket that is more than a fair share is left alone with a host; the others are evened
        among themselves. Who asks is told that no better can be had with whole buckets.
Rule 5: numbers in, numbers out: no clock, and the same on every machine.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from vipnft.buckets.assign import Move, assign, moves
from vipnft.model import Owners

EVEN = 1.02
"""To how much of its fair share a host is brought down, at most, where that can be."""
WORTH = 0.03
"""What is won at least, of a fair share, for anything to begin to move; enough by far to keep what
has been evened from moving again."""
_STEP = 0.01  # by which EVEN is let out where whole buckets don't fit
_STARVED = 0.5  # of what it should have: who has less is given it at once
_SURE = 3.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which buckets go where to even all, and how busy the busiest of those hosts that have a part
    in it is before, and after; `least`: no whole buckets could make the busiest host of all less
    busy than that."""

    moves: tuple[Move, ...]
    before: float
    after: float
    least: float
    starved: frozenset[str] = frozenset()

    @property
    def gain(self) -> float:
        """What is won, of a fair share."""
        return self.before - self.after


@dataclass(slots=True)
class _Bin:
    """A host on the way to even: its weight, load, and buckets as (load, bucket), ascending;
    `stays`: what of its load is others'."""

    name: str
    weight: int
    load: float = 0.0
    held: list[tuple[float, int]] = field(default_factory=list)
    stays: float = 0.0

    def sum(self) -> None:
        """Count its load anew: beside a giant a float knows no others."""
        self.load = self.stays + sum(load for load, _ in self.held)

    def put(self, one: tuple[float, int]) -> None:
        insort(self.held, one)
        self.load += one[0]

    def pull(self, place: int) -> tuple[float, int]:
        one = self.held.pop(place)
        self.load -= one[0]
        return one


def shares(
    owners: Sequence[str | None], loads: Sequence[float], weights: Mapping[str, int]
) -> dict[str, float]:
    """Return each host's load as a multiple of its fair share; 1 for all where there is none."""
    sums = {name: 0.0 for name, weight in weights.items() if weight}
    for owner, load in zip(owners, loads, strict=True):
        if owner in sums:
            sums[owner] += load
    total, parts = sum(sums.values()), sum(weights.values())
    if not total:
        return dict.fromkeys(sums, 1.0)
    return {name: load * parts / (total * weights[name]) for name, load in sums.items()}


def least(loads: Sequence[float], weights: Mapping[str, int]) -> float:
    """Return what the busiest host has at least, whoever owns what: the largest bucket is
    somebody's, and of n + 1 buckets two are one of n hosts'."""
    several = sorted(filter(None, weights.values()))
    total, most = sum(loads), max(several, default=1)
    if not total:
        return 1.0
    large = sorted(loads, reverse=True)[: len(several) + 1]
    most_of_one = max(large[0], sum(large[-2:]) if len(large) > len(several) else 0.0)
    return max(1.0, most_of_one * sum(several) / (total * most))


def even(
    owners: Sequence[str],
    loads: Sequence[float],
    weights: Mapping[str, int],
    staying: Collection[int] = (),
) -> Outcome:
    """Return what would even all, of hosts with a weight; every bucket is one of those hosts', and
    the `staying` don't move."""
    before = shares(owners, loads, weights)
    lowest = least(loads, weights)
    target = _target(owners, loads, weights, staying)
    if max(shares(target, loads, weights).values()) > max(before.values()):
        target = tuple(owners)
    found = moves(owners, target)
    parties = {host for move in found for host in (move.source or "", move.target)}
    after = shares(target, loads, weights)
    return Outcome(
        found,
        max((before[host] for host in parties), default=max(before.values())),
        max((after[host] for host in parties), default=max(before.values())),
        lowest,
        frozenset(host for host in parties if before[host] < _STARVED * after[host]),
    )


def next_moves(
    outcome: Outcome,
    owners: Sequence[str],
    loads: Sequence[float],
    weights: Mapping[str, int],
    busy: Collection[str] = (),
) -> tuple[Move, ...]:
    """Return which of the outcome's buckets may move now: a host gives one at most, and who is
    `busy` none."""
    now, parts = shares(owners, loads, weights), sum(weights.values())
    total = sum(loads) or 1.0
    most = max(EVEN, outcome.after)

    def risen(move: Move) -> float:
        return now[move.target] + loads[move.bucket] * parts / (total * weights[move.target])

    ranked = sorted(outcome.moves, key=lambda m: (-now[m.source or ""], -loads[m.bucket], m.bucket))
    chosen: list[Move] = []
    taken = set(busy)
    for move in ranked:
        ends = {move.source or "", move.target}
        if not ends & taken and risen(move) <= max(most, now[move.source or ""] - WORTH / 2):
            chosen.append(move)
            taken |= ends
    if chosen:
        return tuple(chosen)
    for round_ in _rounds([move for move in ranked if not {move.source, move.target} & taken]):
        then = shares(_after(owners, round_), loads, weights)
        ends = {move.target for move in round_}
        if max(then[host] for host in ends) <= max(most, *(now[host] for host in ends)):
            return round_
    return ()


def is_worth(outcome: Outcome, doubt: float, *, begun: bool) -> bool:
    """Tell whether to move anything: what is won is more than a little, and than chance; `doubt` is
    by how much of a fair share a host's load may be off (standard deviation). Once `begun`, it is
    brought to its end."""
    most = WORTH / 3 + doubt if begun else WORTH + _SURE * doubt
    return bool(outcome.moves) and outcome.gain >= most


def deal(
    previous: Sequence[str | None],
    loads: Sequence[float],
    weights: Mapping[str, int],
    salt: bytes,
    pinned: Collection[str] = (),
) -> Owners:
    """Return the owners once every bucket of who is none of these hosts, or weighs nothing, is
    somebody's who does, but for those of the `pinned`: nothing else moves. Where none of them has
    any, all are dealt by number."""
    able = {name: weight for name, weight in weights.items() if weight}
    if not {*able, *pinned} & set(previous):
        return assign(weights, len(previous), previous, salt=salt)
    bins = {name: _Bin(name, able[name]) for name in sorted(able)}
    for owner, load in zip(previous, loads, strict=True):
        if owner in bins:
            bins[owner].load += load
    owners = dict(enumerate(previous))
    orphans = [b for b, owner in owners.items() if owner not in bins and owner not in pinned]
    ranked = [
        (one.load / one.weight, place, name) for place, (name, one) in enumerate(bins.items())
    ]
    heapify(ranked)
    for bucket in sorted(orphans, key=lambda bucket: (-loads[bucket], bucket)):
        share, place, name = heappop(ranked)
        owners[bucket] = name
        heappush(ranked, (share + loads[bucket] / able[name], place, name))
    return tuple(str(owners[bucket]) for bucket in range(len(previous)))


def _after(owners: Sequence[str], found: Sequence[Move]) -> Owners:
    result = list(owners)
    for move in found:
        result[move.bucket] = move.target
    return tuple(result)


def _rounds(ranked: Sequence[Move]) -> Iterator[tuple[Move, ...]]:
    """Yield moves that only together make nobody too busy: each host of a round gives one bucket,
    and takes one."""
    for first in ranked:
        ways: list[tuple[Move, ...]] = [(first,)]
        seen = {first.target}
        for way in ways:  # the shortest ways first, and each host once
            if way[-1].target == first.source:
                yield way
                break
            for move in ranked:
                if move.source == way[-1].target and move.target not in seen:
                    seen.add(move.target)
                    ways.append((*way, move))


def _target(
    owners: Sequence[str],
    loads: Sequence[float],
    weights: Mapping[str, int],
    staying: Collection[int],
) -> Owners:
    bins = {name: _Bin(name, weights[name]) for name in sorted(weights) if weights[name]}
    result = {bucket: owners[bucket] for bucket in staying}
    for bucket, owner in enumerate(owners):
        if bucket in result:
            bins[owner].stays += loads[bucket]
        else:
            bins[owner].held.append((loads[bucket], bucket))
    for one in bins.values():
        one.held.sort()
        one.sum()
    pool = _part_giants(bins, result)
    if not bins:
        return tuple(result[bucket] for bucket in range(len(owners)))
    fair, most = _fair(bins, pool), EVEN
    while True:
        tried = [_Bin(b.name, b.weight, b.load, list(b.held), b.stays) for b in bins.values()]
        if _fits(tried, list(pool), fair * most):
            break
        most = most + _STEP if most < 2 * EVEN else most * EVEN
    result |= {bucket: b.name for b in tried for _, bucket in b.held}
    return tuple(result[bucket] for bucket in range(len(owners)))


def _fair(bins: Mapping[str, _Bin], pool: Sequence[tuple[float, int]]) -> float:
    """Return what a weight of 1 is due, of all that these hosts have and that is nobody's."""
    total = sum(one.load for one in bins.values()) + sum(load for load, _ in pool)
    return total / sum(one.weight for one in bins.values())


def _part_giants(bins: dict[str, _Bin], result: dict[int, str]) -> list[tuple[float, int]]:
    """Leave each bucket that is more than a fair share alone with a host; return what else those
    hosts had."""
    pool: list[tuple[float, int]] = []
    while bins:
        fair = _fair(bins, pool)
        most = max(b.weight for b in bins.values())
        has = max(bins.values(), key=lambda b: b.held[-1] if b.held else (0.0, -1))
        if not has.held or has.held[-1][0] <= fair * most:
            break
        bucket = has.pull(-1)[1]
        has.sum()
        home = has if has.weight == most else next(b for b in bins.values() if b.weight == most)
        result[bucket] = home.name
        little = fair * home.weight * _STEP
        while home.held and (little := little - home.held[0][0]) >= 0:
            result[home.pull(0)[1]] = home.name
        pool += home.held
        del bins[home.name]
    if not bins:  # the last one keeps what is left
        result |= {bucket: home.name for _, bucket in pool}
        pool = []
    return pool


def _fits(bins: list[_Bin], pool: list[tuple[float, int]], most: float) -> bool:
    """Bring every host to `most` a weight, by the fewest moves that are easily found; tell whether
    it could be done."""
    slack = most * 1e-9
    for one in bins:
        while (over := one.load - most * one.weight) > slack and one.held:
            place = bisect_left(one.held, (over - slack, -1))
            pool.append(one.pull(min(place, len(one.held) - 1)))
    waiting = [(-load, bucket) for load, bucket in pool]
    heapify(waiting)
    while waiting:
        load, bucket = heappop(waiting)
        load = -load
        host = min(bins, key=lambda b: ((b.load + load) / b.weight, b.name))
        if host.load + load > most * host.weight + slack:
            room = [_ejected(b, load, b.load + load - most * b.weight - slack) for b in bins]
            ranked = [(len(out), n) for n, out in enumerate(room) if out]
            if not ranked:
                return False
            _, number = min(ranked)
            host = bins[number]
            for less in room[number]:
                host.pull(bisect_left(host.held, less))
                heappush(waiting, (-less[0], less[1]))
        host.put((load, bucket))
    return True


def _ejected(one: _Bin, load: float, over: float) -> list[tuple[float, int]]:
    """Return what a host would give for a bucket that carries more than each of it; nothing where
    it can't."""
    smaller = one.held[: bisect_left(one.held, (load, -1))]
    out: list[tuple[float, int]] = []
    while over > 0 and smaller:
        place = min(bisect_left(smaller, (over, -1)), len(smaller) - 1)
        out.append(smaller.pop(place))
        over -= out[-1][0]
    return out if over <= 0 else []
