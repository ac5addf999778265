"""What this host's buckets carry, measured once a period, for its key in the store.

Rule 1: whoever reads the kernel's counts brings them, in whatever thread; the loop only takes what
        came of it last.
"""

from collections.abc import Iterable

from vipnft.agreement.loads import Load
from vipnft.buckets.measured import Measured
from vipnft.kernel.load import Counted
from vipnft.model import Agents, Balance, Owners


class Weighing:
    """One life's, of host `me`: `carries` is what there is to say; None where buckets are dealt by
    number."""

    def __init__(self, agents: Agents, me: str) -> None:
        self._every, self._me = agents.balance_every, me
        self._measured = Measured()
        self._at = 0.0
        self._known: dict[int, float] = {}  # what others said last of each bucket
        self.carries = Load(self._every) if agents.balance is Balance.LOAD else None

    def look(self, counts: Counted, owners: Owners, others: Iterable[Load], now: float) -> None:
        """Note what the kernel counted by now, by bucket, if it is time to; `others`: what the
        other hosts' buckets carry."""
        if self.carries is None:
            return
        for load in others:
            self._known.update(load.heaviest)
        if not counts or now < self._at:
            return
        self._at = now + self._every
        own = {
            bucket: packets
            for bucket, (packets, _) in counts.items()
            if bucket < len(owners) and owners[bucket] == self._me
        }
        self._measured.look(own, now, self._known)
        rates, doubt = self._measured.rates, self._measured.doubt
        self.carries = Load.of(self._every, self._measured.periods, rates, doubt)
