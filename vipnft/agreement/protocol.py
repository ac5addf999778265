"""How one agent decides, as a generator of effects: docs/design.md, "The cluster".

Rule 1: at no instant do two hosts answer for one bucket. A gap is a delay; an overlap breaks
        connections.
Rule 2: arm, beat, grant. The kernel's timer starts before the beat is sent and granting carries
        no time, so that the lease ends in time however long this process is paused anywhere.
Rule 3: a table is written on one condition at least: that it is still the version whose
        content is in this host's kernel.
Rule 4: a dead host's buckets are taken when its beat stood still for its lease and a tenth and
        50 ms, counted from after it was first read; and only if it stands still to the end.
Rule 5: a living host's bucket leaves by its own hand: its kernel first, then the table.
Rule 6: at start, and after a table write whose outcome nobody knows, the table is written once
        more, unchanged; before that no bucket enters the kernel.
Rule 7: what is absent from the store is not dead before its lease is over: a table that is
        gone is written anew, and a host without a key replaced, after the same wait.
Rule 8: no clock, store or kernel here: effects go out, results come in. What is between two
        effects happens at one instant, what is at them may take any time.
"""

from collections.abc import Generator
from typing import Any

from vipnft.agreement.effects import (
    Adopt,
    Arm,
    Effect,
    End,
    Flush,
    Grant,
    Note,
    Params,
    Reply,
    Transact,
    Wait,
    Wish,
)
from vipnft.agreement.outlook import Outlook
from vipnft.agreement.peers import Peers
from vipnft.agreement.records import (
    RENEWAL_S,
    TABLE,
    Member,
    Order,
    Standing,
    Table,
    key_of,
    members,
    order,
    patience,
    weights,
)
from vipnft.agreement.steps import (
    Step,
    drained,
    giving,
    is_placeholder,
    parties,
    placeholder,
    takeover,
)
from vipnft.errors import UsageError
from vipnft.model import Entry

Effects = Generator[Effect, Any, End]

_TRIES = 5
"""Of giving buckets away while others give theirs."""


_NOBODY = Entry(b"", 0)


class _RivalError(Exception):
    """Another life beats under this host's name, or a key says so."""


