"""Does another machine have a VIP, while this host serves it?

Rule 1: it is asked in a thread of its own, and no beat waits for that.
Rule 2: however many hosts there are, a segment hears of each VIP a question every five seconds.
Rule 3: what is found is a line in the log when it begins, one a minute while it lasts, and one
        when it ends; nothing is done about it.
"""

import random
import threading
import time
from collections.abc import Set as AbstractSet

from vipnft.agent.signals import start_apart
from vipnft.errors import UsageError
from vipnft.host.duplicate import REMEDY, Claim, Inquiry
from vipnft.model import Cluster

_EVERY_S = 5.0  # seconds between two questions on a segment
_AGAIN_S = 60.0  # seconds between two lines that say the same


class Duplicates:
    """Asks for one host, from `start` to the end of the process."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._nics = cluster, cluster.nics(name)
        self._period = _EVERY_S * len(cluster.hosts)
        self._claims: AbstractSet[Claim] = frozenset()
        self._unasked: tuple[str, ...] = ()
        self._told = Told()

    def start(self) -> None:
        """Ask from now on, at once and then in turn with the other hosts."""
        start_apart(threading.Thread(target=self._run, name="duplicates", daemon=True))

    @property
    def claims(self) -> AbstractSet[Claim]:
        """Who was found last."""
        return self._claims

    def news(self) -> list[str]:
        """Return what is to be said now, a line each; never waits."""
        return self._told.look(self._claims, self._unasked, time.monotonic())

    def _run(self) -> None:
        before: tuple[str, ...] = ()
        while True:
            try:
                self._claims, unasked = self._look()
            except UsageError as error:
                unasked = (f"who else has the VIPs was not asked: {error}",)
            # An interface that is only just up, or down, may be asked on the next time.
            self._unasked, before = unasked if unasked == before else (), unasked
            time.sleep(self._period * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    def _look(self) -> tuple[AbstractSet[Claim], tuple[str, ...]]:
        with Inquiry(self._cluster, self._nics) as inquiry:
            found, unasked = inquiry.claims(), inquiry.unasked
        if self._claims - found:  # an answer may be lost
            with Inquiry(self._cluster, self._nics) as inquiry:
                found |= inquiry.claims()
        return found, unasked


class Told:
    """What was said of this, and when (monotonic seconds)."""

    def __init__(self) -> None:
        self._since: dict[Claim, float] = {}
        self._last: dict[Claim, float] = {}
        self._unasked: set[str] = set()

    def look(self, claims: AbstractSet[Claim], unasked: tuple[str, ...], now: float) -> list[str]:
        """Return the lines for what is found now; what could not be asked is said once."""
        lines = [why for why in unasked if why not in self._unasked]
        self._unasked.update(unasked)
        for claim in sorted(self._since.keys() - claims):
            lasted = round(now - self._since.pop(claim))
            lines.append(f"no longer, after {lasted} s: {claim}")
        for claim in sorted(claims):
            since = self._since.setdefault(claim, now)
            if since == now:
                lines.append(f"WARNING: {claim}: {REMEDY}")
            elif now - self._last[claim] >= _AGAIN_S:
                lines.append(f"WARNING: for {round(now - since)} s now: {claim}")
            else:
                continue
            self._last[claim] = now
        return lines
