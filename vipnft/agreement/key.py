"""This host's own key, as one life writes it.

Rule 1: a beat is put in place of the key that this life knows, and of no other: two lives can't
        beat under one name.
Rule 2: whoever may take over from this host is asked before it carries on without the store: all
        that its beat names which is known done, and all that any names which may be done yet.
"""

from vipnft.agreement.effects import Params, Wish
from vipnft.agreement.records import Member, Order, Standing, key_of
from vipnft.model import Entry, Snapshot

NOBODY = Entry(b"", 0)


class RivalError(Exception):
    """Another life beats under this host's name, or a key says so."""


class Key:
    """One life's: `version` is what stands in the store; `beat` the newest number."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self.beat = self.version = 0
        self._lives = {params.incarnation, *params.former}
        self._buried = -1  # the version of a key whose life, another machine's, is over
        self._named: frozenset[str] = frozenset()  # by the newest beat that is known done
        self._maybe: frozenset[str] = frozenset()  # by those since then

    @property
    def asked(self) -> frozenset[str]:
        """Who must promise, before this host carries on without the store (F2)."""
        return self._named | self._maybe

    def next(self, wish: Wish, said: Order, lease: float, knows: frozenset[str]) -> Member:
        """Return the next beat, as the host is and as an operator said of it. It is to be sent:
        from now on it may be done."""
        p, standing = self._params, wish.standing
        if said.drained and standing is not Standing.STOPPING:
            standing = Standing.DRAINED
        weight = wish.weight if said.weight is None else said.weight
        self._maybe |= knows
        return Member(
            p.incarnation,
            self.beat + 1,
            lease,
            weight,
            standing,
            p.hold_on_loss,
            wish.taken,
            knows,
            p.contact if p.failsafe else None,
            wish.unheard,
            wish.carries,
        )

    def done(self, member: Member, snapshot: Snapshot) -> None:
        """Note that a beat was done."""
        self.beat, self.version = member.beat, snapshot[key_of(self._params.me)].version
        self._named, self._maybe = member.knows, frozenset()

    def recognize(self, snapshot: Snapshot) -> None:
        """Learn the key's version; RivalError if it is another life's."""
        entry = snapshot.get(key_of(self._params.me), NOBODY)
        if entry.version != self._buried and not self.is_mine(entry):
            raise RivalError
        member = Member.load(entry.value)
        of_this_life = member is not None and member.incarnation == self._params.incarnation
        if member is not None and of_this_life and entry.version != self.version:
            self._named, self._maybe = member.knows, frozenset()  # no other can be done any more
        self.version = entry.version

    def is_mine(self, entry: Entry) -> bool:
        """Tell whether a key under my name is no other life's."""
        member = Member.load(entry.value)
        return member is None or member.incarnation in self._lives

    def bury(self, version: int) -> None:
        """Note that the life whose key has that version, another machine's, is over."""
        self._buried = version