class _Known:
    """What this life knows of the table: `table` is what the kernel holds, `version` of it in the
    store; `last` the newest that was there, `real` the newest in which anybody owned anything;
    `fenced`: no earlier write of this host's can come after it; `beaten`: this life's key was
    there once, so that no word about an earlier one counts."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.version = 0
        self.last: Table | None = None
        self.real: Table | None = None
        self.fenced = self.beaten = False

    def take_up(self, table: Table, version: int) -> None:
        """Know that the kernel holds a table."""
        self.table = self.last = table
        if not is_placeholder(table):
            self.real = table
        self.version = version

    def lose(self) -> None:
        """Know that there is none."""
        self.table, self.version, self.fenced = None, 0, False


class Life:
    """One life of an agent; `live` is the generator that a driver runs."""

    def __init__(self, params: Params, wish: Wish) -> None:
        self.params, self.wish = params, wish
        self._known = _Known()
        self._beat = self._mine = 0  # my counter, and my key's version
        self._lives = {params.incarnation, *params.former}
        self._buried = -1  # the version of a key whose life, another machine's, is over
        self._slot = 0
        self._order = Order()
        self._peers = Peers(params.me, params.lease)
        self._outlook = Outlook(params.me, params.salt)

    def live(self) -> Effects:
        """Beat until asked to stop and everything is given away; returns why it ended."""
        yield Flush()
        while True:
            yield from self._meet((yield from self._until_known()))
            try:
                return (yield from self._serve())
            except _RivalError:
                # A key that somebody wrote once is no machine: whether it moves will tell.
                yield Adopt(None, self.params.me)
                yield Note("another agent's key under this name: silent until it has stood still")
                self._known = _Known()

    def _serve(self) -> Effects:
        """Beat as `live` does; _RivalError where another life's key stands in place of mine."""
        while True:
            said = yield from self._renew(self.params.lease)
            if said is None:
                # The store answers again: what is left of the lease may be enough for one more.
                said = yield from self._renew(self.params.lease)
            if said is None:
                self.wish = yield Wait()
                continue
            step = self._step(said)
            if step is not None:
                yield from self._write(step)
                continue
            if self.wish.standing is Standing.STOPPING and self._idle(said):
                yield Transact({key_of(self.params.me): self._mine}, {key_of(self.params.me): None})
                return End.STOPPED
            if self.wish.renew:
                if (yield from self._renew(max(self.params.lease, RENEWAL_S))) is not None:
                    return End.RENEWED
                continue
            yield from self._rest(said.now)

    def _rest(self, now: float) -> Generator[Effect, Any, None]:
        """Wait for the next beat; where buckets are about to come or a host to be declared
        dead, look for that meanwhile."""
        while self._known.table:
            most = self._peers.until_lost(now, parties(self._known.table))
            self.wish = yield Wait(self._outlook.near, most)
            if self.wish.due:
                return
            said: Reply | None = yield Transact({}, {})
            if said is None:
                return
            now = said.now
            self._look(said)
            yield from self._follow(said)
            if self._known.table and self._peers.lost(said) & parties(self._known.table):
                return
        self.wish = yield Wait()

    # The lease.

    def _renew(self, lease: float) -> Generator[Effect, Any, Reply | None]:
        """Arm, beat, grant; None if the store did not answer.

        The slot that is granted is left alone until the other one is: a beat that is refused, for
        somebody changed the table, costs nobody a moment of silence.
        """
        p = self.params
        while True:
            idle = self._slot ^ 1
            yield Arm(idle, lease)
            member = self._member(lease)
            said: Reply | None = yield Transact(
                {TABLE: self._known.version, key_of(p.me): self._mine},
                {key_of(p.me): member.dump()},
            )
            if said is None:
                if self._holds():
                    yield Grant(idle)  # nobody takes over from who holds
                    self._slot = idle
                # The beat may have happened or may yet: my key's version tells, next time.
                said = yield from self._until_known()
                self._look(said)
                self._recognize(said)
                yield from self._follow(said)
                return None
            self._look(said)
            if said.done:
                self._beat, self._mine = member.beat, said.snapshot[key_of(p.me)].version
                self._known.beaten = True
                yield Grant(idle)
                self._slot = idle
                return said
            self._recognize(said)
            yield from self._follow(said)

    def _member(self, lease: float) -> Member:
        p, wish, said = self.params, self.wish, self._order
        standing = wish.standing
        if said.drained and standing is not Standing.STOPPING:
            standing = Standing.DRAINED
        weight = wish.weight if said.weight is None else said.weight
        return Member(
            p.incarnation, self._beat + 1, lease, weight, standing, p.hold_on_loss, wish.taken
        )

    def _recognize(self, said: Reply) -> None:
        """Learn my own key's version; _RivalError if it is another life's."""
        entry = said.snapshot.get(key_of(self.params.me), _NOBODY)
        if entry.version != self._buried and not self._is_mine(entry):
            raise _RivalError
        self._mine = entry.version

    def _is_mine(self, entry: Entry) -> bool:
        """Tell whether a key under my name is no other life's."""
        member = Member.load(entry.value)
        return member is None or member.incarnation in self._lives

    def _until_known(self) -> Generator[Effect, Any, Reply]:
        """Ask until the store answers; who holds carries on with what is in the kernel."""
        while True:
            said: Reply | None = yield Transact({}, {})
            if said is not None:
                return said
            self.wish = yield Wait()
            if self._holds():
                self._slot ^= 1
                yield Arm(self._slot, self.params.lease)
                yield Grant(self._slot)

    def _holds(self) -> bool:
        """Tell whether to carry on without a beat. Not before the first: until then the key that
        stands is an earlier life's, which an operator may have called off."""
        known = self._known
        return self.params.hold_on_loss and known.table is not None and known.beaten

    # Start.

    def _meet(self, said: Reply) -> Generator[Effect, Any, None]:
        """Find my key free, or wait until whoever beats under my name is known dead."""
        me = key_of(self.params.me)
        first = said.snapshot.get(me, _NOBODY)
        member, since = Member.load(first.value), said.now
        while member and member.incarnation not in self._lives:
            if said.now - since >= patience(member.lease):
                self._buried = first.version  # it is over
                break
            self.wish = yield Wait()
            said = yield from self._until_known()
            entry = said.snapshot.get(me, _NOBODY)
            if entry.version != first.version:
                if self._is_mine(entry):
                    break
                raise UsageError(
                    f"an agent beats as {self.params.me} already",
                    fix="stop it, or give this machine its own name (--host)",
                )
        self._recognize(said)
        self._look(said)
        yield from self._follow(said)

    # The table.

    def _look(self, said: Reply) -> None:
        self._order = order(said.snapshot, self.params.me)
        self._peers.look(said, parties(self._known.last) if self._known.last else set())

    def _follow(self, said: Reply) -> Generator[Effect, Any, None]:
        """Bring the kernel to the newest table; fence first where that is not yet done."""
        while True:
            entry = said.snapshot.get(TABLE)
            if entry is None:
                if self._known.table is not None or self._known.version != 0:
                    yield Adopt(None, self.params.me)
                self._known.lose()
                return
            if self._known.fenced:
                if entry.version != self._known.version:
                    yield from self._adopt(Table.load(entry.value), entry.version)
                return
            again = yield Transact({TABLE: entry.version}, {TABLE: entry.value})
            if again is None:
                said = yield from self._until_known()
            else:
                self._known.fenced, said = again.done, again

    def _adopt(self, table: Table, version: int) -> Generator[Effect, Any, None]:
        table.require(self.params.deal, self.params.buckets)
        yield Adopt(table, self.params.me)
        self._known.take_up(table, version)

    def _step(self, said: Reply) -> Step | None:
        """Return what is next for the table to become, by this host's hand."""
        lost, me, old = self._peers.lost(said), self.params.me, self._known.table
        known, quiet = self._fellows(said), self._peers.quiet(said)
        living = {h: m for h, m in known.items() if h == me or self._peers.has_moved(h)}
        shares = weights({host: m for host, m in living.items() if host not in quiet})
        if old is None:
            mark = f"{self.params.incarnation}.{self._beat}"
            return placeholder(mark, self.params.buckets, self.params.deal)
        target = self._outlook.target(shares, old.owners, self._known.real)
        if step := self._takeover(old, target, lost, said):
            return step
        timely = self._outlook.beat(shares, old.owners, target)
        pairs = zip(old.owners, target, strict=True)
        given = frozenset(
            b
            for b, (o, n) in enumerate(pairs)
            if o == me != n and not self._peers.is_late(n, said.now)
        )
        if given and (timely or self.wish.cut_off):
            return giving(old, target, given, me, drain=not self.wish.cut_off)
        over = frozenset(b for b in self.wish.drained if me in old.drains.get(b, frozenset()))
        if over:
            return drained(old, over, me)
        return None

    def _fellows(self, said: Reply) -> dict[str, Member]:
        """Return the keys of those that may be given anything: the cluster file's hosts."""
        return {h: m for h, m in members(said.snapshot).items() if h in self.params.hosts}

    def _takeover(
        self, old: Table, target: tuple[str, ...], lost: set[str], said: Reply
    ) -> Step | None:
        gone = lost & parties(old)
        if not gone:
            return None
        silent = max(self._peers.silence(host, said.now) for host in gone)
        return takeover(old, target, {h: self._peers.version(h) for h in gone}, silent)

    def _write(self, step: Step) -> Generator[Effect, Any, None]:
        if step.given:
            yield Note(step.why)
        for _ in range(_TRIES):
            if step.given:
                yield Adopt(step.table, self.params.me)  # by my own hand: the kernel first
            said = yield Transact(
                {TABLE: self._known.version, **step.conditions}, {TABLE: step.table.dump()}
            )
            again = self._again(step, said)
            if again is None:
                break
            step = again
        if said is None:
            self._known.fenced = False
            said = yield from self._until_known()
        elif said.done:
            self._known.fenced = True
            if not step.given:
                yield Note(step.why)
        self._look(said)
        if step.given:
            self._known.version = -1  # the kernel holds no table's content now: take it up anew
        yield from self._follow(said)

    def _again(self, step: Step, said: Reply | None) -> Step | None:
        """Return what to give on top of a table that somebody else wrote first: what the kernel
        has let go is not taken back for a beat."""
        if not step.given or said is None or said.done or TABLE not in said.snapshot:
            return None
        entry = said.snapshot[TABLE]
        table = Table.load(entry.value)
        table.require(self.params.deal, self.params.buckets)
        self._look(said)
        self._known.take_up(table, entry.version)
        found = self._step(said)
        return found if found is not None and found.given else None

    def _idle(self, said: Reply) -> bool:
        """Tell whether nothing is mine any more, not even a drain; or nobody is there to give
        it to."""
        if self._known.table is None:
            return True
        part = Adopt(self._known.table, self.params.me)
        known, away = self._fellows(said), {self.params.me} | self._peers.quiet(said)
        others = {host: member for host, member in known.items() if host not in away}
        return not (part.owned or part.draining) or not any(weights(others).values())
