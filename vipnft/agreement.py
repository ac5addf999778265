# What the agents of a cluster agree on, and how one of them decides. design: "The cluster".
# Rule 1: at no instant do two hosts answer for one bucket. A gap is a delay; an overlap breaks
#         connections.
# Rule 2: arm, beat, grant. The kernel's timer starts before the beat is sent and granting carries
#         no time, so that the lease ends in time however long this process is paused anywhere.
# Rule 3: a table is written on one condition at least: that it is still the version whose
#         content is in this host's kernel.
# Rule 4: a dead host's buckets are taken when its beat stood still for its lease and a tenth and
#         50 ms, counted from after it was first read; and only if it stands still to the end.
# Rule 5: a living host's bucket leaves by its own hand: its kernel first, then the table.
# Rule 6: at start, and after a table write whose outcome nobody knows, the table is written once
#         more, unchanged; before that no bucket enters the kernel.
# Rule 7: no clock, store or kernel here: effects go out, results come in. What is between two
#         effects happens at one instant, what is at them may take any time.
"""One agent's part in the agreement, as a generator of effects."""

from collections.abc import Collection, Generator, Mapping
from typing import Any

from vipnft.buckets import assign
from vipnft.errors import UsageError
from vipnft.pact import (
    TABLE,
    Arm,
    Effect,
    Flush,
    Grant,
    Hold,
    Member,
    Note,
    Params,
    Said,
    Table,
    Transact,
    Wait,
    Wish,
    drainers,
    key_of,
    members,
    patience,
)

Life = Generator[Effect, Any, str]


