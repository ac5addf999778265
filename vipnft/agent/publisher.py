"""Writes what can be seen of this host, once a second, beside its beats.

Rule 1: a thread of its own, and what it reads the loop leaves as it is: no beat waits for it.
Rule 2: what is large is built anew only where it has changed; the kernel's counts are read so
        seldom that they take a three-hundredth of a CPU.
Rule 3: what goes wrong here is said once, and ends nothing: a snapshot that is old is none.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vipnft import __version__
from vipnft.agent.checks import Checks
from vipnft.agent.dataplane import Dataplane, endless
from vipnft.agent.drains import Drains
from vipnft.agent.exchange import Exchange
from vipnft.agent.health import Health
from vipnft.agent.journal import Journal
from vipnft.agent.oracle import Oracle
from vipnft.agent.signals import start_apart
from vipnft.agent.upkeep import Upkeep
from vipnft.agent.weighing import Weighing
from vipnft.agreement.records import TABLE, Table, key_of, members, order, order_of, weights
from vipnft.buckets.phases import phases
from vipnft.config.writer import digest
from vipnft.errors import KernelError, VipnftError
from vipnft.host import asked, published
from vipnft.kernel import clock, libc, load
from vipnft.model import Applied, Cluster, Mode, Snapshot, StoreLoss
from vipnft.observe import cluster_report, snapshot, status_report
from vipnft.observe.events import public
from vipnft.observe.figures import Figures
from vipnft.observe.snapshot import AgentState, Promised, Stamp
from vipnft.observe.stillness import Stillness
from vipnft.ruleset.stage import StageFacts
from vipnft.ruleset.strays import STRAYS

PERIOD_S = 1.0
_SPARING = 300
"""What part of its time the thread reads the kernel's counts, at most."""
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read, and by nobody here changed; `weighing` is told what the kernel counted."""

    plane: Dataplane
    checks: Checks
    exchange: Exchange
    upkeep: Upkeep
    health: Health
    drains: Drains
    weighing: Weighing


class Publisher:
    """One life's, of host `me`."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        mode: Mode,
        journal: Journal,
        figures: Figures,
        sources: Sources,
    ) -> None:
        self._cluster, self._me, self._mode = cluster, me, mode
        self._journal, self._figures, self._sources = journal, figures, sources
        self._reports = _Reports(cluster, me, mode, journal.say)
        self._stillness = Stillness()
        self._standing = (sources.health.standing, time.time())
        self._config = digest(cluster)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)

    def start(self, oracle: Oracle) -> None:
        """Write from now on, at once and then every second; and have questions answered."""
        start_apart(self._thread)
        if why := oracle.start():
            self._journal.say(f"WARNING: {why}")

    def stop(self) -> None:
        """Write no more; leave nothing behind where the host was given back."""
        self._end.set()
        self._thread.join(_STOP_S)
        if not self._sources.plane.is_up:
            published.forget()
            asked.forget()

    def _run(self) -> None:
        said = ""
        while not self._end.is_set():
            try:
                published.write(self._text())
                said = ""
            except (VipnftError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    self._journal.say(f"WARNING: what can be seen of this host is old: {said}")
            self._end.wait(PERIOD_S)

    def _text(self) -> str:
        s = self._sources
        now, seen = time.monotonic(), s.exchange.snapshot
        away = s.exchange.renewal.away(now)
        silent = set() if away else self._stillness.look(seen, now) - {self._me}
        status, owned = self._reports.status(seen, s)
        state = self._state(away, now, silent)
        known = members(seen).get(self._me)
        reasons = snapshot.troubles(
            state,
            owned=owned,
            weight=known.weight if known else 0,
            ordered=order(seen, self._me).drained,
        )
        stamp = Stamp(
            version=__version__, time=time.time(), boottime=clock.boottime(), period=PERIOD_S
        )
        return snapshot.text(
            snapshot.document(stamp, state, reasons),
            tuple(self._journal.last),
            self._figures.document(self._journal.counts),
            status=status,
            cluster=self._reports.cluster(seen, silent),
        )

    def _state(self, away: float, now: float, silent: set[str]) -> AgentState:
        s, agents = self._sources, self._cluster.agents
        standing = s.health.standing
        if standing is not self._standing[0]:
            self._standing = standing, time.time()
        return AgentState(
            standing=standing,
            since=self._standing[1],
            config=self._config,
            lease=agents.lease,
            left=s.exchange.renewal.left(now),
            on_store_loss=str(agents.on_store_loss),
            store=agents.store.partition(":")[0],
            away=away,
            checks=s.checks.each(),
            hearing=self._journal.hearing,
            promises=self._promised(now, silent)
            if agents.on_store_loss is StoreLoss.FAILSAFE
            else None,
            cut_off=s.upkeep.cut_off,
        )

    def _promised(self, now: float, silent: set[str]) -> Promised:
        exchange = self._sources.exchange
        return Promised(
            carried=exchange.renewal.is_carried(now),
            lacking=tuple(sorted(exchange.renewal.lacking)),
            unheard=tuple(sorted(exchange.unheard - silent)),
        )


class _Reports:
    """The documents of host and cluster as JSON, kept until what they are made of changes."""

    def __init__(self, cluster: Cluster, me: str, mode: Mode, say: Callable[[str], None]) -> None:
        self._cluster, self._me, self._say = cluster, me, say
        self._applied = Applied(cluster=cluster, host=me, mode=mode, owners=(), worn={})
        self._status = _Kept()
        self._whole = _Kept()
        self._load: load.Counted = {}
        self._strays: load.Counted = {}
        self._stages: Mapping[str, StageFacts] = {}
        self._count_at = -math.inf

    def status(self, seen: Snapshot, sources: Sources) -> tuple[str, int]:
        """Return what this host serves, and how many buckets it owns."""
        if self._count(sources.plane):
            self._weigh(seen, sources)
        table = Table.load(seen[TABLE].value) if TABLE in seen else None
        owners = table.owners if table else ("",) * self._cluster.buckets
        live = dict(sources.drains.live)
        macs = {nic.interface: libc.mac_of(nic.interface) or "" for nic in self._applied.nics}
        drift = (public(sources.upkeep.cut_off),) if sources.upkeep.cut_off else ()
        claims = tuple(map(str, sorted(sources.upkeep.claims)))

        def build() -> tuple[str, int]:
            applied = replace(
                self._applied,
                owners=owners,
                drains=endless(dict(table.drains)) if table else {},
            )
            strays = {
                nic.interface: (self._strays.get(number, (0, 0))[0], "")
                for number, nic in enumerate(applied.nics)
            }
            report = status_report.build(
                applied,
                self._load,
                phases(applied.owners, applied.drains, self._me, 0.0),
                live,
                drift,
                "",
                macs,
                strays,
                self._stages,
            )
            report = replace(report, duplicates=claims)
            return json.dumps(status_report.document(report)), len(report.owned)

        return self._status.get((table, self._count_at, live, macs, drift, claims), build)

    def cluster(self, seen: Snapshot, silent: set[str]) -> str:
        """Return what all agreed on."""
        said = {
            host: (replace(one, incarnation="", beat=0, taken=0), seen.get(order_of(host)))
            for host, one in members(seen).items()
        }
        off = {host: seen[key_of(host)].version for host in said if order(seen, host).off}
        table = seen[TABLE].value if TABLE in seen else b""

        def build() -> tuple[str, int]:
            report = cluster_report.build(self._cluster.name, seen, silent)
            return json.dumps(cluster_report.document(report)), 0

        return self._whole.get((table, said, off, silent), build)[0]

    def _weigh(self, seen: Snapshot, sources: Sources) -> None:
        """Have buckets weighed, by what was counted just now."""
        known = members(seen)
        others = {h: one.carries for h, one in known.items() if one.carries and h != self._me}
        able = {host for host, weight in weights(known).items() if weight}
        owners = sources.upkeep.owners
        news = sources.weighing.look(self._load, owners, others, able, time.monotonic())
        if news:
            self._say(news)

    def _count(self, plane: Dataplane) -> bool:
        """Read what the kernel counted, if it is time to, and tell whether it was; without rules
        there is nothing."""
        began = time.monotonic()
        if began < self._count_at:
            return False
        try:
            self._load, self._strays = load.read("load"), load.read(STRAYS)
        except KernelError:
            self._load, self._strays = {}, {}
        self._stages = plane.at_stage()
        spent = time.monotonic() - began
        self._count_at = began + max(PERIOD_S / 2, _SPARING * spent)
        return True


class _Kept:
    """A document, and what it was made of."""

    def __init__(self) -> None:
        self._key: object = None
        self._made: tuple[str, int] = ("null", 0)

    def get(self, key: object, build: Callable[[], tuple[str, int]]) -> tuple[str, int]:
        if key != self._key:
            self._made, self._key = build(), key
        return self._made
