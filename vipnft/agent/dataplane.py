"""Rules, lease and buckets of one host under an agent.

Rule 1: rules are loaded silent; only arm and grant, in that order, make the host answer.
Rule 2: what the kernel holds is compared with what the same kernel listed right after the
        rules were loaded: that needs no scratch network namespace, so no right beyond
        CAP_NET_ADMIN.
Rule 3: a close comparison is made only where a glance, taken beside the beats, differs; a glance
        that an own change has overtaken says nothing.
Rule 4: a table of the agents is brought in as elements alone: under traffic that loses nothing.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vipnft.errors import KernelError
from vipnft.host import announce, apply, down, glance, locks, record
from vipnft.host.change import Change
from vipnft.host.drift import bucket_drift, link_drift, skeleton_drift, stage_drift
from vipnft.host.facts import connections, current, gather, tagged
from vipnft.host.glance import LinkGlance, Phased, RuleGlance
from vipnft.host.preflight import fit
from vipnft.host.record import draft
from vipnft.host.stage import Stage
from vipnft.kernel import link_glance, nft
from vipnft.kernel.lease import Lease
from vipnft.kernel.links import Links
from vipnft.model import Applied, Cluster, Drains, Mode, Owners
from vipnft.ruleset import elements, transactions
from vipnft.ruleset.stage import StageFacts, foreign
from vipnft.ruleset.tables import NETDEV, TABLES


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The rules as they were right after they were loaded: each nft table's text, by family; all
    of them at a glance; on which interfaces VLANs stood, and the interfaces' own MACs, of which
    the rules know."""

    text: Mapping[str, str] = field(default_factory=dict)
    staying: bytes | None = None
    tagged: frozenset[str] = frozenset()
    macs: Mapping[str, str] = field(default_factory=dict)


