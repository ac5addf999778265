"""Where the buckets are to go, and whether it is time.

Rule 1: a move is seen coming for some beats before it begins, so that the others look out for it.
Rule 2: it waits for hosts and weights to stand still, but not for ever.
"""

from collections.abc import Mapping, Set

from vipnft.agreement.evening import Evening, Scales
from vipnft.agreement.records import Table
from vipnft.agreement.steps import prior
from vipnft.buckets.assign import assign
from vipnft.model import Owners

_NOTICE_BEATS = 2
"""Beats for which a move is to be seen coming before it begins, so that the others look out."""
_CALM_BEATS = 15
"""Beats for which a move waits at most for hosts and weights to stand still: of 32 hosts that
start in turn, each would else give a little to each at every beat."""


class Outlook:
    """Host `me`'s, from beat to beat; `near`: a bucket is about to be given to it."""

    def __init__(self, me: str, salt: bytes = b"") -> None:
        self._me, self._salt = me, salt
        self._dealt: tuple[object, Owners] = (None, ())
        self._coming = 0  # beats for which moves have been pending
        self._still = 0  # beats for which hosts and weights have been the same
        self._shares: Mapping[str, int] = {}
        self._evening = Evening()
        self._by_load = False
        self.near = False

    @property
    def why(self) -> str:
        """What moves are for, where they are to even the load."""
        return self._evening.why if self._by_load else ""

    def target(
        self,
        shares: Mapping[str, int],
        owners: Owners,
        real: Table | None,
        pinned: Set[str],
        scales: Scales | None = None,
    ) -> Owners:
        """Return who is to own what, by how much each of the living takes; `real` is the newest
        table in which anybody owned anything. What the `pinned` own stays: they may be alive, and
        can't hear that they are to give it. With `scales` by what buckets carry, else by number."""
        if not any(shares.values()):
            return owners
        self._by_load = scales is not None
        if scales is not None:
            return self._evening.target(shares, prior(owners, real), pinned, scales, self._salt)
        key = (tuple(sorted(shares.items())), owners, frozenset(pinned))
        if self._dealt[0] != key:
            self._dealt = (key, self._deal(shares, owners, prior(owners, real), pinned))
        return self._dealt[1]

    def _deal(
        self, shares: Mapping[str, int], owners: Owners, before: Owners, pinned: Set[str]
    ) -> Owners:
        free = [b for b, owner in enumerate(owners) if owner not in pinned]
        if not free:
            return owners
        target = list(owners)
        dealt = assign(shares, len(free), [before[b] for b in free], salt=self._salt)
        for bucket, owner in zip(free, dealt, strict=True):
            target[bucket] = owner
        return tuple(target)

    def beat(self, shares: Mapping[str, int], owners: Owners, target: Owners) -> bool:
        """Count one beat more; tell whether moves may begin."""
        moves = owners != target
        self._coming = self._coming + 1 if moves else 0
        self._still = self._still + 1 if shares == self._shares else 0
        self._shares = shares
        self.near = moves and any(o != self._me == n for o, n in zip(owners, target, strict=True))
        return self._coming > _NOTICE_BEATS and (
            self._still >= _NOTICE_BEATS or self._coming > _CALM_BEATS
        )
