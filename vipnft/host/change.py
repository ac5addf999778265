"""One run of `apply`, `release` or `take`: steps that remember how to undo themselves.

Rule 1: the record is written before the kernel is touched, with all that was and all that is
        to be, so that what a killed run left half done is found by the next one; what is over
        is forgotten last.
Rule 2: up is settings, rules, listen MAC, address, and only then the grant. An address that
        goes, goes before the rules that know it.
Rule 3: the XDP stage lets through what comes before the rules take it, and drops what goes after
        the rules do.
Rule 4: where only owners changed, only elements change: one transaction, no packet lost.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from vipnft.errors import KernelError, VipnftError
from vipnft.host import loaded, record, stage
from vipnft.host.drift import Facts, link_drift, skeleton_drift
from vipnft.host.facts import cells, current, skeleton, tagged
from vipnft.host.settings import wanted_sysctls
from vipnft.host.stage import Stage
from vipnft.kernel import nft, sysctl
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, InterfaceRecord, Mode, heard_as
from vipnft.observe.events import Place
from vipnft.ruleset import elements, ndp, transactions
from vipnft.ruleset.nftjson import Commands
from vipnft.ruleset.stage import foreign
from vipnft.ruleset.tables import INET

Undo = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: `swapped` if all rules were replaced, `moved` buckets' elements; `mended`
    is how the kernel differed, where that is all; `told` where it is an event that hooks may wait
    for."""

    changed: bool
    swapped: bool = False
    moved: int = 0
    notes: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    told: Place | None = None


def whole(
    applied: Applied, macs: Mapping[str, str], vlans: Collection[str], *, granted: bool
) -> Commands:
    """Return the transaction that loads all of what is applied, as it is by now, and keeps what is
    known of handshakes that may be half open; `macs` are the interfaces' own,
    and on those in `vlans` VLANs stand."""
    a = applied
    now = current(applied)
    made = transactions.whole(
        a.cluster, a.host, a.mode, macs, now, vlans, granted=granted, leased=a.leased
    )
    given, mine = (nft.elements(INET, name) for name in (elements.GIVEN, elements.MINE))
    return [*made, *elements.remembered(given, mine, now)]


