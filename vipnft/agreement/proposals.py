"""What one host proposes next for the table to become, by what it has seen.

Rule 1: one step at a time, on top of the table that this host's kernel holds.
"""

from collections.abc import Mapping, Set

from vipnft.agreement.effects import Adopt, Params, Reply, Wish
from vipnft.agreement.evening import Scales
from vipnft.agreement.known import Known
from vipnft.agreement.outlook import Outlook
from vipnft.agreement.peers import Peers
from vipnft.agreement.records import (
    TABLE,
    Member,
    Standing,
    Table,
    members,
    order,
    weights,
)
from vipnft.agreement.steps import Step, drained, giving, placeholder, takeover
from vipnft.model import Owners


class Proposals:
    """One life's, from beat to beat; `outlook` tells what is coming."""

    def __init__(self, params: Params, peers: Peers) -> None:
        self._params, self._peers = params, peers
        self.outlook = Outlook(params.me, params.salt)

    def next(self, said: Reply, known: Known, wish: Wish, beat: int) -> Step | None:
        """Return what is next for the table to become, by this host's hand; `beat` is the newest
        number of its own."""
        p, peers, old = self._params, self._peers, known.table
        if old is None:
            return placeholder(f"{p.incarnation}.{beat}", p.buckets, p.deal)
        fellows, quiet = self._fellows(said), peers.quiet(said)
        living = {h: m for h, m in fellows.items() if h == p.me or peers.has_moved(h)}
        shares = weights({host: m for host, m in living.items() if host not in quiet})
        lost = peers.lost(said)
        scales = self._scales(said, fellows, shares, living.keys() - quiet, old)
        target = self.outlook.target(shares, old.owners, known.real, quiet - lost, scales)
        if step := self._takeover(known, target, lost, said):
            return step
        timely = self.outlook.beat(shares, old.owners, target)
        given = self._given(old, target, said)
        if given and (timely or wish.cut_off):
            why = self.outlook.why
            drain = not wish.cut_off
            return giving(old, known.version, target, given, p.me, drain=drain, why=why)
        over = frozenset(b for b in wish.drained if p.me in old.drains.get(b, frozenset()))
        if over:
            return drained(old, known.version, over, p.me)
        return None

    def is_idle(self, said: Reply, table: Table | None) -> bool:
        """Tell whether nothing is mine any more, not even a drain; or nobody is there to give
        it to."""
        if table is None:
            return True
        part = Adopt(table, self._params.me)
        known, away = self._fellows(said), {self._params.me} | self._peers.quiet(said)
        others = {host: member for host, member in known.items() if host not in away}
        return not (part.owned or part.draining) or not any(weights(others).values())

    def is_over(self, said: Reply, other: Member, version: int) -> bool:
        """Tell whether a silent life under my name, on another machine, is over. One that carries
        on by promises may be alive: whom it names would take over from it otherwise, where any of
        them beats; once they have, nothing is its own."""
        if other.contact is None or order(said.snapshot, self._params.me).off == version:
            return True
        entry = said.snapshot.get(TABLE)
        if entry and self._params.me not in Table.load(entry.value).parties:
            return True
        living = {h: m for h, m in self._fellows(said).items() if self._peers.has_moved(h)}
        living = {h: m for h, m in living.items() if h not in self._peers.quiet(said)}
        return not (other.knows & living.keys() and any(weights(living).values()))

    def _scales(
        self,
        said: Reply,
        fellows: Mapping[str, Member],
        shares: Mapping[str, int],
        hear: Set[str],
        old: Table,
    ) -> Scales | None:
        """Return what buckets carry, where all that serve let them follow it; `hear`: who can hear
        of a move."""
        if not all(fellows[host].carries for host, weight in shares.items() if weight):
            return None
        loads = {host: member.carries for host, member in fellows.items() if member.carries}
        out = old.parties
        calm = out <= hear and all(
            (host in hear and member.standing is Standing.SERVING)
            or (host not in out and self._is_out(said, host, member))
            for host, member in fellows.items()
        )
        busy = {host for b, hosts in old.drains.items() for host in (*hosts, old.owners[b])}
        return Scales(loads, calm, busy)

    def _is_out(self, said: Reply, host: str, member: Member) -> bool:
        """Tell whether an operator took a host out, or said that it is off."""
        called_off = order(said.snapshot, host).off == self._peers.version(host)
        return called_off or member.standing is Standing.DRAINED

    def _fellows(self, said: Reply) -> dict[str, Member]:
        """Return the keys of those that may be given anything: the cluster file's hosts."""
        return {h: m for h, m in members(said.snapshot).items() if h in self._params.hosts}

    def _takeover(self, known: Known, target: Owners, lost: set[str], said: Reply) -> Step | None:
        old = known.table
        if old is None or not (gone := lost & old.parties):
            return None
        silent = max(self._peers.silence(host, said.now) for host in gone)
        dead = {h: self._peers.version(h) for h in gone}
        return takeover(old, known.version, target, dead, silent)

    def _given(self, old: Table, target: Owners, said: Reply) -> frozenset[int]:
        """Return which of my buckets are another's next, who beats and can hear of it."""
        if target == old.owners:
            return frozenset()
        pairs = zip(old.owners, target, strict=True)
        return frozenset(
            b
            for b, (o, n) in enumerate(pairs)
            if o == self._params.me != n and not self._peers.is_late(n, said.now)
        )
