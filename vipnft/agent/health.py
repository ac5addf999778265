"""How this host is, as its beats say.

Rule 1: a host that fails says so at once; one that comes back, when it has been well for a while.
"""

import time

from vipnft.agent import systemd
from vipnft.agent.checks import Checks
from vipnft.agent.exchange import Exchange, Log
from vipnft.agent.settling import Settling
from vipnft.agent.signals import Signals
from vipnft.agent.upkeep import Upkeep
from vipnft.agreement.records import ABLE, Standing
from vipnft.model import Agents


class Health:
    """Host `me`'s; `standing` is what it said last."""

    def __init__(
        self,
        agents: Agents,
        me: str,
        checks: Checks,
        upkeep: Upkeep,
        exchange: Exchange,
        signals: Signals,
        log: Log,
    ) -> None:
        self._me, self._log = me, log
        self._checks, self._upkeep, self._exchange = checks, upkeep, exchange
        self._signals = signals
        self._settling = Settling(agents.settle, agents.lease)
        self.standing = Standing.SERVING

    def stand(self, owns: bool | None) -> Standing:
        """Return this host's standing now; `owns`: whether any bucket is its own, None while it
        knows no table."""
        now = time.monotonic()
        why = self._upkeep.cut_off or "; ".join(self._checks.failing())
        well = not why and self._exchange.renewal.is_well(now)
        left = self._settling.look(now, well=well, owns=bool(owns))
        if self._signals.stop:
            return self._say(Standing.STOPPING, "told to stop: giving all buckets away")
        if why:
            others = (m for h, m in self._exchange.members().items() if h != self._me)
            alone = not any(member.standing in ABLE for member in others)
            then = "EVERY host fails: all keep serving" if alone else "giving all buckets away"
            return self._say(Standing.FAILING, f"failing ({why}): {then}")
        if not left:
            return self._say(Standing.SERVING, "healthy")
        if owns is None:
            return Standing.SETTLING
        again = self._settling.again
        since = f" (it fell out again soon after a return, {again} in a row)" if again else ""
        return self._say(
            Standing.SETTLING,
            f"settling{since}: takes buckets when it has been well for {left:.0f} s,"
            " or at once if nobody else serves",
        )

    def _say(self, standing: Standing, text: str) -> Standing:
        if standing is not self.standing:
            self._log(text)
            systemd.status(text)
            self.standing = standing
        return standing
