# One host: apply, move buckets, down, and what is there now.
# Rule 1: nothing is touched before it is known that this machine can be that host.
# Rule 2: a lost terminal stops nothing half-way.
# Rule 3: down is up backwards: silence first, then address, listen MAC, rules, settings.
"""Put a Cluster's share onto this machine, move parts of it, take it off, and compare."""

import signal
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from vipnft.buckets.assign import ranges
from vipnft.buckets.phases import Phase, given, move, owners_of
from vipnft.errors import KernelError, UsageError
from vipnft.host import record
from vipnft.host.announce import announcements
from vipnft.host.change import Change, Outcome, Undo, attempt, cells, current
from vipnft.host.drift import Facts, LinkFacts, drift, wanted_sysctls
from vipnft.host.preflight import fit, privileged
from vipnft.host.preflight import record as draft
from vipnft.kernel import clock, flows, nft, scratch, sockets, sysctl
from vipnft.kernel.links import Link, Links
from vipnft.kernel.packet_socket import Port
from vipnft.model import Applied, Cluster, Drains, Mode, Owners, Worn
from vipnft.ruleset import affinity, elements, transactions
from vipnft.ruleset.tables import NETDEV, TABLES

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
    cluster.host(name)
    privileged()
    with record.locked(), Links() as links, uninterrupted():
        before = record.load()
        _untended()
        if before and before.leased:
            raise UsageError(
                "an agent was here and is gone; what the cluster agreed on since, no file says",
                fix="start it again, or run `vipnft down` first",
            )
        found = fit(links, cluster, name, mode, before)
        for gone in dead:
            _others(gone, name)
            if before is None or gone not in before.cluster.weights:
                cluster.host(gone)
        if before and not reshuffle:
            _same_deal(before.cluster, cluster)
        now = draft(links, found, before, cluster, name=name, mode=mode)
        owners, drains = _owners(before, cluster, name, drain, dead)
        now = replace(now, owners=owners, drains=drains)
        outcome = _bring(links, found, before, now)
    return _announced(outcome, now) if outcome.changed else outcome


def release(buckets: Sequence[int], to: str, drain: int) -> Outcome:
    """Give buckets of this host to host `to`, and drain them: the first half of a move."""
    with _applied() as (links, found, before):
        _others(to, before.host)
        foreign = [b for b in buckets if before.owners[b] != before.host]
        if foreign:
            raise UsageError(
                f"{before.host} does not own {ranges(foreign)}", fix="see `vipnft status`"
            )
        return _bring(links, found, before, _moved(before, buckets, to, drain))


def take(buckets: Sequence[int], source: str | None, drain: int) -> Outcome:
    """Take buckets: from host `source`, which drains them, or at once where it is None."""
    with _applied() as (links, found, before):
        if source is not None:
            _others(source, before.host)
        mine = [b for b in buckets if before.owners[b] == before.host]
        if mine:
            raise UsageError(f"{before.host} owns {ranges(mine)} already", fix="leave them out")
        if source is not None:
            held = replace(before, owners=given(before.owners, buckets, source))
            return _bring(links, found, before, _moved(held, buckets, before.host, drain))
        return _bring(links, found, before, _moved(before, buckets, before.host, 0))


def down() -> Outcome:
    """Give this machine back as it was before the first `apply`; nothing applied is fine."""
    privileged()
    _untended()
    return give_back()


def give_back() -> Outcome:
    """Do what `down` does, also for the agent that lives here."""
    with record.locked(), Links() as links, uninterrupted():
        applied = record.load()
        if applied is None:
            return _sweep()
        notes: list[str] = []
        failures = attempt(_steps_down(links, applied, notes))
        if failures:
            raise KernelError(
                "not all could be given back: " + "; ".join(failures),
                fix="mend what it names and run `vipnft down` again",
            )
        record.forget()
        return Outcome(changed=True, notes=tuple(notes))


def announce(applied: Applied) -> int:
    """Tell the segments where the VIPs are; return in how many frames. UsageError if it can't."""
    with Links() as links:
        own = macs(applied, _links(links, applied))
    count = 0
    for nic in applied.nics:
        with Port(nic.interface) as port:
            for frame in announcements(nic, applied.mode, own):
                port.send(frame)
                count += 1
    return count


