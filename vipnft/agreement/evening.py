"""Where the buckets are to go where they follow the load. Pure.

Rule 1: what is nobody's is somebody's at once, and nothing else moves with it.
Rule 2: who has come, or weighs otherwise than before, gets what it is due at once.
Rule 3: all else moves slowly: one bucket a host a period, none while anything fails or moves.
Rule 4: all hosts decide alike, and each gives its own. So all decide when they see that the first
        of those which serve, by name, has measured anew: no clock says when.
"""

import math
from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple

from vipnft.agreement.costs import IDLE, costs
from vipnft.agreement.loads import Load, carried
from vipnft.buckets.assign import Move
from vipnft.buckets.balance import Outcome, deal, even, is_worth, next_moves
from vipnft.model import Owners

_REST = 30
"""Periods for which a bucket that moved by CPU stays: what its packets cost is not what those of
its host's others do, and where they cost far more it would wander from host to host. Each time that
it moves again, it stays twice as long."""
_LONGEST_REST = 32 * _REST
"""Periods for which it stays at most, and after which it is forgotten how often it moved."""
_UNMEASURED = 2
"""Periods in which who took a bucket over has not measured it yet."""


class Scales(NamedTuple):
    """What every host's key says of its load; whether nothing fails; and who has a part in a move
    that is under way."""

    loads: Mapping[str, Load]
    calm: bool
    busy: Set[str]


class Evening:
    """One host's, from beat to beat; `why` tells what the last moves are for."""

    def __init__(self) -> None:
        self._seen: tuple[object, Owners, Outcome | None] = (None, (), None)
        self._token: tuple[str, int] | None = None
        self._weighed = _Weighed()
        self._weights: Mapping[str, int] = {}
        self._rushing: frozenset[str] = frozenset()
        self._due: tuple[Move, ...] = ()
        self._begun = False
        self.why = ""

    def target(
        self,
        weights: Mapping[str, int],
        before: Owners,
        pinned: Set[str],
        scales: Scales,
        salt: bytes,
    ) -> Owners:
        """Return who is to own what, by the weights of those that serve; what the `pinned` own
        stays."""
        able = {host: weight for host, weight in weights.items() if weight}
        first = min(able)
        token = (first, scales.loads[first].periods)
        key = (tuple(sorted(able.items())), before, frozenset(pinned), token)
        if self._seen[0] != key:
            carry = self._weighed.look(before, scales.loads, able, self._rushing)
            owners = deal(before, carry, able, salt, pinned)
            settled = owners == before and able.keys() >= set(owners)
            outcome = even(owners, carry, able, self._weighed.staying) if settled else None
            self._seen = (key, owners, outcome)
            self._rush(able, before)
        _, owners, outcome = self._seen
        if outcome is None:
            self.why, self._due = "", ()
            return owners
        if self._token not in {None, token}:
            self._due = self._next(able, owners, outcome, scales)
        self._token = token
        if not scales.calm:
            self._due = ()
        moves = [m for m in outcome.moves if m.target in self._rushing] or self._due
        what = "CPU" if self._weighed.costs else "packets"
        self.why = (
            f"the busiest has {outcome.before:.2f} of its share of {what}, then {outcome.after:.2f}"
        )
        target = list(owners)
        for move in moves:
            if owners[move.bucket] == move.source:
                target[move.bucket] = move.target
        return tuple(target)

    def _rush(self, able: Mapping[str, int], before: Owners) -> None:
        """Learn who is to get what it is due at once, and who has all of it by now. Who has
        anything is no newcomer, however little that carries."""
        others = self._weights
        if any(others.get(host, weight) != weight for host, weight in able.items()):
            self._rushing = frozenset(able)
        self._weights = able
        outcome = self._seen[2]
        if outcome is None:
            return
        come = outcome.starved - set(before)
        self._rushing = (self._rushing | come) & {move.target for move in outcome.moves}

    def _next(
        self, able: Mapping[str, int], owners: Owners, outcome: Outcome, scales: Scales
    ) -> tuple[Move, ...]:
        if not scales.calm or not all(scales.loads[host].is_known for host in able):
            return ()
        carry = self._weighed.carry
        unsure = doubt(outcome, carry, able, scales.loads, self._weighed.costs)
        self._begun = is_worth(outcome, unsure, begun=self._begun)
        if not self._begun:
            return ()
        found = next_moves(outcome, owners, carry, able, scales.busy)
        self._begun = bool(found) or bool(scales.busy)
        return found


