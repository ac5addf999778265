"""What one agent has seen of the others' keys, and since when each stands still.

Rule 1: time is this host's monotonic clock, as it was after the store's answer arrived; no
        other host's clock is ever read.
Rule 2: silence counts while somebody listens: after a time without a look, because the store
        was away or this process stopped, everybody has all of its patience again; nor is a key
        that is another by then one that moves: it may have, and be dead by now.
Rule 3: a key that is absent stands still too: a host whose key somebody deleted serves on
        until its lease is over.
Rule 4: who carries on without the store may be silent and alive. Nobody takes over from it but
        whom its key names, and its silence counts from the last promise given to it.
"""

import math
from collections.abc import Collection, Mapping, Set

from vipnft.agreement.effects import Params, Reply
from vipnft.agreement.records import RENEWAL_S, Member, key_of, members, order, patience
from vipnft.agreement.steps import is_nobody


class Peers:
    """The other hosts' keys, as this host saw them change."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._seen: dict[str, tuple[int, float]] = {}  # version, and since when
        self._looked = 0.0  # when, last
        self._said: dict[str, Member] = {}  # what each said last, of which hosts
        self._leases: dict[str, float] = {}  # as each last said, until it is over
        self._moved: set[str] = set()  # whose key was seen to move, while somebody listened
        self._fallen: set[str] = set()  # who was silent, and has not moved since
        self._gone: dict[str, float] = {}  # whose key is absent, and since when
        self._promised: dict[str, float] = {}  # when each was promised anything, last

    def look(self, said: Reply, parties: Collection[str]) -> None:
        """Note who moved since; `parties` are hosts that must be watched, with a key or without."""
        listened = said.now - self._looked <= self._params.lease
        if not listened:
            self._seen = {host: (version, said.now) for host, (version, _) in self._seen.items()}
            self._moved.clear()
        self._looked = said.now
        known = members(said.snapshot)
        self._forget(known, said.now)
        self._said.update(known)
        self._leases.update((host, member.lease) for host, member in known.items())
        for host in {*known, *parties} - {self._params.me}:
            entry = said.snapshot.get(key_of(host))
            version = entry.version if entry else 0
            if self.version(host) != version:
                if version and host in self._seen and listened:
                    self._moved.add(host)
                self._fallen.discard(host)
                self._seen[host] = (version, said.now)
        self._fallen |= self.silent(said)

    def promised(self, times: Mapping[str, float]) -> None:
        """Note when each host was promised anything, last: as good as to have seen it move, for
        who was promised goes on for a lease (F3)."""
        for host, when in times.items():
            if when > self._promised.get(host, -math.inf):
                self._promised[host] = when
                self._fallen.discard(host)

    def _forget(self, known: Collection[str], now: float) -> None:
        """Let go of a lease that nobody has said for longer than it lasts."""
        self._gone = {h: self._gone.get(h, now) for h in self._leases if h not in known}
        for host, since in self._gone.items():
            if now - since >= patience(self._leases[host]):
                del self._leases[host]

    def lost(self, said: Reply) -> set[str]:
        """Return who is dead to this host: silent, and it may take over from it."""
        return {host for host in self.silent(said) if self._yields(said, host)}

    def silent(self, said: Reply) -> set[str]:
        """Return whose key stood still, or absent, for longer than its lease, since this host
        promised it anything, too."""
        return {
            host
            for host in self._seen
            if self.silence(host, said.now) >= patience(self._lease_of(host))
        }

    def quiet(self, said: Reply) -> set[str]:
        """Return whose key stood still, or absent, for longer than its lease, dead or not: they
        can't hear of a table, so nothing is given to them."""
        return {
            host
            for host in self._seen
            if self._stillness(host, said.now) >= patience(self._lease_of(host))
        }

    def known(self, said: Reply) -> frozenset[str]:
        """Return whom this host knows alive, of the cluster file's: those it asks for promises.
        Who fell silent is none of them before it moves, though it has its patience again."""
        here = members(said.snapshot).keys() & self._params.hosts - {self._params.me}
        return frozenset(here - self._fallen - self.silent(said))

    def _yields(self, said: Reply, host: str) -> bool:
        """Tell whether this host may take over from a silent one. That an operator called it off,
        when its key stood where it stands, is enough. Else the silence of one that holds says
        nothing, and of one that carries on by promises only to whom its beat names. Where that
        beat is gone, nobody can tell whom it named."""
        if order(said.snapshot, host).off == self.version(host):
            return True
        if is_nobody(host):
            return not self._params.failsafe or self._all_yield(said, host)
        member = self._said.get(host)
        if member is None:
            return not self._params.failsafe
        entry = said.snapshot.get(key_of(host))
        if entry is None or Member.load(entry.value) is None:
            return not (member.hold_on_loss or member.contact)
        return not member.hold_on_loss and member.yields_to(self._params.me)

    def _all_yield(self, said: Reply, nobody: str) -> bool:
        """Tell whether no host can have a lease by an older table than that which `nobody` owns:
        each has beaten since that was there, or must have asked this host."""
        since = self._seen[nobody][1]
        hosts = self._said.keys() & self._params.hosts - {self._params.me}
        return all(
            self._said[host].yields_to(self._params.me)
            or self._seen.get(host, (0, -math.inf))[1] > since
            or order(said.snapshot, host).off == self.version(host)
            for host in hosts
        )

    def is_late(self, host: str, now: float) -> bool:
        """Tell whether a host's key stood still for longer than any beat: half of its lease."""
        return self._stillness(host, now) > self._lease_of(host) / 2

    def has_moved(self, host: str) -> bool:
        """Tell whether a host's key was seen to move: one that was not may be dead for long, and
        is given nothing."""
        return host in self._moved

    def until_lost(self, said: Reply, hosts: Set[str]) -> float:
        """Return after how many seconds the first of `hosts` is dead, unless it moves: inf if
        none can be."""
        left = (
            patience(self._lease_of(host)) - self.silence(host, said.now)
            for host in hosts & set(self._seen)
            if self._yields(said, host)
        )
        return min((seconds for seconds in left if seconds > 0), default=math.inf)

    def version(self, host: str) -> int:
        """Return the version at which a host's key stands: 0 if absent, -1 if never looked for."""
        return self._seen.get(host, (-1, 0.0))[0]

    def silence(self, host: str, now: float) -> float:
        """Return for how many seconds a host has not been known to go on."""
        times = self._promised
        if is_nobody(host):  # anybody may have been promised a lease by an older table
            heard = max(times.values(), default=-math.inf)
        else:
            heard = times.get(host, -math.inf)
        return min(self._stillness(host, now), now - heard)

    def _stillness(self, host: str, now: float) -> float:
        """Return for how many seconds a host's key has been seen standing still."""
        return now - self._seen[host][1]

    def longest(self) -> float:
        """Return the longest lease that anybody can have, in seconds."""
        return max([self._params.lease, RENEWAL_S, *self._leases.values()])

    def _lease_of(self, host: str) -> float:
        # Where the key is gone, its last word may have been a longer lease than was ever seen.
        return self.longest() if self.version(host) == 0 else self._leases.get(host, self.longest())
