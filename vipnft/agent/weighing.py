"""What this host's buckets carry, measured once a period, for its key in the store.

Rule 1: whoever reads the kernel's counts brings them, in whatever thread; the loop only takes what
        came of it last.
Rule 2: CPU is read right after the counts, once a period. Where it can't be for some periods, this
        host tells of none, and why; it, and each of the others, says once that packets count then.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from vipnft.agreement.costs import untold
from vipnft.agreement.loads import ENOUGH_PERIODS, Load, Spending
from vipnft.buckets.measured import Measured
from vipnft.buckets.spent import Spent
from vipnft.errors import KernelError
from vipnft.kernel import cgroup
from vipnft.kernel.load import Counted
from vipnft.model import Agents, Balance, Owners


class Weighing:
    """One life's, of host `me`: `carries` is what there is to say; None where buckets are dealt by
    number."""

    def __init__(self, agents: Agents, me: str, used: Callable[[str], float] = cgroup.used) -> None:
        self._every, self._me = agents.balance_every, me
        self._measured = Measured()
        self._using = _Using(agents.balance_cpu, used) if agents.balance_cpu else None
        self._at = 0.0
        self._known: dict[int, float] = {}  # what others said last of each bucket
        self._untold: list[str] = []  # who told of no CPU when that was said last
        self.carries = Load(self._every) if agents.balance is Balance.LOAD else None

    def look(
        self,
        counts: Counted,
        owners: Owners,
        others: Mapping[str, Load],
        able: Collection[str],
        now: float,
    ) -> str:
        """Note what the kernel counted by now, by bucket, if it is time to; `others`: what the
        other hosts' buckets carry; `able`: who serves. Return what is to be said of it, if
        anything."""
        if self.carries is None:
            return ""
        for load in others.values():
            self._known.update(load.heaviest)
        if not counts or now < self._at:
            return ""
        self._at = now + self._every
        own = {
            bucket: packets
            for bucket, (packets, _) in counts.items()
            if bucket < len(owners) and owners[bucket] == self._me
        }
        self._measured.look(own, now, self._known)
        rates, doubt = self._measured.rates, self._measured.doubt
        load = Load.of(self._every, self._measured.periods, rates, doubt)
        if self._using is None:
            self.carries = load
            return ""
        self.carries = replace(load, spent=self._using.look(counts, own.keys(), now))
        return self._news({**others, self._me: self.carries}, able, self._using.why)

    def _news(self, loads: Mapping[str, Load], able: Collection[str], why: str) -> str:
        """Say that packets count, or that CPU does again, once; `why` this host told of none."""
        before, self._untold = self._untold, untold(loads, able)
        if self._untold == before:
            return ""
        if not self._untold:
            return "buckets follow hosts' CPU: all tell of it"
        names = ", ".join(self._untold)
        news = f"WARNING: buckets follow packets, not CPU, of which {names} does not tell"
        return f"{news} ({why})" if why and self._me in self._untold else news


class _Using:
    """The CPU time of the group called `name`; `why`: why it could not be read last."""

    def __init__(self, name: str, used: Callable[[str], float]) -> None:
        self._name, self._used = name, used
        self._spent = Spent()
        self._missed = 0
        self._counts: Counted = {}
        self._own: set[int] = set()
        self._packets, self._moved = 0, False  # since CPU was read last
        self.why = ""

    def look(self, counts: Counted, own: Collection[int], now: float) -> Spending | None:
        """Note what was used by now; return what there is to tell, if it was measured for long
        enough. A service may be away for a moment, as it is started again."""
        before, self._counts = self._counts, counts
        self._moved |= set(own) != self._own
        self._own = set(own)
        self._packets += sum(
            new - old if new >= (old := before.get(bucket, (0, 0))[0]) else new
            for bucket, (new, _) in counts.items()
        )
        try:
            self._spent.look(self._used(self._name), self._packets, now, moved=self._moved)
            self._packets, self._moved, self._missed, self.why = 0, False, 0, ""
        except KernelError as error:
            self._missed, self.why = self._missed + 1, str(error)
            if self._missed >= ENOUGH_PERIODS:
                self._spent = Spent()
        if self._spent.periods < ENOUGH_PERIODS:
            return None
        spent = self._spent
        return Spending.read(Spending(spent.cpu, spent.packets, spent.doubt).dump())