class _Weighed:
    """What each bucket weighs, from look to look: who took one over has not measured it yet, and
    who gave it no longer tells; so it weighs what it did. `costs`: what a packet does, on each
    host; nothing where packets are what counts. `staying`: which buckets came by CPU, and rest."""

    def __init__(self) -> None:
        self._owners: Owners = ()
        self._came: dict[int, int] = {}  # buckets, and how often their new owners had measured then
        self._rests: dict[int, int] = {}  # those of them that came by CPU, and for how long
        self.carry: list[float] = []
        self.costs: Mapping[str, float] = {}
        self.staying: frozenset[int] = frozenset()

    def look(
        self,
        owners: Owners,
        loads: Mapping[str, Load],
        able: Collection[str],
        rushing: Collection[str] = (),
    ) -> list[float]:
        """Return what each weighs now, where those that are `able` serve; who is `rushing` gets
        what it is due at once, by CPU or not."""
        ages = self._ages(owners, loads, able, rushing)
        known = costs(loads, able)
        carry = weighed(owners, loads, known)
        if bool(known) == bool(self.costs):  # else what it weighed is no measure any more
            for bucket in (b for b, age in ages.items() if age < _UNMEASURED):
                carry[bucket] = self.carry[bucket]
        resting = (b for b, rest in self._rests.items() if ages[b] < rest)
        self.staying = frozenset(resting if known else ())
        self._owners, self.carry, self.costs = owners, carry, known
        return carry

    def _ages(
        self,
        owners: Owners,
        loads: Mapping[str, Load],
        able: Collection[str],
        rushing: Collection[str],
    ) -> Mapping[int, int]:
        """Return which buckets came, and over how many periods their owners have measured since."""
        before = self._owners if len(self._owners) == len(owners) else owners
        for bucket, (old, new) in enumerate(zip(before, owners, strict=True)):
            if old != new and new in loads:
                self._came[bucket] = loads[new].periods
                rest = self._rests.pop(bucket, _REST // 2)
                if self.costs and old in able and new not in rushing:
                    self._rests[bucket] = min(2 * rest, _LONGEST_REST)
        ages = {
            bucket: loads[owners[bucket]].periods - since
            for bucket, since in self._came.items()
            if owners[bucket] in loads
        }
        most = {b: _LONGEST_REST if b in self._rests else _UNMEASURED for b in ages}
        self._came = {b: self._came[b] for b, age in ages.items() if 0 <= age < most[b]}
        self._rests = {b: rest for b, rest in self._rests.items() if b in self._came}
        return {b: ages[b] for b in self._came}


def weighed(owners: Owners, loads: Mapping[str, Load], known: Mapping[str, float]) -> list[float]:
    """Return what each bucket weighs: what it carries, and a little, so that hosts share what may
    come where there is hardly anything; in CPU seconds where it is `known` what a packet costs."""
    idle = IDLE / len(owners)
    if not known:
        return [much + idle for much in carried(owners, loads)]
    usual = sorted(known.values())[(len(known) - 1) // 2]
    pairs = zip(owners, carried(owners, loads), strict=True)
    return [(much + idle) * known.get(owner, usual) for owner, much in pairs]


def doubt(
    outcome: Outcome,
    carry: Sequence[float],
    able: Mapping[str, int],
    loads: Mapping[str, Load],
    known: Mapping[str, float],
) -> float:
    """Return by how much of its fair share the load of a host that has a part in it may be off."""
    fair = sum(carry) / sum(able.values())
    ends = {host for move in outcome.moves for host in (str(move.source), move.target)}
    return max(
        (_off(loads[host], known.get(host)) / (fair * able[host]) for host in ends), default=0.0
    )


def _off(load: Load, cost: float | None) -> float:
    """Return by how much a host's load may be off, in what it is weighed by."""
    if cost is None:
        return load.doubt
    return math.hypot(load.doubt * cost, load.spent.doubt if load.spent else 0.0)
