"""What one agent has seen of the others' keys, and since when each stands still.

Rule 1: time is this host's monotonic clock, as it was after the store's answer arrived; no
        other host's clock is ever read.
Rule 2: silence counts while somebody listens: after a time without a look, because the store
        was away or this process stopped, everybody has all of its patience again.
Rule 3: a key that is absent stands still too: a host whose key somebody deleted serves on
        until its lease is over.
"""

import math
from collections.abc import Collection, Set

from vipnft.agreement.effects import Reply
from vipnft.agreement.records import RENEWAL_S, key_of, members, order, patience


class Peers:
    """The other hosts' keys, as `me` saw them change; `lease` is this host's own, in seconds."""

    def __init__(self, me: str, lease: float) -> None:
        self._me, self._lease = me, lease
        self._seen: dict[str, tuple[int, float]] = {}  # version, and since when
        self._looked = 0.0  # when, last
        self._leases: dict[str, float] = {}  # as each last said, until it is over
        self._moved: set[str] = set()  # whose key was seen to move, while somebody listened
        self._gone: dict[str, float] = {}  # whose key is absent, and since when
        self._holding: set[str] = set()  # who carries on without a store

    def look(self, said: Reply, parties: Collection[str]) -> None:
        """Note who moved since; `parties` are hosts that must be watched, with a key or without."""
        if said.now - self._looked > self._lease:
            self._seen = {host: (version, said.now) for host, (version, _) in self._seen.items()}
            self._moved.clear()
        self._looked = said.now
        known = members(said.snapshot)
        self._forget(known, said.now)
        for host, member in known.items():
            self._leases[host] = member.lease
            (self._holding.add if member.hold_on_loss else self._holding.discard)(host)
        for host in {*known, *parties} - {self._me}:
            entry = said.snapshot.get(key_of(host))
            version = entry.version if entry else 0
            if self.version(host) != version:
                if version and host in self._seen:
                    self._moved.add(host)
                self._seen[host] = (version, said.now)

    def _forget(self, known: Collection[str], now: float) -> None:
        """Let go of a lease that nobody has said for longer than it lasts."""
        self._gone = {h: self._gone.get(h, now) for h in self._leases if h not in known}
        for host, since in self._gone.items():
            if now - since >= patience(self._leases[host]):
                del self._leases[host]

    def lost(self, said: Reply) -> set[str]:
        """Return who is dead: whose key stood still, or absent, for longer than its lease.

        The silence of a host that holds says nothing; that an operator called it off, when its key
        stood where it stands, does.
        """
        return {
            host
            for host in self.quiet(said)
            if host not in self._holding or order(said.snapshot, host).off == self.version(host)
        }

    def quiet(self, said: Reply) -> set[str]:
        """Return whose key stood still, or absent, for longer than its lease, dead or not: they
        can't hear of a table, so nothing is given to them."""
        return {
            host
            for host in self._seen
            if self.silence(host, said.now) >= patience(self._lease_of(host))
        }

    def is_late(self, host: str, now: float) -> bool:
        """Tell whether a host's key stood still for longer than any beat: half of its lease."""
        return self.silence(host, now) > self._lease_of(host) / 2

    def has_moved(self, host: str) -> bool:
        """Tell whether a host's key was seen to move: one that was not may be dead for long, and
        is given nothing."""
        return host in self._moved

    def until_lost(self, now: float, hosts: Set[str]) -> float:
        """Return after how many seconds the first of `hosts` is dead, unless it moves: inf if
        none can be."""
        left = (
            patience(self._lease_of(host)) - self.silence(host, now)
            for host in hosts & set(self._seen) - self._holding
        )
        return min((seconds for seconds in left if seconds > 0), default=math.inf)

    def version(self, host: str) -> int:
        """Return the version at which a host's key stands: 0 if absent, -1 if never looked for."""
        return self._seen.get(host, (-1, 0.0))[0]

    def silence(self, host: str, now: float) -> float:
        """Return for how many seconds a host's key has been seen standing still."""
        return now - self._seen[host][1]

    def longest(self) -> float:
        """Return the longest lease that anybody can have, in seconds."""
        return max([self._lease, RENEWAL_S, *self._leases.values()])

    def _lease_of(self, host: str) -> float:
        # Where the key is gone, its last word may have been a longer lease than was ever seen.
        return self.longest() if self.version(host) == 0 else self._leases.get(host, self.longest())