class Dataplane:
    """The data plane of host `name`; nothing is touched before `up`, but for `flush`."""

    def __init__(self, cluster: Cluster, name: str, mode: Mode) -> None:
        self._cluster, self._name, self._mode = cluster, name, mode
        self._lease = Lease()
        self._applied: Applied | None = None
        self._loaded = _Loaded()
        self._phased = Phased()  # the buckets, as the kernel has them
        self._stage = Stage()  # in front of the rules
        self._around: LinkGlance | None = None  # links, addresses, settings, when they were sound
        self._changes = 0  # of buckets or rules, made here
        self._sound = False  # the kernel holds what it is to hold

    @property
    def is_up(self) -> bool:
        """Whether `up` has been done."""
        return self._applied is not None

    @property
    def is_any_here(self) -> bool:
        """Whether anything of this host's agent is here: of this life, or left by one before."""
        former = self._applied or record.load()
        return former is not None and former.leased

    def up(self) -> None:
        """Put everything in place, silent and with no bucket; UsageError if it can't be."""
        with locks.locked(), locks.uninterrupted():
            self._bring(("",) * self._cluster.buckets, {}, record.load(), {})

    def require_fit(self) -> None:
        """See that `up` can be done: UsageError if not, UnreadyError if not yet."""
        with Links() as links:
            fit(links, self._cluster, self._name, self._mode, record.load())

    def addresses(self) -> tuple[str, ...]:
        """Return this host's own addresses on the segments."""
        nics = self._cluster.nics(self._name)
        return link_glance.own([nic.interface for nic in nics], self._cluster.vips)

    def flush(self) -> None:
        """Fall silent, whatever an earlier life left."""
        if not nft.listing((NETDEV,)):
            return
        try:
            self._lease.flush()
        except KernelError:  # rules of ours without the lease's sets: somebody broke them
            nft.apply(transactions.nothing())

    def arm(self, slot: int, seconds: float) -> None:
        """Let a lease's slot begin, not granted yet; see Lease.arm."""
        if self._applied is None:
            self.up()
        self._lease.arm(slot, round(seconds * 1000))

    def grant(self, slot: int) -> None:
        """Let a slot count; see Lease.grant. Not while the kernel may hold other buckets."""
        if self._sound:
            self._lease.grant(slot)

    def adopt(self, owners: Owners, drains: Drains) -> None:
        """Make this host's part of a table its buckets; nothing is granted until that is done."""
        if self._applied is None:
            self.up()
        if self._applied is None:
            return
        self._applied = replace(self._applied, owners=owners, drains=drains)
        wanted = current(self._applied)
        before = self._phased.phases
        if wanted != before and (
            commands := elements.change([elements.cell(phase) for phase in before], wanted)
        ):
            self._sound = False
            self._changes += 1
            with self._stage.moving(foreign(owners, drains, self._name)):
                nft.apply(commands)
        if wanted != before:
            self._phased = Phased(wanted)
        self._sound = True
        record.save(self._applied)

    def at_rules(self) -> tuple[RuleGlance | None, int]:
        """Glance at the nft tables, from any thread; None before `up`."""
        applied, phased, changes = self._applied, self._phased, self._changes
        return (glance.rules(applied, phased) if applied else None), changes

    def at_links(self) -> LinkGlance | None:
        """Glance at all else, from any thread; None before `up`."""
        return glance.links(self._applied) if self._applied else None

    def at_stage(self) -> dict[str, StageFacts]:
        """Glance at the XDP stage, from any thread; {} before `up`."""
        applied = self._applied
        return self._stage.glance(applied) if applied else {}

    def is_sound(self, seen: RuleGlance, changes: int) -> bool | None:
        """Tell whether the nft tables, and the bits of the XDP stage, need no comparison, by a
        glance; None where it was overtaken by a change of this host's own."""
        if changes != self._changes:
            return None
        rules = seen.in_phase and seen.staying == self._loaded.staying
        return rules and self._stage.is_right()

    def is_same(self, seen: LinkGlance) -> bool:
        """Tell whether all else needs none."""
        return seen == self._around

    def mend(self, *, rules: bool = True) -> tuple[str, ...]:
        """Compare, without `rules` only what is not in the nft tables; bring back what somebody
        changed, and return what it was, a line each.

        UsageError while it can't be: the interface is gone, or down.
        """
        applied = self._applied
        if applied is None:
            return ()
        with locks.locked(), locks.uninterrupted():
            self._around, around = None, glance.links(applied)  # first: what comes later shows
            staying = self._legible() if rules else self._loaded.staying
            with Links() as links:
                facts = gather(links, applied, rules=rules, stage=self._stage)
            lines = (*link_drift(applied, facts), *stage_drift(applied, facts, again=False))
            if rules:
                lines += skeleton_drift(self._loaded.text, facts.tables, leased=True)
            text = self._loaded.text
            for name, link in facts.links.items() if self._mode is not Mode.HUB else ():
                if link.mac != (known := self._loaded.macs.get(name)):
                    lines += (f"{name}'s MAC is {link.mac}, not {known}",)
                    text = {}  # the rules name the old one
            if (vlans := tagged(facts.links)) != self._loaded.tagged:
                lines += (f"VLANs stand on {' '.join(sorted(vlans)) or 'none'} now",)
                text = {}  # rules look for tags only there
            if "netdev" in facts.tables and "inet" in facts.tables:
                lines += bucket_drift(current(applied), facts.cells)
            if lines:
                self._bring(applied.owners, applied.drains, applied, text)
            else:
                self._loaded = replace(self._loaded, staying=staying)
                self._around = around
        self._sound = True
        return lines

    def _legible(self) -> bytes | None:
        """Return the rules at a glance; None where a table is gone."""
        try:
            return glance.staying()
        except KernelError:
            return None

    def connections(self) -> Counter[int]:
        """Return how many live connections this host has in each bucket: TCP's, and QUIC's."""
        return connections(self._applied) if self._applied else Counter()

    def news(self) -> list[str]:
        """Return why there is no XDP stage where there should be one, a line each, once."""
        return self._stage.news()

    def announce(self) -> None:
        """Tell the segments where the VIPs are; UsageError if it can't."""
        if self._applied is not None:
            announce.announce(self._applied)

    def down(self) -> tuple[str, ...]:
        """Give everything back; returns what could not be put back, a line each."""
        self._applied = None
        return down.give_back(tended=True).notes

    def _bring(
        self, owners: Owners, drains: Drains, before: Applied | None, text: Mapping[str, str]
    ) -> None:
        self._changes += 1
        with Links() as links:
            own_links = fit(links, self._cluster, self._name, self._mode, before)
            now = draft(links, own_links, before, self._cluster, name=self._name, mode=self._mode)
            now = replace(now, owners=owners, drains=drains, leased=True)
            expected = text or apply.ABSENT
            facts = gather(links, now)
            outcome = Change(links, own_links, before, now, self._stage).run(expected, facts)
        if outcome.swapped or not text or text.keys() != apply.ABSENT.keys():
            self._loaded = _Loaded(
                nft.listing(TABLES),
                glance.staying(),
                tagged(facts.links),
                {name: link.mac for name, link in own_links.items()},
            )
        self._applied, self._phased, self._sound = now, Phased(current(now)), True


def endless(drains: dict[int, frozenset[str]]) -> Drains:
    """Return drains that an agent will end, not a timer."""
    return {b: dict.fromkeys(hosts, math.inf) for b, hosts in drains.items()}
