"""Promises between hosts by UDP: one asks, a thread of each other answers.

Rule 1: a call to the store that hangs delays no answer: they are given in a thread of their own.
Rule 2: only the answer to the question that is open counts, and only from whom it was put to.
Rule 3: whether the others hear is looked at all the time, before a promise is needed.
Rule 4: bytes that are worth nothing cost this process little, however many come.
"""

import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from vipnft.agent.answers import Answers
from vipnft.agent.signals import start_apart
from vipnft.agreement.datagrams import Datagram, Kind, fits
from vipnft.agreement.effects import Ask
from vipnft.agreement.promises import Ground
from vipnft.agreement.records import Contact
from vipnft.kernel.datagrams import Datagrams

_CALL_S = 5.0  # seconds between two rounds of calls
_CALLS = 8  # a round: all hosts in turn, so that many hosts don't cost more
_MISSED = 2  # calls in a row that nobody answered tell that he does not hear
_TIMES = 4  # a question is put in the time that it has
_WORTHLESS_S = 0.001  # seconds of rest after bytes that are worth nothing
_ADDRESSES = 8  # that a key has room for
_NO_ADDRESS = "this host has no address of its own on the VIPs' interfaces"
_SHOWN = 16  # of the hosts that don't hear, at most


@dataclass(slots=True)
class _Open:
    """The question that is open: what an answer has to say, to whom it was put, who promised, and
    who refused, why; `yes` is what kind of answer a promise is."""

    counter: int = 0
    nonce: bytes = b""
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    promised: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    yes: Kind = Kind.PROMISE

    @property
    def left(self) -> set[str]:
        """Who has not answered."""
        return set(self.contacts) - self.promised - self.refused.keys()


class _Calls:
    """Who answers when he is called."""

    def __init__(self) -> None:
        self._nonce, self._number = secrets.token_bytes(8), 0
        self._at = 0.0
        self._missed: dict[str, int] = {}  # calls in a row without an echo; who waits longest first
        self._last: dict[str, int] = {}  # the number of the last round that he was called in

    def left(self) -> float:
        """Return for how many seconds there is nothing to do."""
        return self._at - time.monotonic()

    def round(self, contacts: Mapping[str, Contact]) -> _Open:
        """Return who is called now, and by what."""
        self._at = time.monotonic() + _CALL_S
        self._number += 1
        waiting = {host: n for host, n in self._missed.items() if host in contacts}
        fresh = [host for host in sorted(contacts) if host not in waiting]
        called = [*fresh, *waiting][:_CALLS]
        more = {host: waiting.pop(host, 0) + 1 for host in called}
        self._missed = {**waiting, **more}
        self._last.update(dict.fromkeys(called, self._number))
        return _Open(self._number, self._nonce, {host: contacts[host] for host in called})

    def echoed(self, said: Datagram) -> None:
        """Note an echo of the last call."""
        if (said.counter, said.nonce) == (self._last.get(said.sender), self._nonce):
            self._missed[said.sender] = 0

    def unheard(self) -> frozenset[str]:
        """Return who missed two calls in a row, the first 16 of them."""
        missed = sorted(host for host, n in list(self._missed.items()) if n >= _MISSED)
        return frozenset(missed[:_SHOWN])