def _announced(outcome: Outcome, applied: Applied) -> Outcome:
    """Announce, and say so where it can't be: it serves all the same."""
    try:
        announce(applied)
    except UsageError as error:
        notes = (*outcome.notes, f"the VIPs were not announced: {error}")
        return replace(outcome, notes=notes)
    return outcome


def inspect(applied: Applied) -> tuple[str, ...]:
    """Return how the kernel differs from what was applied, a line each."""
    with Links() as links:
        found = facts(links, applied)
    return drift(applied, expectation(applied, macs(applied, found.links)), found, current(applied))


def counters() -> Mapping[int, tuple[int, int]]:
    """Return (packets, bytes) that this host took of each bucket; empty without rules."""
    return elements.counters(nft.elements(NETDEV, "load"))


def share(applied: Applied) -> list[Phase | None]:
    """Return what the kernel does with each bucket, with the time left by its own timers."""
    return [cell.phase for cell in cells(applied.cluster.buckets)]


def connections(applied: Applied) -> Counter[int]:
    """Return how many live connections this host has in each bucket: TCP's, and QUIC's."""
    c = applied.cluster
    quic = [service for service in c.services if service.quic]
    live = {"tcp": sockets.clients(c.vips), "udp": flows.answered(c.vips) if quic else Counter()}
    found: Counter[int] = Counter()
    for protocol, ends in live.items():
        for (client, port, service), count in ends.items():
            if protocol == "udp" and not any(affinity.serves(one, service) for one in quic):
                continue
            kind = affinity.kind_at(c.services, protocol, service)
            found[affinity.bucket(kind, client, c.seed, c.buckets, port)] += count
    return found


def facts(links: Links, applied: Applied) -> Facts:
    """Return what the kernel holds now of what `applied` is about."""
    there = _links(links, applied)
    return Facts(
        links={
            name: LinkFacts(
                index=link.index,
                mac=link.mac,
                usable=link.up and link.carrier,
                enslaved=link.master is not None,
                filters=links.filters(link),
                groups=links.groups(link),
            )
            for name, link in there.items()
        },
        holders=links.holders(*applied.cluster.vips),
        sysctls={
            key: sysctl.read(key)
            for key in wanted_sysctls((nic.interface for nic in applied.nics), applied.mode)
        },
        tables=nft.listing(TABLES),
        cells=cells(applied.cluster.buckets),
    )


def _links(links: Links, applied: Applied) -> dict[str, Link]:
    """Return this host's interfaces on the segments, without those that are gone."""
    found = {nic.interface: links.find(nic.interface) for nic in applied.nics}
    return {name: link for name, link in found.items() if link is not None}


def macs(applied: Applied, found: Mapping[str, Link | LinkFacts]) -> dict[str, str]:
    """Return each interface's own MAC, of one that is gone the last known."""
    last = {name: worn.mac for name, worn in applied.worn.items()}
    return last | {name: link.mac for name, link in found.items()}


def expectation(applied: Applied, macs: Mapping[str, str]) -> dict[str, str]:
    """Return the nft tables' text, without buckets, as this kernel lists them if all is well."""
    a = applied
    commands = transactions.whole(
        a.cluster, a.host, a.mode, macs, (), granted=True, leased=a.leased
    )
    return scratch.listing(commands, TABLES, [nic.interface for nic in a.nics])


def _bring(
    links: Links, there: Mapping[str, Link], before: Applied | None, now: Applied
) -> Outcome:
    found = facts(links, now)
    # Where nothing stands there is nothing to compare.
    expected = expectation(now, macs(now, found.links)) if found.tables else ABSENT
    same = before is not None and replace(now, drains=before.drains) == before
    if same and not drift(now, expected, found, current(now)):
        return Outcome(changed=False)
    return Change(links, there, before, now).run(expected, found)


