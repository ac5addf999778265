"""Buckets on the move: what one host does with each, and how that changes.

Rule 1: everything follows from two facts: who owns a bucket, and who may still drain it.
Rule 2: a host that gave a bucket away drains it: what is established there goes on there.
        The new owner joins meanwhile: what is new and what is its own, nothing else.
Rule 3: a dead host drains nothing; its buckets are owned at once, so that its orphans are
        reset. But where a living host still drains one, living connections come first.
Rule 4: times are seconds of a clock that only goes forward (CLOCK_BOOTTIME), as arguments.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vipnft.buckets.assign import assign
from vipnft.model import Cluster, Drains, Owners


class State(enum.StrEnum):
    """What a host does with a bucket's packets."""

    OWNED = "owned"
    FOREIGN = "foreign"
    DRAINING = "draining"
    JOINING = "joining"


@dataclass(frozen=True, slots=True)
class Phase:
    """A state; draining and joining end by themselves after `left` seconds."""

    state: State
    left: float = 0.0


OWNED, FOREIGN = Phase(State.OWNED), Phase(State.FOREIGN)


def owners_of(cluster: Cluster, dead: Collection[str] = ()) -> Owners:
    """Return each bucket's owner by the file alone, so that hosts which never talk agree.

    Of hosts in `dead` only their own buckets move, as few as can be.
    """
    everyone = assign(cluster.weights, cluster.buckets, salt=cluster.salt)
    gone = set(dead) & set(cluster.weights)
    if not gone:
        return everyone
    living = {name: weight for name, weight in cluster.weights.items() if name not in gone}
    return assign(living, cluster.buckets, everyone, salt=cluster.salt)


def phases(owners: Owners, drains: Drains, me: str, now: float) -> tuple[Phase, ...]:
    """Return what host `me` does with each bucket at `now`."""
    return tuple(_phase(owner, drains.get(b, {}), me, now) for b, owner in enumerate(owners))


def _phase(owner: str, drainers: Mapping[str, float], me: str, now: float) -> Phase:
    if owner == me:
        left = max((until - now for host, until in drainers.items() if host != me), default=0.0)
        return Phase(State.JOINING, left) if left > 0 else OWNED
    left = drainers.get(me, 0.0) - now
    return Phase(State.DRAINING, left) if left > 0 else FOREIGN


def move(
    before: Owners,
    after: Owners,
    drains: Drains,
    *,
    now: float,
    drain: float,
    dead: Collection[str] = (),
) -> Drains:
    """Return who drains what once ownership went from `before` to `after`.

    Former owners drain for `drain` seconds from now (0: not at all), unless they are dead.
    """
    result = {b: _living(hosts, now, dead) for b, hosts in drains.items()}
    for b, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new:
            continue
        hosts = result.setdefault(b, {})
        hosts.pop(new, None)  # it owns again what it drained
        if old not in dead and drain > 0:
            hosts[old] = now + drain
    return {b: hosts for b, hosts in result.items() if hosts}


def _living(hosts: Mapping[str, float], now: float, dead: Collection[str]) -> dict[str, float]:
    return {host: until for host, until in hosts.items() if until > now and host not in dead}


def given(owners: Owners, buckets: Sequence[int], to: str) -> Owners:
    """Return the owners once `buckets` belong to host `to`."""
    chosen = frozenset(buckets)
    return tuple(to if b in chosen else owner for b, owner in enumerate(owners))
