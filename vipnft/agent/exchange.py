"""What an agent says to its store, and, while that is away, to the other agents.

Rule 1: the store is given less time than the lease has, so that a beat that hangs is known as one
        while there is still time for the next.
Rule 2: that the store is away, and that it is back, is a line in the log each: see renewal. A
        store whose table can't be used is away.
Rule 3: keys that no agent of this file could have written are as absent, and are a line, too.
Rule 4: the others, too, are given less time than the lease has.
Rule 5: where there are many hosts, most beats read nothing of the others (`brief`): a key that
        was not read does not stand still for longer than half a lease for that, and whoever takes
        over has the store see that it does.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping

from vipnft.agent import systemd
from vipnft.agent.earshot import Earshot
from vipnft.agent.promises import Promises
from vipnft.agent.renewal import Renewal
from vipnft.agreement.effects import Ask, Reply, Stand, Transact
from vipnft.agreement.records import (
    TABLE,
    AgreementError,
    Contact,
    Member,
    members,
    require_legible,
    strangers,
)
from vipnft.model import Agents, Snapshot
from vipnft.store.contract import Answer, Store, StoreError

_BACKOFF_S = (0.2, 5.0)  # seconds between attempts to reach the store at start: first, longest
_AGAIN_S = 60.0  # seconds after which the same is said again
_SHOWN = 3  # of the keys that are nobody's
_FEW = 20  # keys that every beat may read

_ALONE = (
    "nobody can be asked for this host's promise, so while the store is away all are silent after"
    " a lease"
)

Log = Callable[[str], None]


class Exchange:
    """One life's; `hints` is readable when the table has changed, None where nobody tells;
    `renewal` is what becomes of the lease."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        log: Log,
        promises: Promises | None,
        *,
        deal: str,
        buckets: int,
        hosts: frozenset[str],
    ) -> None:
        self._store, self._log, self._promises = store, log, promises
        self._dealt, self._hosts = (deal, buckets), hosts
        self._strange = False
        self._agents = agents
        self._looked = -math.inf
        self._snapshot: Snapshot = {}
        self._earshot = Earshot(agents.promise_port)
        self.renewal = Renewal(agents.lease, agents.on_store_loss)
        self.hints: int | None = None

    def reach(self, pause: Callable[[float], bool]) -> bool:
        """Wait until the store answers, whatever it says till then: what it refuses may be mended.

        `pause` sleeps for so many seconds, and tells whether to go on: False if not.
        """
        wait, longest = _BACKOFF_S
        said, again = "", 0.0
        while True:
            try:
                self._ask({}, {}, max(self._timeout, 1.0))
                break
            except (StoreError, AgreementError) as error:
                if str(error) != said or time.monotonic() >= again:
                    self._log(f"{error}; asked again until it answers")
                    said, again = str(error), time.monotonic() + _AGAIN_S
                systemd.status(str(error))
            if not pause(wait):
                return False
            wait = min(wait * 2, longest)
        self.hints = self._store.watch(TABLE)
        return True

    def transact(self, request: Transact) -> Reply | None:
        """Ask; None where nobody knows what became of it."""
        late = time.monotonic() > request.by
        if late:
            request = Transact({}, {})
        try:
            done, snapshot = self._ask(
                request.versions, request.puts, self._timeout, brief=self._is_brief(request)
            )
        except (StoreError, AgreementError) as error:
            if line := self.renewal.failed(str(error), time.monotonic()):
                self._log(line)
            return None
        now = time.monotonic()
        if done and request.puts:
            self.renewal.wrote()
        self._snapshot = snapshot
        self._say_strangers(snapshot)
        return Reply(done and not late, snapshot, now)

    def ask(self, asked: Ask) -> frozenset[str]:
        """Ask other agents to promise; return those that did."""
        done = self._promises.ask(asked, self._timeout) if self._promises else frozenset()
        why = self._promises.refused if self._promises else {}
        self.renewal.asked(done, {host: why.get(host) for host in asked.contacts.keys() - done})
        return done

    def stand(self, on: Stand) -> Mapping[str, float]:
        """Promise by this ground from now on; return when whom was promised last."""
        return self._promises.stand(on.ground) if self._promises else {}

    def look(self, addresses: Collection[str]) -> None:
        """Be asked at these addresses, this host's own, from now on; say why if it can't be, and
        who does not answer when this host calls."""
        if self._promises is None:
            return
        before = self._promises.why
        self._promises.look(addresses)
        why = self._promises.why
        if why and why != before:
            self._log(f"WARNING: {why}{'' if self._promises.contact else f': {_ALONE}'}")
        if line := self._earshot.look(self.members(), self.unheard, time.monotonic()):
            self._log(line)

    @property
    def contact(self) -> Contact | None:
        """Where the others are to ask for promises."""
        return self._promises.contact if self._promises else None

    @property
    def unheard(self) -> frozenset[str]:
        """Which of the others don't answer when this host calls them."""
        return self._promises.unheard if self._promises else frozenset()

    @property
    def _timeout(self) -> float:
        """For how many seconds an answer is waited for."""
        return self._agents.lease / 4

    def _ask(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        timeout: float,
        *,
        brief: bool = False,
    ) -> Answer:
        """Ask the store; an answer with a table that can't be used is none: AgreementError."""
        answer = self._store.transact(versions, puts, timeout=timeout, brief=brief)
        if not brief:
            self._looked = time.monotonic()
        require_legible(answer.snapshot, *self._dealt)
        return answer

    def _is_brief(self, request: Transact) -> bool:
        """Tell whether a request is a beat that need not look at the others."""
        beat = bool(request.puts) and TABLE not in request.puts
        young = time.monotonic() - self._looked < (self._agents.lease - self._agents.beat) / 2
        return beat and young and len(self._snapshot) > _FEW

    def _say_strangers(self, snapshot: Snapshot) -> None:
        """Say which keys are nobody's, when the first of them comes."""
        found = strangers(snapshot, self._hosts)
        if found and not self._strange:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            self._log(
                "WARNING: in the store are keys that no agent of this cluster file could have"
                f" written; they count for nothing: {', '.join(found[:_SHOWN])}{more}"
            )
        self._strange = bool(found)

    @property
    def snapshot(self) -> Snapshot:
        """All that is in the store, as last seen."""
        return self._snapshot

    def members(self) -> dict[str, Member]:
        """Return every host's key, as last seen."""
        return members(self._snapshot)
