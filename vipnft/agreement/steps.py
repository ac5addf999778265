"""What the table in the store may become next, as one host proposes it. Pure.

Rule 1: a step says on which further conditions it is made, and what of the proposer's own it
        gives away: that leaves his kernel first, as does what he drained. So he never holds what
        a table that he may not hear of has taken from him, and is promised to all the same.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from vipnft.agreement.records import Table, key_of
from vipnft.model import Owners

_NEVER = "?"
"""What the name of an owner begins with who never was; no host's does."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next table, why, and on which further conditions; `given`: what of mine it gives; `less`:
    it leaves me less than I have; `dead`: from whom it takes over."""

    table: Table
    why: str
    conditions: Mapping[str, int]
    given: frozenset[int] = frozenset()
    less: bool = False
    dead: frozenset[str] = frozenset()


def is_nobody(host: str) -> bool:
    """Tell whether this is the name of an owner who never was."""
    return host.startswith(_NEVER)


def is_placeholder(table: Table) -> bool:
    """Tell whether all is owned by one who never was."""
    return is_nobody(table.owners[0])


def placeholder(mark: str, buckets: int, deal: str) -> Step:
    """Return a table in which one who never was owns all, and is taken over from as anybody
    who is silent: by then every lease under a table that was there before is over. His name, of
    a `mark` that comes once, tells it from one that was deleted again meanwhile."""
    table = Table((f"{_NEVER}{mark}",) * buckets, {}, deal)
    return Step(table, "no table in the store: a new one, once any lease is over", {})


def prior(owners: Owners, real: Table | None) -> Owners:
    """Return who owned last what nobody owns now: their connections may be there still."""
    if real is None:
        return owners
    return tuple(
        last if is_nobody(owner) else owner for owner, last in zip(owners, real.owners, strict=True)
    )


def takeover(
    old: Table, version: int, target: Owners, dead: Mapping[str, int], silent: float
) -> Step | None:
    """Return the step that takes everything from the dead, by host the version that its key is
    to have still; None if nobody is left to take it. `silent`: for how many seconds."""
    owners = tuple(
        new if owner in dead else owner for owner, new in zip(old.owners, target, strict=True)
    )
    drains = {b: hosts - set(dead) for b, hosts in old.drains.items()}
    table = old.then(version, owners, drains, dead)
    if (table.owners, table.drains) == (old.owners, dict(old.drains)):
        return None
    why = f"took over from {_names(dead)}: silent for {silent:.2f} s"
    if all(is_nobody(host) for host in dead):
        why = f"dealt all buckets to {_names(set(owners))}"
    conditions = {key_of(host): version for host, version in dead.items()}
    return Step(table, why, conditions, dead=frozenset(dead))


def giving(
    old: Table,
    version: int,
    target: Owners,
    given: frozenset[int],
    me: str,
    *,
    drain: bool,
    why: str = "",
) -> Step:
    """Return the step that gives buckets of `me` to their next owners, to be drained or not."""
    owners = tuple(target[b] if b in given else o for b, o in enumerate(old.owners))
    mine = frozenset({me}) if drain else frozenset()
    drains = {
        **old.drains,
        **{b: old.drains.get(b, frozenset()) - {target[b], me} | mine for b in given},
    }
    to = _names({target[b] for b in given})
    table = old.then(version, owners, drains)
    because = f": {why}" if why else ""
    return Step(table, f"giving {len(given)} buckets to {to}{because}", {}, given, less=True)


def drained(old: Table, version: int, over: frozenset[int], me: str) -> Step:
    """Return the step that ends the drains of `me` that are over."""
    drains = {b: hosts - {me} if b in over else hosts for b, hosts in old.drains.items()}
    table = old.then(version, old.owners, drains)
    return Step(table, f"{len(over)} buckets drained", {}, less=True)


def _names(hosts: Collection[str]) -> str:
    return ", ".join(sorted(hosts))
