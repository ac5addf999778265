"""What hosts say to each other by UDP, as bytes. Pure.

Rule 1: a datagram is sealed with the secrets of both lives, which they tell each other through the
        store. So it is nobody else's, for nobody else, of no earlier life; and as kind, names and
        numbers are under the seal, one is no other.
Rule 2: whatever the bytes are, they make a Datagram or None, never an error.
Rule 3: an answer is no longer than what it answers, so that nobody is flooded by others' hands.
"""

import enum
import hmac
import re
import struct
from dataclasses import dataclass, replace

from vipnft.model import NAME

LONGEST = 256
"""Bytes that no datagram exceeds."""
_MAGIC = b"vip1"
_SEAL = 16
_HEAD = struct.Struct(
    "!4sBBBBQ8sQ"
)  # magic, kind, lengths of what follows, counter, nonce, version
_MOST = 2**63 - 1
_NAMED = re.compile(NAME)
_PART = re.compile(r"[0-9a-f]{0,64}")


class Kind(enum.IntEnum):
    """What a datagram is: a question for a promise, and both answers; a call, by which one knows
    beforehand whether questions will get there, and its echo; the same of an operator's, who is no
    life, and has read the store; an inquiry whether one would promise, and that one would."""

    QUESTION = 1
    PROMISE = 2
    REFUSAL = 3
    CALL = 4
    ECHO = 5
    KNOCK = 6
    HERE = 7
    INQUIRY = 8
    WOULD = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """What one host says to another. `counter` rises from one question of a life's to the next,
    and with `nonce`, 8 random bytes, ties an answer to its question. A question has the `version`
    of the table that its sender goes by, and the digest of his `part` in it; a refusal has in that
    place why: see promises.Reason."""

    kind: Kind
    sender: str
    receiver: str
    counter: int
    nonce: bytes
    version: int = 0
    part: str = ""

    def sealed(self, asker: str, asked: str) -> bytes:
        """Return it as it is sent, under the secrets (hexadecimal) of who asks and who is asked."""
        body = self._dump()
        return body + _seal(body, asker, asked)

    def _dump(self) -> bytes:
        words = (self.sender.encode(), self.receiver.encode(), self.part.encode())
        head = _HEAD.pack(
            _MAGIC, self.kind, *map(len, words), self.counter, self.nonce, self.version
        )
        return head + b"".join(words)

    def answer(self, kind: Kind, why: int = 0) -> "Datagram":
        """Return the answer to this one."""
        return replace(
            self, kind=kind, sender=self.receiver, receiver=self.sender, version=why, part=""
        )

    @classmethod
    def load(cls, data: bytes) -> "Datagram | None":
        """Read what `sealed` wrote, whatever its seal is worth; None for anything else."""
        if not _HEAD.size + _SEAL < len(data) <= LONGEST:
            return None
        magic, kind, a, b, c, counter, nonce, version = _HEAD.unpack_from(data)
        if magic != _MAGIC or kind not in _KINDS or _HEAD.size + a + b + c + _SEAL != len(data):
            return None
        text = data[_HEAD.size : -_SEAL].decode("latin-1")
        sender, receiver, part = text[:a], text[a : a + b], text[a + b :]
        named = _NAMED.fullmatch(sender) and _NAMED.fullmatch(receiver) and _PART.fullmatch(part)
        if not named or max(counter, version) > _MOST:
            return None
        return cls(
            kind=Kind(kind),
            sender=sender,
            receiver=receiver,
            counter=counter,
            nonce=nonce,
            version=version,
            part=part,
        )


def fits(data: bytes, asker: str, asked: str) -> bool:
    """Tell whether what `Datagram.load` read is under these secrets (hexadecimal)."""
    return hmac.compare_digest(data[-_SEAL:], _seal(data[:-_SEAL], asker, asked))


_KINDS = frozenset(Kind)


def _seal(body: bytes, asker: str, asked: str) -> bytes:
    key = bytes.fromhex(asker) + b"/" + bytes.fromhex(asked)
    return hmac.digest(key, body, "sha256")[:_SEAL]
