"""Who owns which bucket, what moves, and how people read it.

Rule 1: a host's count is the floor or ceiling of its exact share, whatever a dict's order.
Rule 2: with previous owners, no assignment within rule 1 moves fewer buckets.
Rule 3: without, the result depends on names, weights and size: for hosts that never talk (`split`).
Rule 4: no clock, file, socket, environment, log, nor hash(), which differs per process.
"""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import shake_128
from typing import NamedTuple

from vipnft.buckets.rendezvous import split
from vipnft.errors import UsageError
from vipnft.model import MAX_BUCKETS, Owners

MAX_WEIGHT = 1000


class Move(NamedTuple):
    """One bucket that changes owner; `source` None: it had none."""

    bucket: int
    source: str | None
    target: str


def assign(
    weights: Mapping[str, int],
    size: int,
    previous: Sequence[str | None] | None = None,
    *,
    salt: bytes = b"",
) -> Owners:
    """Return the owner of each of `size` buckets (1 to 65536), by weight (0 to 1000 each).

    Each host gets the floor or the ceiling of its exact share. With `previous` (one owner per
    bucket; None or a host that is gone: must move) the fewest possible buckets change owner.
    Without, the result depends on the arguments alone, not on the order of `weights`. Who does not
    know the `salt` can't tell from the hosts' names who owns what.
    UsageError: no host with a weight, or weight, size or length of `previous` unfit.
    """
    _require_sound(weights, size)
    if previous is None:
        return split(weights, size, salt)
    _require_length(previous, size)
    return _resplit(weights, previous, salt)


def moves(before: Sequence[str | None], after: Owners) -> tuple[Move, ...]:
    """Return the buckets whose owner differs, by bucket; UsageError: lengths differ."""
    _require_length(before, len(after))
    every = (Move(bucket, before[bucket], owner) for bucket, owner in enumerate(after))
    return tuple(move for move in every if move.source != move.target)


def _require_sound(weights: Mapping[str, int], size: int) -> None:
    if not 1 <= size <= MAX_BUCKETS:
        raise UsageError(f"{size} buckets", fix=f"use 1 to {MAX_BUCKETS}")
    for name, weight in weights.items():
        if not 0 <= weight <= MAX_WEIGHT:
            fix = f"give it a whole number from 0 (no buckets) to {MAX_WEIGHT}"
            raise UsageError(f"host {name!r} has weight {weight}", fix=fix)
    if not any(weights.values()):
        fix = "add a host, or give one a weight above 0"
        raise UsageError("no host has a weight above 0, so nobody can own a bucket", fix=fix)


def _require_length(previous: Sequence[str | None], size: int) -> None:
    if len(previous) != size:
        fix = f"give {size} owners, or none to split afresh"
        raise UsageError(f"previous owners of {len(previous)} buckets, not {size}", fix=fix)


def _quotas(
    weights: Mapping[str, int], previous: Sequence[str | None], salt: bytes
) -> dict[str, int]:
    """Return each host's count, in order of names."""
    total = sum(weights.values())
    shares = {name: divmod(len(previous) * weights[name], total) for name in sorted(weights)}
    quotas = {name: floor for name, (floor, _) in shares.items()}
    held = Counter(previous)

    # The ceilings save a move each at hosts that hold so many already; then by remainder, hash.
    def claim(name: str) -> tuple[bool, int, bytes]:
        floor, rest = shares[name]
        return held[name] <= floor, -rest, shake_128(salt + name.encode()).digest(8)

    uneven = [name for name in quotas if shares[name][1]]
    for name in sorted(uneven, key=claim)[: len(previous) - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _resplit(weights: Mapping[str, int], previous: Sequence[str | None], salt: bytes) -> Owners:
    """Keep what the quotas let each host keep, and hand the rest to hosts with room by score."""
    held: dict[str | None, list[int]] = {}
    for bucket, name in enumerate(previous):
        held.setdefault(name, []).append(bucket)
    owners: dict[int, str] = {}
    room: dict[str, int] = {}
    scores: dict[str, tuple[int, ...]] = {}
    for name, quota in _quotas(weights, previous, salt).items():
        kept = held.get(name, [])
        if len(kept) != quota:
            scores[name] = _scores(name, len(previous), salt)
            kept = sorted(kept, key=scores[name].__getitem__)[:quota]
        if len(kept) < quota:
            room[name] = quota - len(kept)
        owners |= dict.fromkeys(kept, name)
    for bucket in range(len(previous)):
        if bucket not in owners:
            ranked = ((scores[name][bucket], name) for name, free in room.items() if free)
            owners[bucket] = min(ranked)[1]
            room[owners[bucket]] -= 1
    return tuple(owners[bucket] for bucket in range(len(previous)))


def _scores(name: str, size: int, salt: bytes) -> tuple[int, ...]:
    """Return which buckets a host rather has, from its name and the salt alone; low is good."""
    return struct.unpack(f"<{size}I", shake_128(salt + name.encode()).digest(4 * size))
