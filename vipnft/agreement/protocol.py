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
from vipnft.agreement.key import NOBODY, Key, RivalError
from vipnft.agreement.known import Known
from vipnft.agreement.peers import Peers
from vipnft.agreement.proposals import Proposals
from vipnft.agreement.records import (
    RENEWAL_S,
    TABLE,
    Member,
    Order,
    Standing,
    Table,
    key_of,
    order,
    patience,
)
from vipnft.agreement.steps import Step, parties
from vipnft.errors import UsageError

Effects = Generator[Effect, Any, End]

_TRIES = 5
"""Of giving buckets away while others give theirs."""


class Life:
    """One life of an agent; `live` is the generator that a driver runs."""

    def __init__(self, params: Params, wish: Wish) -> None:
        self.params, self.wish = params, wish
        self._known = Known()
        self._key = Key(params)
        self._slot = 0
        self._order = Order()
        self._peers = Peers(params.me, params.lease)
        self._proposals = Proposals(params, self._peers)

    def live(self) -> Effects:
        """Beat until asked to stop and everything is given away; returns why it ended."""
        yield Flush()
        while True:
            yield from self._meet((yield from self._until_known()))
            try:
                return (yield from self._serve())
            except RivalError:
                # A key that somebody wrote once is no machine: whether it moves will tell.
                yield Adopt(None, self.params.me)
                yield Note("another agent's key under this name: silent until it has stood still")
                self._known = Known()

    def _serve(self) -> Effects:
        """Beat as `live` does; RivalError where another life's key stands in place of mine."""
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
            if self.wish.standing is Standing.STOPPING and self._proposals.is_idle(
                said, self._known.table
            ):
                yield Transact(
                    {key_of(self.params.me): self._key.version}, {key_of(self.params.me): None}
                )
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
            self.wish = yield Wait(self._proposals.outlook.near, most)
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
            member = self._key.next(self.wish, self._order, lease)
            said: Reply | None = yield Transact(
                {TABLE: self._known.version, key_of(p.me): self._key.version},
                {key_of(p.me): member.dump()},
            )
            if said is None:
                if self._holds():
                    yield Grant(idle)  # nobody takes over from who holds
                    self._slot = idle
                # The beat may have happened or may yet: my key's version tells, next time.
                said = yield from self._until_known()
                self._look(said)
                self._key.recognize(said.snapshot)
                yield from self._follow(said)
                return None
            self._look(said)
            if said.done:
                self._key.done(member, said.snapshot)
                self._known.beaten = True
                yield Grant(idle)
                self._slot = idle
                return said
            self._key.recognize(said.snapshot)
            yield from self._follow(said)

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
        first = said.snapshot.get(me, NOBODY)
        member, since = Member.load(first.value), said.now
        while member and not self._key.is_mine(first):
            if said.now - since >= patience(member.lease):
                self._key.bury(first.version)  # it is over
                break
            self.wish = yield Wait()
            said = yield from self._until_known()
            entry = said.snapshot.get(me, NOBODY)
            if entry.version != first.version:
                if self._key.is_mine(entry):
                    break
                raise UsageError(
                    f"an agent beats as {self.params.me} already",
                    fix="stop it, or give this machine its own name (--host)",
                )
        self._key.recognize(said.snapshot)
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
        return self._proposals.next(said, self._known, self.wish, self._key.beat)

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
