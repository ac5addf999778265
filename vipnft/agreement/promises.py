"""What a host promises to one that has lost the store: docs/design.md, "Failsafe".

Rule 1: a promise is about what the promiser itself will do: not take over from the asker, for the
        asker's lease and a tenth and 50 ms, counted from the promise.
Rule 2: no clock, socket or kernel here. Who asks was authenticated by its contact before; the
        answer is given by the ground that stands at that moment, whatever the agent is waiting for.
"""

import hashlib
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field

from vipnft.agreement.records import TABLE, Contact, Table, members
from vipnft.model import Snapshot

_PARTS = 4
"""Of each host, by the newest tables: a host that is slow to hear has one of the last."""


def part(owned: Collection[int], draining: Collection[int]) -> str:
    """Return the digest of what a host's kernel holds, 32 letters: of both kinds of buckets."""
    whole = f"{sorted(owned)} {sorted(draining)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def are_all(asked: Set[str], promised: Set[str]) -> bool:
    """Tell whether all that were asked promised. With one answer missing, that one may be the one
    who reaches the store: a majority is worth nothing."""
    return asked <= promised


@dataclass(frozen=True, slots=True)
class Ground:
    """By what a host promises: `version` is of the newest table that it has seen, `parts` what
    each host may hold by that one; `contacts` tell whom it knows, and the life that is to ask."""

    willing: bool = False
    refused: frozenset[str] = frozenset()
    version: int = 0
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    contacts: Mapping[str, Contact] = field(default_factory=dict)

    def promises(self, asker: str, version: int, part: str) -> bool:
        """Tell whether a promise is given to a host whose kernel holds `part`, by that `version`
        of the table."""
        return (
            self.willing
            and asker in self.contacts
            and self.spares(asker)
            and self.is_current(asker, version, part)
        )

    def spares(self, asker: str) -> bool:
        """Tell whether no takeover from the asker is under way, or of unknown outcome (F4)."""
        return asker not in self.refused

    def is_current(self, asker: str, version: int, part: str) -> bool:
        """Tell whether nothing can have been taken from the asker that its kernel holds (F5)."""
        return version >= self.version or part in self.parts.get(asker, frozenset())


@dataclass(frozen=True, slots=True)
class _Part:
    """What a table gives a host; its digest is what `part` says of both."""

    owned: Set[int]
    draining: Set[int]
    digest: str

    def is_within(self, newer: "_Part") -> bool:
        """Tell whether who holds this has nothing that a newer table has taken from it."""
        return self.owned <= newer.owned and self.draining <= newer.owned | newer.draining


class Pledges:
    """What one life may promise, from look to look at the store."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._willing = False
        self._refused: frozenset[str] = frozenset()
        self._version = 0
        self._held: dict[str, list[_Part]] = {}  # what each host may hold, the newest first
        self.contacts: dict[str, Contact] = {}

    def fence(self) -> None:
        """Know that nothing which this host sent earlier can be done any more (F7, F4)."""
        self._willing, self._refused = True, frozenset()

    def lapse(self) -> None:
        """Promise nothing, before there is a fence."""
        self._willing = False

    def refuse(self, hosts: frozenset[str]) -> None:
        """Promise nothing to hosts from which this one is to take over, until it is known what
        became of that."""
        self._refused |= hosts

    def spare(self, hosts: frozenset[str]) -> None:
        """Know what became of a takeover."""
        self._refused -= hosts

    def look(self, snapshot: Snapshot, quiet: Collection[str]) -> None:
        """Learn whom to know, and what each may hold; `quiet` hosts have heard nothing for long."""
        for host, member in members(snapshot).items():
            if member.contact is None or host == self._me:
                self.contacts.pop(host, None)
            else:
                self.contacts[host] = member.contact
        entry = snapshot.get(TABLE)
        if entry is None:
            self._willing, self._held = False, {}
        elif entry.version != self._version:
            self._version = entry.version
            self._follow(Table.load(entry.value))
        for host in quiet:
            # What it was given meanwhile, nobody serves: better that it is taken over from.
            self._held[host] = self._held.get(host, [])[:1]

    def _follow(self, table: Table) -> None:
        newest: dict[str, tuple[set[int], set[int]]] = {}
        for bucket, owner in enumerate(table.owners):
            newest.setdefault(owner, (set(), set()))[0].add(bucket)
        for bucket, hosts in table.drains.items():
            for host in hosts - {table.owners[bucket]}:
                newest.setdefault(host, (set(), set()))[1].add(bucket)
        held = {}
        for host in {*newest, *self._held}:
            owned, draining = newest.get(host, (set(), set()))
            before = self._held.get(host, [])
            if before and (before[0].owned, before[0].draining) == (owned, draining):
                held[host] = before  # most have what they had, and digests take time
                continue
            now = _Part(owned, draining, part(owned, draining))
            held[host] = [now, *(one for one in before if one.is_within(now))][:_PARTS]
        self._held = held

    def ground(self) -> Ground:
        """Return by what to promise from now on."""
        parts = {h: frozenset(one.digest for one in held) for h, held in self._held.items()}
        return Ground(self._willing, self._refused, self._version, parts, dict(self.contacts))
