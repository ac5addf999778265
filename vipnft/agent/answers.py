"""What a host says to what others ask it by UDP. No socket or thread here.

Rule 1: a promise is given by the ground as it is at that moment, and noted with it, so that who
        changes the ground knows of every promise given before.
Rule 2: a question counts once: one that comes again, by another way or from who kept it, gets the
        answer that it got, which promises nothing new, and an older one gets none.
"""

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from vipnft.agreement.datagrams import Datagram, Kind, fits
from vipnft.agreement.promises import Ground


class _Last(NamedTuple):
    """The last question of an asker's life, by its secret, and the answer."""

    secret: str
    counter: int
    answer: bytes


class Answers:
    """Host `me`'s, in a life with a `secret`; `clock` gives monotonic seconds."""

    def __init__(self, me: str, secret: str, clock: Callable[[], float]) -> None:
        self._me, self._secret, self._clock = me, secret, clock
        self._lock = threading.Lock()
        self._ground = Ground()
        self._promised: dict[str, float] = {}
        self._last: dict[str, _Last] = {}

    @property
    def ground(self) -> Ground:
        """What is promised by."""
        return self._ground

    def stand(self, ground: Ground) -> Mapping[str, float]:
        """Promise by this ground from now on; return when whom was promised last."""
        with self._lock:
            self._ground = ground
            return dict(self._promised)

    def answer(self, asked: Datagram, data: bytes) -> bytes | None:
        """Return what to say to a datagram and its bytes; None if it is worth nothing."""
        if asked.receiver != self._me:
            return None
        if asked.kind is Kind.KNOCK:
            here = asked.answer(Kind.HERE)
            return here.sealed("", self._secret) if fits(data, "", self._secret) else None
        with self._lock:
            contact = self._ground.contacts.get(asked.sender)
            if contact is None or not fits(data, contact.secret, self._secret):
                return None
            if asked.kind is Kind.CALL:
                return asked.answer(Kind.ECHO).sealed(contact.secret, self._secret)
            if asked.kind is Kind.INQUIRY:
                return self._said(asked, Kind.WOULD).sealed(contact.secret, self._secret)
            return self._judged(asked, contact.secret) if asked.kind is Kind.QUESTION else None

    def _said(self, asked: Datagram, yes: Kind) -> Datagram:
        """Return what is said to a question: `yes`, or why not."""
        why = self._ground.refusal(asked.sender, asked.version, asked.part)
        return asked.answer(yes) if why is None else asked.answer(Kind.REFUSAL, why)

    def _judged(self, asked: Datagram, secret: str) -> bytes | None:
        last = self._last.get(asked.sender)
        if last is not None and last.secret == secret and asked.counter <= last.counter:
            return last.answer if asked.counter == last.counter else None
        said = self._said(asked, Kind.PROMISE)
        if said.kind is Kind.PROMISE:
            self._promised[asked.sender] = self._clock()
        answer = said.sealed(secret, self._secret)
        self._last[asked.sender] = _Last(secret, asked.counter, answer)
        return answer