class Change:
    """A change from `before` (None: nothing is applied) to `now`; `own_links` are the interfaces
    that this host has on the segments, by name; `stage` is what this process holds in front of the
    rules."""

    def __init__(
        self,
        links: Links,
        own_links: Mapping[str, Link],
        before: Applied | None,
        now: Applied,
        stage: Stage,
    ) -> None:
        self._links, self._own_links, self._before, self._now = links, own_links, before, now
        self._stage = stage
        self._undo: list[Undo] = []
        self._notes: list[str] = []
        self._swapped, self._moved = False, 0
        self._remembered: Applied | None = None
        self._fresh: Commands = []  # loaded by this run

    def run(self, expected: Mapping[str, str], facts: Facts) -> Outcome:
        """Do every step that `facts` ask for; undo them all if one fails."""
        try:
            self._remember()
            self._settings(facts)
            self._leave()
            swap = bool(skeleton_drift(expected, facts.tables, leased=self._now.leased))
            self._stage.open(self._own_links, self._now, self._safe(facts, swap=swap))
            if swap:
                # With nothing but the rules to change, they come granted: no gap.
                ready = self._before is not None and not link_drift(self._now, facts)
                self._rules(tagged(facts.links), granted=ready)
            else:
                self._elements()
            for interface in self._now.worn:
                self._listen(interface, facts)
            self._come(facts)
            if not self._now.leased:
                nft.apply(transactions.grant())
            self._front(self._now, tagged(facts.links))
            if self._remembered != self._now:
                record.save(self._now)
            if self._fresh:
                loaded.remember(self._fresh)
        except BaseException as error:
            failures = attempt(reversed(self._undo))
            if failures:  # the record stays: `down` needs it
                raise KernelError(
                    f"{error}; and undoing it failed: " + "; ".join(failures),
                    fix="mend what it names, then run `vipnft down`",
                ) from error
            self._recall(tagged(facts.links))
            raise
        self._notes += self._stage.notes.values()
        return Outcome(
            changed=True, swapped=self._swapped, moved=self._moved, notes=tuple(self._notes)
        )

    def _do(self, action: Undo, undo: Undo) -> None:
        self._undo.append(undo)  # first: half an action is undone too
        action()

    def _remember(self) -> None:
        """Write down what is about to be, and what of before `down` may still have to undo."""
        before, now = self._before, self._now
        if before:
            now = replace(
                now,
                addresses=tuple(dict.fromkeys((*before.addresses, *now.addresses))),
                worn={
                    interface: _both(before.worn.get(interface), worn)
                    for interface, worn in now.worn.items()
                },
            )
        record.save(now)
        self._remembered = now

    def _recall(self, vlans: Collection[str]) -> None:
        if self._before:
            record.save(self._before)
            self._front(self._before, vlans)
        else:
            stage.forget()
            record.forget()

    def _safe(self, facts: Facts, *, swap: bool) -> frozenset[int]:
        """Return the buckets that the rules drop and will drop."""
        drops = {b for b, cell in enumerate(facts.cells) if cell.verdict == "drop"}
        due = foreign(self._now.owners, self._now.drains, self._now.host)
        return due & drops if not swap else frozenset()

    def _front(self, applied: Applied, vlans: Collection[str]) -> None:
        """Have the stage drop what the rules drop by now."""
        if self._before is None:
            self._undo.append(partial(self._stage.off, self._own_links, self._now.cluster))
        else:  # the old rules take what these drop
            everything = partial(self._stage.open, self._own_links, self._now, frozenset())
            self._undo.append(everything)
        self._stage.settle(self._own_links, applied, vlans)

    def _settings(self, facts: Facts) -> None:
        for key, values in wanted_sysctls(self._own_links, self._now.mode).items():
            value = facts.sysctls[key]
            if value is not None and value not in values:
                self._do(partial(sysctl.write, key, values[0]), partial(sysctl.write, key, value))

    def _rules(self, vlans: Collection[str], *, granted: bool) -> None:
        macs = {interface: link.mac for interface, link in self._own_links.items()}
        self._swapped = self._before is not None
        old = transactions.nothing()
        if self._before:
            old = whole(self._before, macs, vlans, granted=True)
        new = whole(self._now, macs, vlans, granted=granted)
        self._do(partial(nft.apply, new), partial(nft.apply, old))
        self._fresh = skeleton(self._now, macs, vlans)

    def _elements(self) -> None:
        want, have = current(self._now), cells(self._now.cluster.buckets)
        commands = elements.change(have, want)
        if not commands:
            return
        self._moved = sum(
            old.phase is None or old.phase.state is not new.state
            for old, new in zip(have, want, strict=True)
        )
        self._do(partial(nft.apply, commands), partial(_settle, self._before or self._now))

    def _listen(self, interface: str, facts: Facts) -> None:
        link, links = self._own_links[interface], self._links
        seen = facts.links[interface]
        before = self._before.worn.get(interface) if self._before else None
        nic = next(nic for nic in self._now.nics if nic.interface == interface)
        listen, groups = nic.listen_mac(self._now.mode), ndp.groups(nic, self._now.mode)
        heard = heard_as(link.kind, listen, self._now.mode)
        if self._now.mode is Mode.HUB:
            if seen.mac != listen:
                self._do(
                    lambda: self._notes.extend(links.set_mac(link, listen)),
                    lambda: links.set_mac(link, link.mac),
                )
        elif self._now.mode is not Mode.IGMP and heard not in seen.filters:
            self._do(partial(links.listen, link, heard), partial(links.unlisten, link, heard))
        for group in groups:
            if group not in seen.groups:
                self._do(partial(links.join, link, group), partial(links.leave, link, group))
        for gone in before.filters if before else ():
            if gone != heard:
                self._do(partial(links.unlisten, link, gone), partial(links.listen, link, gone))
        for gone in before.groups if before else ():
            if gone not in groups:
                self._do(partial(links.leave, link, gone), partial(links.join, link, gone))

    def _leave(self) -> None:
        for gone in self._before.addresses if self._before else ():
            if gone not in self._now.addresses:
                self._do(
                    partial(self._links.remove_address, gone),
                    partial(self._links.add_address, gone),
                )

    def _come(self, facts: Facts) -> None:
        for vip in self._now.cluster.vips:
            if "lo" not in facts.carriers[str(vip)]:
                self._do(
                    partial(self._links.add_address, str(vip)),
                    partial(self._links.remove_address, str(vip)),
                )


def _both(before: InterfaceRecord | None, now: InterfaceRecord) -> InterfaceRecord:
    """Return an interface's record with all that was put on it before and is now."""
    if before is None or before.index != now.index:
        return now
    return replace(
        now,
        filters=tuple(dict.fromkeys((*before.filters, *now.filters))),
        groups=tuple(dict.fromkeys((*before.groups, *now.groups))),
    )


def _settle(applied: Applied) -> None:
    """Bring the elements to what `applied` says by now."""
    nft.apply(elements.change(cells(applied.cluster.buckets), current(applied)))


def attempt(steps: Iterable[Undo]) -> list[str]:
    """Take every step, also after one that failed; return what failed."""
    failures = []
    for step in steps:
        try:
            step()
        except VipnftError as error:
            failures.append(str(error))
    return failures
