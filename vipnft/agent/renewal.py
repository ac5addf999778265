"""Is this host's lease renewed, and since when not? Pure: every time is one of this host's
monotonic clock, in seconds.

Rule 1: what counts is a beat that was done, not an answer: a store that answers, and refuses what
        is written, is away.
Rule 2: a change is one line, and one that lasts is said again each minute, with the time since.
Rule 3: a beat that fails while the lease holds is no change: it is a line once a minute at most.
Rule 4: who goes on by promises says so, and who is silent, whose promise he lacks.
"""

import math
from collections.abc import Collection, Mapping

from vipnft.agreement.promises import Reason
from vipnft.model import StoreLoss

_AGAIN_S = 60.0
_SHOWN = 3  # of many hosts
_WHY: dict[int, str] = {
    Reason.BEGUN: "it has only begun",
    Reason.TAKES_OVER: "it takes over from this host",
    Reason.TAKEN: "by a newer table buckets here are others'",
}


class Renewal:
    """One life's; `lease` in seconds; `loss` is what it does without beats. What a method returns
    is a line for the log, or nothing."""

    def __init__(self, lease: float, loss: StoreLoss) -> None:
        self._lease, self._loss = lease, loss
        self._ends = self._armed = -math.inf  # when the granted lease is over; the armed one
        self._made = False  # the last beat was done
        self._since: float | None = None  # when the first beat failed of those not made up for
        self._silent = 0.0  # seconds since then in which there was no lease
        self._out = self._told = False  # it has ended; it was said
        self._said = -math.inf
        self._why = ""  # the last beat failed
        # Who promised; who didn't, and why.
        self._asked: tuple[Collection[str], Mapping[str, int | None]] = ((), {})

    def armed(self, lease: float, now: float) -> None:
        """Note that a slot is armed for so many seconds."""
        self._armed = now + lease

    def wrote(self) -> None:
        """Note that the store did what it was asked to write."""
        self._made = True

    def asked(self, promised: Collection[str], lacking: Mapping[str, int | None]) -> None:
        """Note who promised not to take over, and who didn't, with the Reason; None: no answer."""
        self._asked = promised, lacking

    def granted(self, now: float) -> str:
        """Note that the armed slot is granted."""
        if self._since is not None and self._ends < now:
            # Where there was no lease yet, all that time.
            self._silent += now - max(self._ends, self._since)
        self._ends = self._armed
        if self._since is None:
            return ""
        if not self._made:
            return self._carried(now) if self._loss is StoreLoss.FAILSAFE else ""
        since, told = self._since, self._told
        dark = self._silent if self._loss is not StoreLoss.HOLD else 0.0
        self._since, self._out = None, False
        silent = f", {dark:.1f} s of them silent" if dark else ""
        return f"the store answers again after {now - since:.1f} s{silent}" if told else ""

    def failed(self, why: str, now: float) -> str:
        """Note that the store did not do what it was asked, or nobody knows whether."""
        self._made, self._why = False, why
        asks = self._loss is StoreLoss.FAILSAFE
        recent = now - self._said < _AGAIN_S
        if self._since is None:
            self._since, self._silent = now, 0.0
            self._told, self._asked = False, ((), {})
            if not self._is_over(now) and (asks or recent):
                return ""
            return self._say(f"{why}; {self._then(now)}", now)
        held = self._loss is StoreLoss.HOLD and self._told
        news = self._is_over(now) and not self._out and not held
        if news or not (recent or (asks and not self._is_over(now))):
            return self._say(f"{self._state(now)}: {why}", now)
        return ""

    def away(self, now: float) -> float:
        """Return for how many seconds no beat was done: 0 if the last was."""
        return 0.0 if self._since is None else now - self._since

    def is_well(self, now: float) -> bool:
        """Tell whether nothing is amiss, or at least the lease holds."""
        return self._since is None or not self._is_over(now)

    def left(self, now: float) -> float:
        """Return for how many seconds more the granted lease lasts."""
        return max(0.0, self._ends - now)

    def is_carried(self, now: float) -> bool:
        """Tell whether a lease holds that began after the first beat failed: without the store."""
        since = self._since
        return since is not None and now < self._ends and self._ends - self._lease > since

    @property
    def lacking(self) -> frozenset[str]:
        """Who did not promise, when asked last while the store is away."""
        return frozenset() if self._since is None else frozenset(self._asked[1])

    def _is_over(self, now: float) -> bool:
        """Tell whether no lease holds; of who holds, whether one would have ended by now."""
        if self._loss is StoreLoss.HOLD:
            return self.away(now) >= self._lease
        return now >= self._ends

    def _carried(self, now: float) -> str:
        """Note that promises renewed the lease."""
        news, self._out = self._out, False
        if not news and now - self._said < _AGAIN_S:
            return ""
        by = f"by the promises of {_names(self._asked[0])}"
        if self._told:
            return self._say(
                f"for {self.away(now):.1f} s without the store, {by}: {self._why}", now
            )
        return self._say(f"the store is away ({self._why}): going on {by}", now)

    def _say(self, text: str, now: float) -> str:
        self._said, self._told, self._out = now, True, self._is_over(now)
        return text

    def _then(self, now: float) -> str:
        if self._loss is StoreLoss.HOLD:
            return "on_store_loss is hold: carrying on with the last table"
        if self._is_over(now):
            return "silent until it does as asked"
        return f"silent in at most {self._ends - now:.1f} s unless it does as asked"

    def _state(self, now: float) -> str:
        if self._loss is StoreLoss.HOLD:
            return f"carrying on with the last table, without the store for {self.away(now):.1f} s"
        if not self._is_over(now):
            return f"no beat for {self.away(now):.1f} s"
        if self._ends == -math.inf:
            return f"silent: no beat for {self.away(now):.1f} s"
        promise = f" ({_refusals(self._asked[1])})" if self._asked[1] else ""
        return f"SILENT for {now - self._ends:.1f} s, as the lease is not renewed{promise}"


def _refusals(lacking: Mapping[str, int | None]) -> str:
    """Return who did not promise, and why."""
    hosts: dict[str, list[str]] = {}
    for host, why in lacking.items():
        hosts.setdefault("no answer" if why is None else _WHY.get(why, ""), []).append(host)
    return "; ".join(
        f"{_names(some)} didn't promise{why and ': '}{why}" for why, some in sorted(hosts.items())
    )


def _names(hosts: Collection[str]) -> str:
    shown = sorted(hosts)[:_SHOWN]
    more = f" and {len(hosts) - _SHOWN} more" if len(hosts) > _SHOWN else ""
    return ", ".join(shown) + more