def _owners(
    before: Applied | None, cluster: Cluster, name: str, drain: int, dead: Collection[str]
) -> tuple[Owners, Drains]:
    """Return who is to own and who to drain what."""
    owners = owners_of(cluster, dead)
    if before and _deal(before.cluster) != _deal(cluster):
        return owners, {}  # dealt anew: nobody can drain anything
    drains: Drains = before.drains if before else {}
    former = before.owners if before else _without(cluster, name)
    return owners, move(former, owners, drains, now=clock.boottime(), drain=drain, dead=dead)


def _without(cluster: Cluster, name: str) -> Owners:
    """Return the owners as they may have been before host `name` came: others serve its share."""
    alone = not any(weight for host, weight in cluster.weights.items() if host != name)
    return owners_of(cluster, () if alone else {name})


def _moved(before: Applied, buckets: Sequence[int], to: str, drain: int) -> Applied:
    owners, now = given(before.owners, buckets, to), clock.boottime()
    drains = move(before.owners, owners, before.drains, now=now, drain=drain)
    return replace(before, owners=owners, drains=drains)


def _deal(cluster: Cluster) -> tuple[int, int]:
    return cluster.seed, cluster.buckets


def _same_deal(old: Cluster, new: Cluster) -> None:
    if _deal(old) != _deal(new):
        what = "seed" if old.seed != new.seed else "number of buckets"
        raise UsageError(
            f"the {what} is not the one that is applied: every client would be dealt anew,"
            " and most connections would break",
            fix="put it back, or say --reshuffle on every host at the same time",
        )


def _others(name: str, me: str) -> None:
    if name == me:
        raise UsageError(f"{name} is this host itself", fix="name another host")


@contextmanager
def _applied() -> Iterator[tuple[Links, dict[str, Link], Applied]]:
    """Hold everything that moving buckets by hand needs; UsageError without an apply before."""
    privileged()
    with record.locked(), Links() as links, uninterrupted():
        applied = record.load()
        _untended()
        if applied is None:
            raise UsageError("nothing is applied here", fix="vipnft apply --switch")
        found = fit(links, applied.cluster, applied.host, applied.mode, applied)
        yield links, found, applied


def _untended() -> None:
    if record.tended():
        raise UsageError(
            "an agent serves on this machine, and it alone moves buckets here",
            fix="vipnft drain, resume or weight; or stop it first: systemctl stop vipnft-agent",
        )


def _steps_down(links: Links, applied: Applied, notes: list[str]) -> Iterator[Undo]:
    # By their index: they may have other names by now.
    there = {name: links.at(worn.index) for name, worn in applied.worn.items()}
    known = {name: link for name, link in there.items() if link is not None}
    if nft.listing((NETDEV,)):
        yield _revoke
    for vip in applied.addresses:
        yield partial(links.remove_address, vip)
    for name, link in known.items():
        yield from _unlisten(links, link, applied.worn[name], applied.mode, notes)
    yield partial(nft.apply, transactions.nothing())
    for key, value in applied.sysctls.items():
        name = next((one for one in applied.worn if f"/conf/{one}/" in key), "")
        if name in known:
            here = key.replace(f"/conf/{name}/", f"/conf/{known[name].name}/")
            if sysctl.read(here) != value:
                yield partial(sysctl.write, here, value)


def _unlisten(links: Links, link: Link, worn: Worn, mode: Mode, notes: list[str]) -> Iterator[Undo]:
    for group in worn.groups:
        yield partial(links.leave, link, group)
    if mode is Mode.HUB and link.mac != worn.mac:
        yield lambda: notes.extend(links.set_mac(link, worn.mac))
    for mac in worn.filters:
        yield partial(links.unlisten, link, mac)


def _revoke() -> None:
    """Fall silent at once; a ruleset that somebody broke may lack the set for it."""
    with suppress(KernelError):
        nft.apply([*transactions.grant(), *transactions.revoke()])


def _sweep() -> Outcome:
    """Without a record: remove nft tables of ours that somehow stayed, and say what may be left."""
    if not nft.listing(TABLES):
        return Outcome(changed=False)
    nft.apply(transactions.nothing())
    raise KernelError(
        "nft tables named vipnft stood here without a record of what was before; they are removed",
        fix="look for the rest: VIPs on lo, the listen MAC on or in the filter of the interface,"
        " arp_ignore and arp_announce",
    )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal that a terminal or a person sends stop a change half-way."""
    held = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
