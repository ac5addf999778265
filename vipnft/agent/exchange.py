"""What an agent and its store say to each other.

Rule 1: the store is given less time than the lease has, so that a beat that hangs is known as one
        while there is still time for the next.
Rule 2: that the store is away, and that it is back, is a line in the log each: see renewal. A
        store whose table can't be used is away.
Rule 3: keys that no agent of this file could have written are as absent, and are a line, too.
"""

import time
from collections.abc import Callable, Mapping

from vipnft.agent import systemd
from vipnft.agent.renewal import Renewal
from vipnft.agreement.effects import Reply, Transact
from vipnft.agreement.records import (
    TABLE,
    AgreementError,
    Member,
    members,
    require_legible,
    strangers,
)
from vipnft.model import Agents, Snapshot, StoreLoss
from vipnft.store.contract import (
    Answer,
    Store,
    StoreCorrupt,
    StoreError,
    StoreUnknown,
    StoreUnreachable,
)

_BACKOFF_S = (0.2, 5.0)  # seconds between attempts to reach the store at start: first, longest
_AGAIN_S = 60.0  # seconds after which the same is said again
_SHOWN = 3  # of the keys that are nobody's

Log = Callable[[str], None]


class Exchange:
    """One life's; `hints` is readable when the table has changed, None where nobody tells;
    `renewal` is what becomes of the lease."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        log: Log,
        *,
        deal: str,
        buckets: int,
        hosts: frozenset[str],
    ) -> None:
        self._store, self._log = store, log
        self._deal, self._buckets, self._hosts = deal, buckets, hosts
        self._strange = False
        self._timeout = agents.lease / 4
        self._snapshot: Snapshot = {}
        self.renewal = Renewal(agents.lease, hold=agents.on_store_loss is StoreLoss.HOLD)
        self.hints: int | None = None

    def reach(self, pause: Callable[[float], bool]) -> bool:
        """Wait until the store answers; what waiting won't mend is an error at once.

        `pause` sleeps for so many seconds, and tells whether to go on: False if not.
        """
        wait, longest = _BACKOFF_S
        said, again = "", 0.0
        while True:
            try:
                self._ask({}, {}, max(self._timeout, 1.0))
                break
            except (StoreUnreachable, StoreUnknown, StoreCorrupt, AgreementError) as error:
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
        try:
            done, snapshot = self._ask(request.versions, request.puts, self._timeout)
        except (StoreError, AgreementError) as error:
            if line := self.renewal.failed(str(error), time.monotonic()):
                self._log(line)
            return None
        now = time.monotonic()
        if done and request.puts:
            self.renewal.wrote()
        self._snapshot = snapshot
        self._say_strangers(snapshot)
        return Reply(done, snapshot, now)

    def _ask(
        self, versions: Mapping[str, int], puts: Mapping[str, bytes | None], timeout: float
    ) -> Answer:
        """Ask the store; an answer with a table that can't be used is none: AgreementError."""
        answer = self._store.transact(versions, puts, timeout=timeout)
        require_legible(answer.snapshot, self._deal, self._buckets)
        return answer

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

    def members(self) -> dict[str, Member]:
        """Return every host's key, as last seen."""
        return members(self._snapshot)
