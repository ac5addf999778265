"""Rules, lease and buckets of one host under an agent.

Rule 1: rules are loaded silent; only arm and grant, in that order, make the host answer.
Rule 2: what the kernel holds is compared with what the same kernel listed right after the
        rules were loaded: that needs no scratch network namespace, so no right beyond
        CAP_NET_ADMIN.
Rule 3: a table of the agents is brought in as elements alone: under traffic that loses nothing.
"""

import math
from collections import Counter
from dataclasses import replace

from vipnft.buckets.phases import Phase
from vipnft.errors import KernelError
from vipnft.host import announce, apply, down, locks, record
from vipnft.host.change import Change
from vipnft.host.drift import bucket_drift, link_drift, skeleton_drift
from vipnft.host.facts import connections, counters, current, gather, strays, tagged
from vipnft.host.preflight import fit
from vipnft.host.record import draft
from vipnft.kernel import nft
from vipnft.kernel.lease import Lease
from vipnft.kernel.links import Links
from vipnft.model import Applied, Cluster, Drains, Mode, Owners
from vipnft.ruleset import elements, transactions
from vipnft.ruleset.tables import NETDEV, TABLES


class Dataplane:
    """The data plane of host `name`; nothing is touched before `up`, but for `flush`."""

    def __init__(self, cluster: Cluster, name: str, mode: Mode) -> None:
        self._cluster, self._name, self._mode = cluster, name, mode
        self._lease = Lease()
        self._applied: Applied | None = None
        self._text: dict[str, str] = {}  # each nft table, as listed right after it was loaded
        self._tagged: frozenset[str] = frozenset()  # interfaces with VLANs, likewise
        self._macs: dict[str, str] = {}  # the interfaces' own, as those tables have them
        self._phases: tuple[Phase, ...] = ()  # as the kernel has them
        self._sound = False  # the kernel holds what it is to hold

    @property
    def is_up(self) -> bool:
        """Whether `up` has been done."""
        return self._applied is not None

    def up(self) -> None:
        """Put everything in place, silent and with no bucket; UsageError if it can't be."""
        with locks.locked(), locks.uninterrupted():
            self._bring(("",) * self._cluster.buckets, {}, record.load(), {})

    def require_fit(self) -> None:
        """See that `up` can be done: UsageError if not, UnreadyError if not yet."""
        with Links() as links:
            fit(links, self._cluster, self._name, self._mode, record.load())

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
        before = self._phases
        if wanted != before and (
            commands := elements.change([elements.cell(phase) for phase in before], wanted)
        ):
            self._sound = False
            nft.apply(commands)
        self._phases, self._sound = wanted, True
        record.save(self._applied)

    def mend(self) -> tuple[str, ...]:
        """Bring back what somebody changed, and return what it was, a line each.

        UsageError while it can't be: the interface is gone, or down.
        """
        applied = self._applied
        if applied is None:
            return ()
        with locks.locked(), locks.uninterrupted():
            with Links() as links:
                facts = gather(links, applied)
            lines = (
                *link_drift(applied, facts),
                *skeleton_drift(self._text, facts.tables, leased=True),
            )
            text = self._text
            for name, link in facts.links.items() if self._mode is not Mode.HUB else ():
                if link.mac != self._macs.get(name):
                    lines += (f"{name}'s MAC is {link.mac}, not {self._macs.get(name)}",)
                    text = {}  # the rules name the old one
            if (vlans := tagged(facts.links)) != self._tagged:
                lines += (f"VLANs stand on {' '.join(sorted(vlans)) or 'none'} now",)
                text = {}  # rules look for tags only there
            if "netdev" in facts.tables and "inet" in facts.tables:
                lines += bucket_drift(current(applied), facts.cells)
            if lines:
                self._bring(applied.owners, applied.drains, applied, text)
        self._sound = True
        return lines

    def connections(self) -> Counter[int]:
        """Return how many live connections this host has in each bucket: TCP's, and QUIC's."""
        return connections(self._applied) if self._applied else Counter()

    def taken(self) -> int:
        """Return how many packets this host has taken since its rules were loaded."""
        return sum(packets for packets, _ in counters().values())

    def strays(self) -> dict[str, tuple[int, str]]:
        """Return what came from the listen MAC; see facts.strays."""
        return strays(self._applied) if self._applied else {}

    def announce(self) -> None:
        """Tell the segments where the VIPs are; UsageError if it can't."""
        if self._applied is not None:
            announce.announce(self._applied)

    def down(self) -> tuple[str, ...]:
        """Give everything back; returns what could not be put back, a line each."""
        self._applied = None
        return down.give_back(tended=True).notes

    def _bring(
        self, owners: Owners, drains: Drains, before: Applied | None, text: dict[str, str]
    ) -> None:
        with Links() as links:
            own_links = fit(links, self._cluster, self._name, self._mode, before)
            now = draft(links, own_links, before, self._cluster, name=self._name, mode=self._mode)
            now = replace(now, owners=owners, drains=drains, leased=True)
            expected = text or apply.ABSENT
            facts = gather(links, now)
            outcome = Change(links, own_links, before, now).run(expected, facts)
        if outcome.swapped or not text or text.keys() != apply.ABSENT.keys():
            self._text = nft.listing(TABLES)
            self._macs = {name: link.mac for name, link in own_links.items()}
            self._tagged = tagged(facts.links)
        self._applied, self._phases, self._sound = now, current(now), True


def endless(drains: dict[int, frozenset[str]]) -> Drains:
    """Return drains that an agent will end, not a timer."""
    return {b: dict.fromkeys(hosts, math.inf) for b, hosts in drains.items()}
