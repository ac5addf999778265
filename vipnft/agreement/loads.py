"""What a host's buckets carry, as its key in the store says it, and what that makes of each bucket.

Rule 1: a key stays small, however many buckets there are: the heaviest are named, the rest are told
        in one sum, and each of them is taken for the mean of it.
Rule 2: it changes once a period, not with each beat.
Rule 3: who says nothing of it, an older agent perhaps, does not balance: then nobody does.
Rule 4: CPU stands beside it in the key, where an agent that knows of none passes it over.
"""

import base64
import functools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

NAMED = 64
"""Buckets that are named, at most."""
ENOUGH_PERIODS = 3
"""Over how many a host must have measured, before anything moves by it."""
_HEAD = struct.Struct("<IfffI")
_BUCKET = struct.Struct("<He")
_MOST = 1e12  # packets or CPU seconds a second: nobody has more
_MOST_CHARS = -(-(_HEAD.size + NAMED * _BUCKET.size) // 3) * 4
_Buckets = tuple[tuple[int, float], ...]


class Spending(NamedTuple):
    """CPU seconds a second, the packets a second on which they were spent, and by how much the CPU
    may be off (standard deviation). What is next to nothing is nothing: a host that idles for a
    week would have next to no packets, and each cost more than numbers hold."""

    cpu: float
    packets: float
    doubt: float

    def dump(self) -> list[float]:
        """Return it as a key has it."""
        return [float(f"{number:.4g}") for number in self]

    @classmethod
    def read(cls, value: Any) -> "Spending | None":
        """Read what `dump` wrote; None for anything else."""
        is_one = isinstance(value, list) and len(value) == len(cls._fields)
        if not is_one or not all(type(n) in {int, float} and 0 <= n <= _MOST for n in value):
            return None
        return cls(*(round(float(number), 9) for number in value))


@dataclass(frozen=True, slots=True)
class Load:
    """Of one host: over how many `periods` it measured so far, of how many `seconds` each; the
    packets a second of all its buckets, by how much that may be off (standard deviation), how many
    buckets those are, and the heaviest of them with what they carry; `spent`: the CPU that it took,
    where that is measured."""

    seconds: float
    periods: int = 0
    total: float = 0.0
    doubt: float = 0.0
    several: int = 0
    heaviest: _Buckets = ()
    spent: Spending | None = None

    @classmethod
    def of(cls, seconds: float, periods: int, rates: Mapping[int, float], doubt: float) -> "Load":
        """Return what is said of what was measured, as whoever reads it will have it."""
        total = sum(rates.values())
        ranked = sorted(rates, key=lambda bucket: (-rates[bucket], bucket))[:NAMED]
        parts = tuple((bucket, rates[bucket] / total) for bucket in ranked) if total else ()
        return cls.read(cls(seconds, periods, total, doubt, len(rates), parts)._text(1.0))

    @property
    def is_known(self) -> bool:
        """Whether it was measured for long enough."""
        return self.periods >= ENOUGH_PERIODS

    def dump(self) -> str:
        """Return it as a key has it."""
        return self._text(self.total or 1.0)

    def _text(self, whole: float) -> str:
        head = _HEAD.pack(self.periods, self.seconds, self.total, self.doubt, self.several)
        packed = (_BUCKET.pack(bucket, carried / whole) for bucket, carried in self.heaviest)
        return base64.b64encode(head + b"".join(packed)).decode()

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def read(text: str) -> "Load":
        """Read what `dump` wrote; ValueError for anything else."""
        if not isinstance(text, str) or len(text) > _MOST_CHARS:
            raise ValueError("no such load")
        try:
            packed = base64.b64decode(text, validate=True)
            periods, seconds, total, doubt, several = _HEAD.unpack_from(packed)
            parts = tuple(_BUCKET.iter_unpack(packed[_HEAD.size :]))
        except struct.error:
            raise ValueError("no such load") from None
        numbers = (seconds, total, doubt, *(part for _, part in parts))
        if not all(math.isfinite(n) and n >= 0 for n in numbers) or seconds <= 0:
            raise ValueError("no such load")
        return Load(
            seconds, periods, total, doubt, several, tuple((b, p * total) for b, p in parts)
        )


def carried(owners: Sequence[str], loads: Mapping[str, Load]) -> list[float]:
    """Return what each bucket carries, by what its owner says of it; else by what another host
    does, which had it until now; else by the mean of what its owner, or anybody, does not name."""
    named: dict[int, float] = {}
    for load in loads.values():
        for bucket, much in load.heaviest:
            named[bucket] = max(much, named.get(bucket, 0.0))
    means = {host: _unnamed(load) for host, load in loads.items() if load.is_known}
    overall = sum(means.values()) / len(means) if means else 1.0
    own = {host: dict(load.heaviest) for host, load in loads.items()}
    return list(_carried(owners, own, named, means, overall))


def _carried(
    owners: Sequence[str],
    own: Mapping[str, Mapping[int, float]],
    named: Mapping[int, float],
    means: Mapping[str, float],
    overall: float,
) -> Iterator[float]:
    for bucket, owner in enumerate(owners):
        if owner in own and bucket in own[owner]:
            yield own[owner][bucket]
        elif bucket in named:
            yield named[bucket]
        else:
            yield means.get(owner, overall)


def _unnamed(load: Load) -> float:
    rest = load.total - sum(much for _, much in load.heaviest)
    return max(rest, 0.0) / max(load.several - len(load.heaviest), 1)
