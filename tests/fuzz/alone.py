"""One agent, alone with a store in which anybody may write."""

from typing import Any

from vipnft.agreement.effects import Adopt, Grant, Note, Params, Reply, Transact, Wait, Wish
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import AgreementError, require_legible
from vipnft.model import Entry

BUCKETS, LEASE = 4, 1.0
HOSTS = frozenset({"a", "b"})


class One:
    """Agent `a`, which beats every `beat` seconds."""

    def __init__(self, beat: float = 0.2) -> None:
        self.store: dict[str, Entry] = {}
        self.now, self.version, self._beat = 0.0, 0, beat
        self.part: Adopt | None = None
        self.granted_at = -1.0
        self.notes: list[str] = []
        self.wish = Wish(1)
        self._life = Life(Params("a", "a1", LEASE, BUCKETS, HOSTS), self.wish).live()
        self._effect: Any = next(self._life)
        self.ended = False

    def put(self, key: str, value: bytes) -> None:
        self.version += 1
        self.store[key] = Entry(value, self.version)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until and not self.ended:
            result = self._do(self._effect)
            try:
                self._effect = self._life.send(result)
            except StopIteration:
                self.ended = True

    def serves(self) -> bool:
        owned = self.part.owned if self.part else ()
        return len(owned) == BUCKETS and self.now - self.granted_at <= max(LEASE, self._beat)

    def _do(self, effect: Any) -> Any:
        if isinstance(effect, Transact):
            return self._transact(effect)
        if isinstance(effect, Wait):
            self.now += self._beat
            return self.wish
        if isinstance(effect, Adopt):
            self.part = effect
        if isinstance(effect, Grant):
            self.granted_at = self.now
        if isinstance(effect, Note):
            self.notes.append(effect.text)
        return None

    def _transact(self, asked: Transact) -> Reply | None:
        self.now += 0.001
        there = {key: entry.version for key, entry in self.store.items()}
        done = all(there.get(key, 0) == version for key, version in asked.versions.items())
        for key, value in asked.puts.items() if done else ():
            if value is None:
                self.store.pop(key, None)
            else:
                self.put(key, value)
        try:
            require_legible(self.store, "", BUCKETS)
        except AgreementError:
            return None  # as an agent's exchange has it: the store is away
        return Reply(done, dict(self.store), self.now)
