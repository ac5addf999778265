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
from dataclasses import replace
from typing import Any

from vipnft.agreement.effects import (
    Adopt,
    Arm,
    Ask,
    Effect,
    End,
    Flush,
    Grant,
    Note,
    Params,
    Reply,
    Stand,
    Transact,
    Wait,
    Wish,
)
from vipnft.agreement.key import NOBODY, Key, RivalError
from vipnft.agreement.known import Known
from vipnft.agreement.peers import Peers
from vipnft.agreement.promises import Pledges, are_all
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
from vipnft.agreement.steps import Step
from vipnft.errors import UsageError

Effects = Generator[Effect, Any, End]

_ELSEWHERE = (
    "another machine's agent under this name may carry on without the store: silent until others"
    " took over from it; if it is off for good, say so: vipnft off"
)
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
        self._peers = Peers(params)
        self._pledges = Pledges(params.me)
        self._denied = False  # somebody did not promise when he was asked last
        self._alive: frozenset[str] = frozenset()  # whom this host knows, at the last look
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
                yield from self._put(None, 0)
                yield Note("another agent's key under this name: silent until it has stood still")
                self._known = Known()
                self._pledges.lapse()
                yield from self._stand()

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
                if (yield from self._refuses(step.dead, said)):
                    yield from self._write(step, said)
                continue
            stopping = self.wish.standing is Standing.STOPPING
            if stopping and self._proposals.is_idle(said, self._known.table):
                yield from self._leave()
                return End.STOPPED
            if self.wish.renew:
                if (yield from self._renew(max(self.params.lease, RENEWAL_S))) is not None:
                    return End.RENEWED
                continue
            yield from self._rest(said)

    def _leave(self) -> Generator[Effect, Any, None]:
        """Take my key away. Where there was nobody to give to, what is left is anybody's from now
        on: this life falls silent, and the key says so."""
        value, held = None, self._known.held
        if self.params.failsafe and (held.owned or held.draining):
            yield Flush()
            last = self._key.next(self.wish, self._order, self.params.lease, frozenset())
            value = replace(last, contact=None).dump()
        key = key_of(self.params.me)
        yield Transact({key: self._key.version}, {key: value})

    def _rest(self, said: Reply | None) -> Generator[Effect, Any, None]:
        """Wait for the next beat; where buckets are about to come or a host to be declared
        dead, look for that meanwhile."""
        while said is not None and self._known.table:
            most = self._peers.until_lost(said, self._known.table.parties)
            self.wish = yield Wait(self._proposals.outlook.near, most)
            if self.wish.due:
                return
            said = yield Transact({}, {})
            if said is None:
                return
            yield from self._look(said)
            yield from self._follow(said)
            if self._known.table and self._peers.lost(said) & self._known.table.parties:
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
            member = self._key.next(self.wish, self._order, lease, self._alive)
            said: Reply | None = yield Transact(
                {TABLE: self._known.version, key_of(p.me): self._key.version},
                {key_of(p.me): member.dump()},
            )
            if said is None:
                yield from self._carry_on(idle, lease)
                # The beat may have happened or may yet: my key's version tells, next time.
                said = yield from self._until_known()
                yield from self._look(said)
                self._key.recognize(said.snapshot)
                yield from self._follow(said)
                return None
            yield from self._look(said)
            if said.done:
                self._key.done(member, said.snapshot)
                self._denied = False
                self._known.beaten = True
                yield Grant(idle)
                self._slot = idle
                return said
            self._key.recognize(said.snapshot)
            yield from self._follow(said)

    def _until_known(self) -> Generator[Effect, Any, Reply]:
        """Ask until the store answers, and carry on meanwhile with what is in the kernel."""
        while True:
            said: Reply | None = yield Transact({}, {})
            if said is not None:
                return said
            yield from self._stay()

    def _stay(self) -> Generator[Effect, Any, None]:
        """Wait for a beat's time, and renew the lease without the store where that may be."""
        self.wish = yield Wait()
        if self._holds() or self._needs_promises():
            idle = self._slot ^ 1
            yield Arm(idle, self.params.lease)
            yield from self._carry_on(idle, self.params.lease)

    def _carry_on(self, slot: int, lease: float) -> Generator[Effect, Any, None]:
        """Grant the armed slot without a beat: nobody takes over from who holds, nor does who
        promised, for such a lease."""
        if self._holds() or (lease == self.params.lease and (yield from self._is_promised())):
            yield Grant(slot)
            self._slot = slot

    def _holds(self) -> bool:
        """Tell whether to carry on without a beat. Not before the first: until then the key that
        stands is an earlier life's, which an operator may have called off."""
        known = self._known
        return self.params.hold_on_loss and known.table is not None and known.beaten

    def _needs_promises(self) -> bool:
        """Tell whether to carry on if all promise: not before the first beat either, nor with an
        empty hand, which would cost others their right to take over, for nothing."""
        held = self._known.held
        has = bool(held.owned or held.draining)
        return self.params.failsafe and self._known.beaten and has

    def _is_promised(self) -> Generator[Effect, Any, bool]:
        """Ask all who might take over from this host; tell whether all promised not to."""
        if not self._needs_promises():
            return False
        yield from self._stand()
        asked, known = self._key.asked, self._pledges.contacts
        contacts = {host: known[host] for host in asked & known.keys()}
        if len(contacts) < len(asked):
            return False
        # Who asks again and again for nothing would keep all others from taking over from it.
        for firm in (False, True) if self._denied else (True,):
            promised: frozenset[str] = frozenset()
            if contacts:
                held = self._known.held
                promised = yield Ask(contacts, self._known.basis, held.part, firm)
            self._denied = not are_all(asked, promised)
            if self._denied:
                return False
        return True

    # Start.

    def _meet(self, said: Reply) -> Generator[Effect, Any, None]:
        """Find my key free, or wait until whoever beats under my name is known dead."""
        me = key_of(self.params.me)
        first = said.snapshot.get(me, NOBODY)
        member, since, told = Member.load(first.value), said.now, False
        yield from self._look(said)
        while member and not self._key.is_mine(first):
            if said.now - since >= patience(member.lease):
                if self._proposals.is_over(said, member, first.version):
                    self._key.bury(first.version)
                    break
                if not told:
                    yield Note(_ELSEWHERE)
                told = True
            self.wish = yield Wait()
            said = yield from self._until_known()
            yield from self._look(said)
            entry = said.snapshot.get(me, NOBODY)
            if entry.version != first.version:
                if self._key.is_mine(entry):
                    break
                raise UsageError(
                    f"an agent beats as {self.params.me} already",
                    fix="stop it, or give this machine its own name (--host)",
                )
        self._key.recognize(said.snapshot)
        yield from self._follow(said)

    # What was seen, and what is promised by that.

    def _look(self, said: Reply) -> Generator[Effect, Any, None]:
        self._order = order(said.snapshot, self.params.me)
        self._peers.look(said, self._known.last.parties if self._known.last else set())
        if self.params.failsafe:
            self._pledges.look(said.snapshot, self._peers.quiet(said))
            yield from self._stand()
            self._alive = self._peers.known(said)

    def _stand(self) -> Generator[Effect, Any, None]:
        """Promise by what is known now; learn whom anything was promised meanwhile."""
        if self.params.failsafe:
            self._peers.promised((yield Stand(self._pledges.ground())))

    def _refuses(self, dead: frozenset[str], said: Reply) -> Generator[Effect, Any, bool]:
        """Promise nothing to the dead from now on; tell whether nothing was, that still counts."""
        if not dead:
            return True
        self._pledges.refuse(dead)
        yield from self._stand()
        if dead <= self._peers.lost(said):
            return True
        self._pledges.spare(dead)
        yield from self._stand()
        return False

    # The table.

    def _follow(self, said: Reply) -> Generator[Effect, Any, None]:
        """Bring the kernel to the newest table; fence first where that is not yet done."""
        failed = False
        while True:
            entry = said.snapshot.get(TABLE)
            if entry is None:
                if self._known.table is not None or self._known.version != 0:
                    yield from self._put(None, 0)
                self._known.lose()
                return
            if self._known.fenced:
                if entry.version != self._known.version:
                    yield from self._adopt(Table.load(entry.value), entry.version)
                return
            again = yield Transact({TABLE: entry.version}, {TABLE: entry.value})
            if again is None:
                if failed:  # a store that answers, and takes nothing
                    yield from self._stay()
                failed, said = True, (yield from self._until_known())
                continue
            said = again
            if said.done:
                self._fence()
                yield from self._look(said)

    def _fence(self) -> None:
        """Know that whatever was sent before this table, by any life, comes too late."""
        self._known.fenced = True
        self._pledges.fence()

    def _put(self, table: Table | None, basis: int) -> Generator[Effect, Any, None]:
        """Have the kernel hold this host's part of a table, which is made from version `basis`."""
        part = Adopt(table, self.params.me)
        yield part
        self._known.hold(part, basis)

    def _adopt(self, table: Table, version: int) -> Generator[Effect, Any, None]:
        table.require(self.params.deal, self.params.buckets)
        yield from self._put(table, version)
        self._known.take_up(table, version)

    def _step(self, said: Reply) -> Step | None:
        return self._proposals.next(said, self._known, self.wish, self._key.beat)

    def _write(self, step: Step, seen: Reply) -> Generator[Effect, Any, None]:
        """Write what was made of what was `seen`, while that is young: who is to be given anything
        may be dead by the time at which a process that was stopped goes on."""
        said: Reply | None = seen
        if step.given:
            yield Note(step.why)
        for _ in range(_TRIES):
            if step.less:
                yield from self._put(step.table, self._known.version)  # the kernel first
            said = yield Transact(
                {TABLE: self._known.version, **step.conditions},
                {TABLE: step.table.dump()},
                by=(said or seen).now + self.params.lease / 2,
            )
            again = yield from self._again(step, said)
            if again is None:
                break
            step = again
        if said is None:
            self._known.fenced = False  # nor is anything promised to the dead before it is
            said = yield from self._until_known()
        elif said.done:
            self._fence()
            if not step.given:
                yield Note(step.why)
        else:
            self._pledges.spare(step.dead)
        yield from self._look(said)
        if step.less:
            self._known.version = -1  # the kernel holds no table's content now: take it up anew
        yield from self._follow(said)

    def _again(self, step: Step, said: Reply | None) -> Generator[Effect, Any, Step | None]:
        """Return what to let go on top of a table that somebody else wrote first: what the kernel
        has let go is not taken back for a beat."""
        if not step.less or said is None or said.done or TABLE not in said.snapshot:
            return None
        entry = said.snapshot[TABLE]
        table = Table.load(entry.value)
        table.require(self.params.deal, self.params.buckets)
        yield from self._look(said)
        self._known.take_up(table, entry.version)
        found = self._step(said)
        return found if found is not None and found.less else None