class Promises:
    """Host `me`'s in one life: asks and answers at a UDP port while it is used as a context
    manager; `why` says why some of its addresses can't be used."""

    def __init__(self, me: str, port: int) -> None:
        self._me, self._secret = me, secrets.token_hex(16)
        self._net = Datagrams(port)
        self._answers = Answers(me, self._secret, time.monotonic)
        self._changed = threading.Condition()
        self._open = _Open()
        self._counter = 0
        self._calls = _Calls()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="promises", daemon=True)
        self.why = ""
        self.refused: Mapping[str, int] = {}  # who refused when asked last, and why

    def __enter__(self) -> Self:
        start_apart(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._net.wake()
        self._thread.join()
        self._net.close()

    def look(self, addresses: Collection[str]) -> None:
        """Be where this host's own addresses are by now, at the first 8 of them."""
        few = tuple(addresses)[:_ADDRESSES]
        if set(few) != set(self._net.addresses) or self.why or not few:
            self.why = self._net.stand(few) if few else _NO_ADDRESS

    @property
    def contact(self) -> Contact | None:
        """Where the others are to ask; None while they can't."""
        addresses = self._net.addresses
        return Contact(addresses, self._net.port, self._secret) if addresses else None

    @property
    def unheard(self) -> frozenset[str]:
        """Hosts that don't answer when they are called, the first 16 of them."""
        return self._calls.unheard()

    def stand(self, ground: Ground) -> Mapping[str, float]:
        """Promise by this ground alone from now on; return when whom was promised last, in
        monotonic seconds."""
        return self._answers.stand(ground)

    def ask(self, asked: Ask, within: float) -> frozenset[str]:
        """Ask hosts to promise, or whether they would; return those that do within so many seconds,
        or as soon as all have answered."""
        until = time.monotonic() + within
        self._counter += 1
        kind, yes = Kind.QUESTION, Kind.PROMISE
        if not asked.firm:
            kind, yes = Kind.INQUIRY, Kind.WOULD
        one = _Open(self._counter, secrets.token_bytes(8), dict(asked.contacts), yes=yes)
        with self._changed:
            self._open = one
        while one.left and (now := time.monotonic()) < until:
            for host in one.left:
                self._put(kind, host, one, asked)
            with self._changed:
                self._changed.wait_for(lambda: not one.left, min(within / _TIMES, until - now))
        with self._changed:
            self._open = _Open()
            self.refused = dict(one.refused)
            return frozenset(one.promised)

    def _put(self, kind: Kind, host: str, one: _Open, asked: Ask | None = None) -> None:
        """Say one thing to a host, at all of its addresses."""
        contact = one.contacts[host]
        data = Datagram(
            kind=kind,
            sender=self._me,
            receiver=host,
            counter=one.counter,
            nonce=one.nonce,
            version=asked.version if asked else 0,
            part=asked.part if asked else "",
        ).sealed(self._secret, contact.secret)
        for address in contact.addresses:
            self._net.send(address, contact.port, data)

    # The thread.

    def _run(self) -> None:
        while not self._over:
            for data, address, port, here in self._net.receive(self._calls.left()):
                if not self._take(data, address, port, here):
                    time.sleep(_WORTHLESS_S)
            if self._calls.left() <= 0:
                contacts = self._answers.ground.contacts
                one = self._calls.round(contacts)
                for host in one.contacts:
                    self._put(Kind.CALL, host, one)

    def _take(self, data: bytes, address: str, port: int, here: str) -> bool:
        """Answer a question, or note an answer; tell whether it was either."""
        said = Datagram.load(data)
        if said is None or said.receiver != self._me:
            return False
        if said.kind in {Kind.QUESTION, Kind.INQUIRY, Kind.CALL, Kind.KNOCK}:
            answer = self._answers.answer(said, data)
            if answer is not None:
                self._net.send(address, port, answer, by=here)
            return answer is not None
        return self._note(said, data)

    def _note(self, said: Datagram, data: bytes) -> bool:
        with self._changed:
            one = self._open
            contacts = one.contacts if said.kind is not Kind.ECHO else self._answers.ground.contacts
            contact = contacts.get(said.sender)
            if contact is None or not fits(data, self._secret, contact.secret):
                return False
            if said.kind is Kind.ECHO:
                self._calls.echoed(said)
            elif (said.counter, said.nonce) == (one.counter, one.nonce):
                if said.kind is one.yes:
                    one.promised.add(said.sender)
                else:
                    one.refused[said.sender] = said.version
                self._changed.notify_all()
            return True