class Agent:
    """One life of an agent; `live` is the generator that a driver runs."""

    def __init__(self, params: Params, wish: Wish) -> None:
        self.params, self.wish = params, wish
        self._table: Table | None = None  # what the kernel holds
        self._version = 0  # of that table in the store
        self._fenced = False
        self._beat = self._mine = 0  # my counter, and my key's version
        self._slot = 0
        self._seen: dict[str, tuple[int, float]] = {}  # others' versions, since when (my clock)

    def live(self) -> Life:
        """Beat until asked to stop and everything is given away; returns why it ended."""
        yield Flush()
        yield from self._meet((yield from self._until_known(Transact({}, {}))))
        while True:
            said = yield from self._renew()
            if said is None:
                self.wish = yield Wait()
                continue
            self._look(said)
            step = self._step(said)
            if step is not None:
                yield from self._write(*step)
                continue
            if self.wish.stop and self._idle():
                return "gave everything away"
            self.wish = yield Wait()

    # The lease.

    def _renew(self) -> Generator[Effect, Any, Said | None]:
        """Arm, beat, grant; None if the store did not answer."""
        p = self.params
        while True:
            self._slot ^= 1
            yield Arm(self._slot, p.lease)
            member = Member(p.incarnation, self._beat + 1, p.lease, self.wish.weight)
            said: Said | None = yield Transact(
                {TABLE: self._version, key_of(p.me): self._mine}, {key_of(p.me): member.dump()}
            )
            if said is None:
                # The beat may have happened or may yet: my key's version tells, next time.
                said = yield from self._until_known(Transact({}, {}))
                self._recognize(said)
                yield from self._follow(said)
                return None
            if said.done:
                self._beat, self._mine = member.beat, said.snapshot[key_of(p.me)].version
                yield Grant(self._slot)
                return said
            self._recognize(said)
            yield from self._follow(said)

    def _recognize(self, said: Said) -> None:
        """Learn my own key's version; another life under my name ends this one."""
        entry = said.snapshot.get(key_of(self.params.me))
        if entry is None:
            self._mine = 0
            return
        member = Member.load(entry.value)
        if member.incarnation != self.params.incarnation:
            raise UsageError(
                f"another machine runs an agent as {self.params.me}",
                fix="give each machine its own name (--host)",
            )
        self._beat, self._mine = member.beat, entry.version

    def _until_known(self, read: Transact) -> Generator[Effect, Any, Said]:
        while True:
            said: Said | None = yield read
            if said is not None:
                return said
            self.wish = yield Wait()

    # Start.

    def _meet(self, said: Said) -> Life:
        """Find my key free, or wait until whoever beats under my name is known dead."""
        me = key_of(self.params.me)
        first = said.snapshot.get(me)
        while first is not None:
            since = said.now
            span = patience(Member.load(first.value).lease)
            while said.now - since < span:
                self.wish = yield Wait()
                said = yield from self._until_known(Transact({}, {}))
                now = said.snapshot.get(me)
                if now is None or now.version != first.version:
                    raise UsageError(
                        f"an agent beats as {self.params.me} already",
                        fix="stop it, or give this machine its own name (--host)",
                    )
            taken = yield Transact({me: first.version}, {me: None})
            said = taken or (yield from self._until_known(Transact({}, {})))
            first = said.snapshot.get(me)
        yield from self._follow(said)
        return ""

    # The table.

    def _follow(self, said: Said) -> Generator[Effect, Any, None]:
        """Bring the kernel to the newest table; fence first where that is not yet done."""
        while True:
            entry = said.snapshot.get(TABLE)
            if entry is None:
                self._table, self._version, self._fenced = None, 0, False
                yield Hold(frozenset(), frozenset(), frozenset())
                return
            if self._fenced:
                yield from self._adopt(Table.load(entry.value), entry.version)
                return
            again = yield Transact({TABLE: entry.version}, {TABLE: entry.value})
            if again is None:
                said = yield from self._until_known(Transact({}, {}))
            else:
                self._fenced, said = again.done, again

    def _adopt(self, table: Table, version: int) -> Generator[Effect, Any, None]:
        if version != self._version:
            yield self._hold(table)
            self._table, self._version = table, version

    def _hold(self, table: Table, releasing: Collection[int] = ()) -> Hold:
        """Return what the kernel is to hold of a table; what is being released drains already."""
        me, gone = self.params.me, frozenset(releasing)
        mine = frozenset(b for b, owner in enumerate(table.owners) if owner == me) - gone
        joining = frozenset(b for b in mine if table.drains.get(b, frozenset()) - {me})
        draining = frozenset(
            b for b, hosts in table.drains.items() if me in hosts and table.owners[b] != me
        )
        return Hold(mine, joining, draining | gone)

    def _look(self, said: Said) -> None:
        """Note since when each other host's beat stands still."""
        for key, entry in said.snapshot.items():
            if key.startswith("host/") and self._seen.get(key, (0, 0.0))[0] != entry.version:
                self._seen[key] = (entry.version, said.now)
        self._seen = {key: seen for key, seen in self._seen.items() if key in said.snapshot}

    def _step(self, said: Said) -> tuple[Table, dict[str, int], frozenset[int], str] | None:
        """Return the next table, its further conditions, what it releases of mine, and why."""
        me, known = self.params.me, members(said.snapshot)
        dead = {
            host
            for host, member in known.items()
            if host != me and said.now - self._seen[key_of(host)][1] >= patience(member.lease)
        }
        weights = {h: m.weight for h, m in known.items() if h not in dead}
        if not any(weights.values()):
            weights = dict.fromkeys(weights, 1)  # everybody fails: a broken check stops nothing
        if self._table is None:
            return Table(assign(weights, self.params.buckets)), {}, frozenset(), "first table"
        old = self._table
        target = assign(weights, len(old.owners), old.owners)
        lost = dead | ({*old.owners, *drainers(old)} - set(known))
        owners = tuple(
            new if owner in lost else owner for owner, new in zip(old.owners, target, strict=True)
        )
        drains = {b: hosts - lost for b, hosts in old.drains.items()}
        if owners != old.owners or drains != dict(old.drains):
            conditions = {
                key_of(host): said.snapshot[key_of(host)].version if host in known else 0
                for host in lost & ({*old.owners} | drainers(old))
            }
            return Table(owners, _some(drains)), conditions, frozenset(), f"{_names(lost)} dead"
        given = frozenset(
            b for b, (o, n) in enumerate(zip(old.owners, target, strict=True)) if o == me != n
        )
        if given:
            owners = tuple(target[b] if b in given else o for b, o in enumerate(old.owners))
            drains = {
                **old.drains,
                **{b: old.drains.get(b, frozenset()) - {target[b]} | {me} for b in given},
            }
            return Table(owners, _some(drains)), {}, given, f"{len(given)} buckets given away"
        over = frozenset(b for b in self.wish.drained if me in old.drains.get(b, frozenset()))
        if over:
            drains = {b: hosts - {me} if b in over else hosts for b, hosts in old.drains.items()}
            return Table(old.owners, _some(drains)), {}, frozenset(), f"{len(over)} drained"
        return None

    def _write(
        self, table: Table, conditions: dict[str, int], releasing: frozenset[int], why: str
    ) -> Generator[Effect, Any, None]:
        if releasing and self._table is not None:
            yield self._hold(self._table, releasing)  # by my own hand: the kernel first
        said = yield Transact({TABLE: self._version, **conditions}, {TABLE: table.dump()})
        if said is None:
            self._fenced = False
            said = yield from self._until_known(Transact({}, {}))
        elif said.done:
            self._fenced = True
            yield Note(why)
        if releasing:
            self._version = -1  # the kernel holds no table's content now: take it up anew
        yield from self._follow(said)

    def _idle(self) -> bool:
        """Tell whether nothing is mine any more, not even a drain."""
        if self._table is None:
            return True
        hold = self._hold(self._table)
        return not hold.owned and not hold.draining


def _some(drains: Mapping[int, frozenset[str]]) -> dict[int, frozenset[str]]:
    return {b: hosts for b, hosts in drains.items() if hosts}


def _names(hosts: Collection[str]) -> str:
    return ", ".join(sorted(hosts))
