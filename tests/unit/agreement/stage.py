"""The model, paced as real agents are: what each effect takes, it takes here, and nothing is left
to chance but when each host begins."""

import math
from dataclasses import replace

from tests.unit.agreement.world import BUCKETS, LEASE, NAMES, Host, World
from vipnft.agreement.effects import Ask, Reply, Transact, Wait, Wish

BEAT = LEASE / 5
ROUND_TRIP = 0.002
_KERNEL = 0.0005
_LOOK = 0.005  # seconds between two looks, at most


class Stage(World):
    """Four hosts that beat in time; what happens to them and when, the test says."""

    def __init__(self, seed: int = 0, broken: str = "") -> None:
        super().__init__(seed, broken, failsafe=True)
        self.lossy = False
        self._ready = {name: self._uniform(0, BEAT) for name in NAMES}
        self._beat = dict.fromkeys(NAMES, 0.0)
        self._seen = dict.fromkeys(range(BUCKETS), 0.0)
        self.dark = 0.0  # the longest for which a bucket was not served, since `forget`

    def begin(self, *names: str) -> None:
        """Start the agents of these hosts."""
        for name in names:
            self.start(self.hosts[name])
            self._ready[name] = self.now + self._uniform(0, BEAT)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            name = min(NAMES, key=lambda n: self._ready[n])
            at = self._ready[name]
            self.go_to(min(at, end, self.now + _LOOK))
            if at <= self.now:
                self._turn(self.hosts[name])
            self.look()

    def heal(self) -> None:
        """Mend whatever was broken, and start what is dead."""
        for faults in (self.away, self.mute, self.cut, self.stopped):
            faults.clear()
        self._ready = {name: min(at, self.now + BEAT) for name, at in self._ready.items()}
        self.begin(*(name for name, host in self.hosts.items() if host.agent is None))

    def forget(self) -> None:
        """Measure from now on for how long a bucket is not served."""
        self.dark, self._seen = 0.0, dict.fromkeys(range(BUCKETS), self.now)

    def serving(self) -> dict[int, str]:
        """Return which host takes each bucket now."""
        return {
            bucket: host.name
            for host in self.hosts.values()
            if host.leased(self.now)
            for bucket in host.owned
        }

    def look(self) -> None:
        super().look()
        self._seen |= dict.fromkeys(self.serving(), self.now)
        self.dark = max(self.dark, *(self.now - seen for seen in self._seen.values()))

    def wish(self, host: Host) -> Wish:
        return Wish(
            host.weight,
            host.standing,
            drained=host.part.draining,
            due=self.now >= self._beat[host.name],
        )

    def _transact(self, host: Host, request: Transact) -> Reply | None:
        """Heed until when it is to be written, which no rule may rely on."""
        if self.now * host.rate > request.by:
            said = super()._transact(host, Transact({}, {}))
            return replace(said, done=False) if said else None
        return super()._transact(host, request)

    def _turn(self, host: Host) -> None:
        until = self.stopped.get(host.name, 0.0)
        if host.agent is None or until > self.now:
            self._ready[host.name] = until if host.agent else math.inf
            return
        self.perform(host)
        self._ready[host.name] = self.now + self._takes(host)

    def _takes(self, host: Host) -> float:
        """Return for how many seconds a host is busy with its next effect."""
        effect = host.effect
        if isinstance(effect, Transact):
            return LEASE / 4 if self.away.get(host.name, 0.0) > self.now else ROUND_TRIP
        if isinstance(effect, Wait):
            if self._beat[host.name] <= self.now:
                self._beat[host.name] = max(self._beat[host.name] + BEAT, self.now)
            soon = 0.005 if effect.soon else math.inf
            return min(effect.most + 0.001, soon, self._beat[host.name] - self.now)
        return ROUND_TRIP if isinstance(effect, Ask) else _KERNEL
