"""Put a Cluster's share onto this machine, and move parts of it.

Rule 1: nothing is touched before it is known that this machine can be that host.
Rule 2: a lost terminal stops nothing half-way.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from vipnft.buckets.phases import given, move, owners_of
from vipnft.buckets.ranges import ranges
from vipnft.errors import UsageError
from vipnft.host import deeds, locks, record
from vipnft.host.announce import announced
from vipnft.host.change import Change, Outcome
from vipnft.host.drift import Facts, drift
from vipnft.host.facts import current, expectation, gather, macs, tagged
from vipnft.host.locks import AGENT_GONE, START_AGENT, require_untended, uninterrupted
from vipnft.host.preflight import fit, require_privileged, require_same_deal
from vipnft.host.record import draft
from vipnft.host.stage import Stage
from vipnft.kernel import clock
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, Cluster, Drains, Mode, Owners
from vipnft.ruleset.tables import TABLES

ABSENT = {table.family: "" for table in TABLES}
"""An expectation that nothing in the kernel meets: all rules are to be loaded."""


def apply(
    cluster: Cluster,
    name: str,
    mode: Mode,
    *,
    drain: int = 0,
    dead: Collection[str] = (),
    reshuffle: bool = False,
) -> Outcome:
    """Make this machine host `name` of the cluster.

    Buckets that change hands drain for `drain` seconds, except those of `dead` hosts.
    UsageError if it can't be, with nothing touched; KernelError if the kernel refused a step,
    with every step before it undone.
    """
    cluster.require_host(name)
    require_privileged()
    with locks.locked(), Links() as links, uninterrupted():
        before = record.load()
        require_untended()
        if before and before.leased:
            raise UsageError(AGENT_GONE, fix=START_AGENT)
        own_links = fit(links, cluster, name, mode, before)
        for gone in dead:
            _require_other(gone, name)
            if before is None or gone not in before.cluster.weights:
                cluster.require_host(gone)
        if before and not reshuffle:
            require_same_deal(before.cluster, cluster)
        now = draft(links, own_links, before, cluster, name=name, mode=mode)
        owners, drains = _owners(before, cluster, name, drain, dead)
        now = replace(now, owners=owners, drains=drains)
        outcome = _bring(links, own_links, before, now)
        outcome = deeds.told(outcome, now, deeds.applied(before, now, dead))
    return announced(outcome, now) if outcome.changed else outcome


def release(buckets: Sequence[int], to: str, drain: int) -> Outcome:
    """Give buckets of this host to host `to`, and drain them: the first half of a move."""
    with _applied() as (links, own_links, before):
        _require_other(to, before.host)
        foreign = [b for b in buckets if before.owners[b] != before.host]
        if foreign:
            raise UsageError(
                f"{before.host} does not own {ranges(foreign)}", fix="see `vipnft status`"
            )
        now = _moved(before, buckets, to, drain)
        outcome = _bring(links, own_links, before, now)
        return deeds.told(outcome, now, deeds.released(before, now, buckets, to))


def take(buckets: Sequence[int], source: str | None, drain: int) -> Outcome:
    """Take buckets: from host `source`, which drains them, or at once where it is None."""
    with _applied() as (links, own_links, before):
        if source is not None:
            _require_other(source, before.host)
        mine = [b for b in buckets if before.owners[b] == before.host]
        if mine:
            raise UsageError(f"{before.host} owns {ranges(mine)} already", fix="leave them out")
        held = replace(before, owners=given(before.owners, buckets, source)) if source else before
        now = _moved(held, buckets, before.host, drain if source else 0)
        outcome = _bring(links, own_links, before, now)
        return deeds.told(outcome, now, deeds.taken(before, now, buckets, source))


def _bring(
    links: Links, own_links: Mapping[str, Link], before: Applied | None, now: Applied
) -> Outcome:
    facts = gather(links, now)
    # Where nothing stands there is nothing to compare.
    expected: Mapping[str, str] = ABSENT
    if facts.tables:
        with suppress(UsageError):  # no scratch network namespace for a service: all is loaded
            expected = expectation(now, macs(now, facts.links), tagged(facts.links))
    same = before is not None and replace(now, drains=before.drains) == before
    found = drift(now, expected, facts, current(now)) if same else ()
    if same and not found:
        return _again(own_links, now, facts)
    outcome = Change(links, own_links, before, now, Stage()).run(expected, facts)
    return replace(outcome, mended=tuple(found))


def _again(own_links: Mapping[str, Link], now: Applied, facts: Facts) -> Outcome:
    """Try the XDP stage again where it was refused: what was lacking may be there by now."""
    stage = Stage()
    if any(one.refused for one in facts.stages.values()):
        stage.settle(own_links, now, tagged(facts.links))
        return Outcome(changed=not stage.notes, notes=tuple(stage.notes.values()))
    return Outcome(changed=False)


def _owners(
    before: Applied | None, cluster: Cluster, name: str, drain: int, dead: Collection[str]
) -> tuple[Owners, Drains]:
    """Return who is to own and who to drain what."""
    owners = owners_of(cluster, dead)
    if before and _deal(before.cluster) != _deal(cluster):
        return owners, {}  # dealt anew: nobody can drain anything
    drains: Drains = before.drains if before else {}
    former = before.owners if before else _without(cluster, {name, *dead})
    return owners, move(former, owners, drains, now=clock.boottime(), drain=drain, dead=dead)


def _without(cluster: Cluster, absent: Collection[str]) -> Owners:
    """Return the owners as they may have been before a host came: those who were there served its
    share. Where nobody was, it is as if it had always been its."""
    alone = not any(weight for host, weight in cluster.weights.items() if host not in absent)
    return owners_of(cluster, () if alone else absent)


def _moved(before: Applied, buckets: Sequence[int], to: str, drain: int) -> Applied:
    owners = given(before.owners, buckets, to)
    drains = move(before.owners, owners, before.drains, now=clock.boottime(), drain=drain)
    return replace(before, owners=owners, drains=drains)


def _deal(cluster: Cluster) -> tuple[int, int]:
    return cluster.seed, cluster.buckets


def _require_other(name: str, me: str) -> None:
    if name == me:
        raise UsageError(f"{name} is this host itself", fix="name another host")


@contextmanager
def _applied() -> Iterator[tuple[Links, dict[str, Link], Applied]]:
    """Hold everything that moving buckets by hand needs; UsageError without an apply before."""
    require_privileged()
    with locks.locked(), Links() as links, uninterrupted():
        applied = record.load()
        require_untended()
        if applied is None:
            raise UsageError("nothing is applied here", fix="vipnft apply --switch")
        own_links = fit(links, applied.cluster, applied.host, applied.mode, applied)
        yield links, own_links, applied
