"""What a host promises to one that has lost the store: docs/design.md, "Failsafe".

Rule 1: a promise is about what the promiser itself will do: not take over from the asker, for the
        asker's lease and a tenth and 50 ms, counted from the promise.
Rule 2: no clock, socket or kernel here. Who asks was authenticated by its contact before; the
        answer is given by the ground that stands at that moment, whatever the agent is waiting for.
"""

import enum
import hashlib
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field, replace

from vipnft.agreement.records import TABLE, Contact, Table, members
from vipnft.model import Snapshot


def part(owned: Collection[int], draining: Collection[int]) -> str:
    """Return the digest of what a host's kernel holds, 32 letters: of both kinds of buckets."""
    whole = f"{sorted(owned)} {sorted(draining)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def are_all(asked: Set[str], promised: Set[str]) -> bool:
    """Tell whether all that were asked promised. With one answer missing, that one may be the one
    who reaches the store: a majority is worth nothing."""
    return asked <= promised


class Reason(enum.IntEnum):
    """Why nothing is promised; UNSAID by older agents."""

    UNSAID = 0
    BEGUN = 1
    TAKES_OVER = 2
    TAKEN = 3


@dataclass(frozen=True, slots=True)
class Less:
    """What a host lost before these eyes: the version of the table that was seen `before`, and of
    the one `after` it, and the digest of the `part` that this one gave it."""

    before: int
    after: int
    part: str


@dataclass(frozen=True, slots=True)
class Ground:
    """By what a host promises: `table` is the newest that it has seen, of a `version`; `contacts`
    tell whom it knows, and the life that is to ask; `quiet` hosts have heard nothing for long;
    `less`: by host, what it was last seen to lose."""

    willing: bool = False
    refused: frozenset[str] = frozenset()
    version: int = 0
    table: Table | None = None
    quiet: frozenset[str] = frozenset()
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    less: Mapping[str, Less] = field(default_factory=dict)

    def refusal(self, asker: str, version: int, held: str) -> Reason | None:
        """Return why nothing is promised to a host whose kernel holds this part, by that `version`
        of the table; None if it is promised."""
        if not self.willing or asker not in self.contacts:
            return Reason.BEGUN
        if not self.spares(asker):
            return Reason.TAKES_OVER
        return None if self.is_current(asker, version, held) else Reason.TAKEN

    def spares(self, asker: str) -> bool:
        """Tell whether no takeover from the asker is under way, or of unknown outcome (F4)."""
        return asker not in self.refused

    def is_current(self, asker: str, version: int, held: str) -> bool:
        """Tell whether nothing can have been taken from the asker that its kernel holds (F5)."""
        if self.table is None:
            return version >= self.version
        # What went from a host before these eyes may have gone by no step, but with a table of the
        # past that somebody put back: it tells nothing of that, and its version may be any.
        less = self.less.get(asker)
        if less is not None and held == less.part:
            version = max(version, less.after)  # by its own hand, and it does not know it is done
        if less is None or version > less.before:
            # What a quiet host was given since, nobody serves: better that it is taken over from.
            spared = asker not in self.quiet and self.table.spared(asker, version)
            if version >= self.version or spared:
                return True
        return held == part(self.table.owned(asker), self.table.draining(asker))

    def then(self, table: Table, version: int) -> "Ground":
        """Return what this is once that table was seen."""
        less = dict(self.less)
        if self.table is not None and self.table.owners != table.owners:
            pairs = zip(self.table.owners, table.owners, strict=False)
            for host in {old for old, new in pairs if old != new}:
                before = max(self.version, less[host].before if host in less else -1)
                less[host] = Less(before, version, part(table.owned(host), table.draining(host)))
        return replace(self, table=table, version=version, less=less)


class Pledges:
    """What one life may promise, from look to look at the store."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._ground = Ground()

    @property
    def contacts(self) -> Mapping[str, Contact]:
        """Whom this host knows, and where each is asked."""
        return self._ground.contacts

    def fence(self) -> None:
        """Know that nothing which this host sent earlier can be done any more (F7, F4)."""
        self._ground = replace(self._ground, willing=True, refused=frozenset())

    def lapse(self) -> None:
        """Promise nothing, before there is a fence."""
        self._ground = replace(self._ground, willing=False)

    def refuse(self, hosts: frozenset[str]) -> None:
        """Promise nothing to hosts from which this one is to take over, until it is known what
        became of that."""
        self._ground = replace(self._ground, refused=self._ground.refused | hosts)

    def spare(self, hosts: frozenset[str]) -> None:
        """Know what became of a takeover."""
        self._ground = replace(self._ground, refused=self._ground.refused - hosts)

    def look(self, snapshot: Snapshot, quiet: Collection[str]) -> None:
        """Learn whom to know, and what each may hold; `quiet` hosts have heard nothing for long."""
        contacts = dict(self._ground.contacts)
        for host, member in members(snapshot).items():
            if member.contact is None or host == self._me:
                contacts.pop(host, None)
            else:
                contacts[host] = member.contact
        entry = snapshot.get(TABLE)
        if entry is None:
            self.lapse()
        elif self._ground.table is None or entry.version != self._ground.version:
            self._ground = self._ground.then(Table.load(entry.value), entry.version)
        self._ground = replace(self._ground, quiet=frozenset(quiet), contacts=contacts)

    def ground(self) -> Ground:
        """Return by what to promise from now on."""
        return self._ground
