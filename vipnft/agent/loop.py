"""Run one host's agent until it is told to stop.

Rule 1: it decides nothing about buckets; that is agreement's. It says how this host is.
Rule 2: whatever ends the loop, the host is silent afterwards.
Rule 3: one line in the log for each change, with its reason.
"""

import math
import secrets
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from vipnft.agent import systemd
from vipnft.agent.checks import Checks
from vipnft.agent.counted import Counted
from vipnft.agent.dataplane import Dataplane, endless
from vipnft.agent.deal import deal
from vipnft.agent.drains import Drains
from vipnft.agent.duplicates import Duplicates
from vipnft.agent.exchange import Exchange, Log
from vipnft.agent.health import Health
from vipnft.agent.hearing import Calls
from vipnft.agent.journal import telling
from vipnft.agent.lateness import Lateness
from vipnft.agent.oracle import Oracle
from vipnft.agent.pace import Pace
from vipnft.agent.promises import Promises
from vipnft.agent.publisher import Publisher, Sources
from vipnft.agent.signals import Signals
from vipnft.agent.upkeep import Upkeep
from vipnft.agent.weighing import Weighing
from vipnft.agreement.effects import (
    Adopt,
    Arm,
    Ask,
    Effect,
    End,
    Flush,
    Grant,
    Note,
    Params,
    Stand,
    Transact,
    Wait,
    Wish,
)
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import Standing
from vipnft.buckets.ranges import ranges
from vipnft.errors import UnreadyError, UsageError
from vipnft.host import locks
from vipnft.host.timely import untimely
from vipnft.kernel.watch import Watch
from vipnft.model import Cluster, Mode, Owners, StoreLoss
from vipnft.observe.events import Place
from vipnft.observe.figures import Figures
from vipnft.ruleset import ndp
from vipnft.store.contract import Store

_UNREADY_S = 5.0  # seconds between two looks for an interface, unless the kernel tells of one
_STOP_GRACE_S = 10.0  # seconds without a store after which an agent that is to stop just does


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an agent is to run: `drain` is the longest that connections go on after a move, in
    seconds; `reread` raises ConfigError while the file that SIGHUP would bring in is faulty;
    `log` takes lines for people."""

    cluster: Cluster
    host: str
    mode: Mode
    drain: float
    reread: Callable[[], object]
    log: Log


def run(orders: Orders, store: Store) -> End:
    """Serve until SIGTERM (STOPPED: all is given away and taken down) or SIGHUP (RENEWED: the
    caller begins a new life in this process's place, within the lease).

    UsageError, StoreError and AgreementError end it too, with the host silent.
    """
    incarnation = secrets.token_hex(8)
    nics = orders.cluster.nics(orders.host)
    groups = {ip_address(group) for nic in nics for group in ndp.groups(nic, orders.mode)}
    failsafe = orders.cluster.agents.on_store_loss is StoreLoss.FAILSAFE
    with (
        Watch([nic.interface for nic in nics], {*orders.cluster.vips, *groups}) as watch,
        locks.living(incarnation) as former,
        telling(Place(orders.cluster.name, orders.host), orders.log) as journal,
        Signals() as signals,
        Promises(orders.host, orders.cluster.agents.promise_port)
        if failsafe
        else nullcontext() as promises,
    ):
        figures = Figures()
        orders = replace(orders, log=journal.say)
        orders.log(f"agent of {orders.host} in cluster {orders.cluster.name!r}, {orders.mode} mode")
        plane = Dataplane(orders.cluster, orders.host, orders.mode)
        checks = Checks(orders.cluster.agents.checks, orders.cluster.vips)
        agents = orders.cluster.agents
        pace = Pace(agents.beat, watch, signals, Lateness(agents.beat, agents.lease, figures.beat))
        exchange = Exchange(
            Counted(store, figures),
            agents,
            orders.log,
            promises,
            deal=deal(orders.cluster),
            buckets=orders.cluster.buckets,
            hosts=frozenset(orders.cluster.weights),
        )
        loop = _Loop(orders, plane, checks, exchange, pace, signals)
        seen = Publisher(orders.cluster, orders.host, orders.mode, journal, figures, loop.sources)
        seen.start(Oracle(orders.cluster, loop.owners))
        try:
            ended = loop.run(incarnation, former)
            if ended is End.RENEWED:
                signals.hand_on()
            return ended
        except BaseException:
            plane.flush()
            raise
        finally:
            seen.stop()
            checks.stop()


class _Loop:
    """One life: performs the effects of the agreement. `sources`: what the snapshot is made of."""

    def __init__(
        self,
        orders: Orders,
        plane: Dataplane,
        checks: Checks,
        exchange: Exchange,
        pace: Pace,
        signals: Signals,
    ) -> None:
        self._orders, self._plane, self._checks = orders, plane, checks
        self._exchange, self._pace, self._signals = exchange, pace, signals
        calls = Calls(orders.cluster, orders.host, orders.mode)
        duplicates = Duplicates(orders.cluster, orders.host)
        self._upkeep = Upkeep(plane, calls, duplicates, orders.host, exchange, orders.log)
        health = Health(
            orders.cluster.agents, orders.host, checks, self._upkeep, exchange, signals, orders.log
        )
        self.sources = Sources(
            plane,
            checks,
            exchange,
            self._upkeep,
            health,
            Drains(plane, orders.drain, orders.log),
            Weighing(orders.cluster.agents, orders.host),
        )
        self._part = Adopt(None, orders.host)
        self._ready = self._renewing = False
        self._told = math.inf  # when it was told to stop

    def owners(self) -> Owners:
        """Return whose each bucket is, as the kernel here has it; none where nobody knows."""
        return self._upkeep.owners

    def run(self, incarnation: str, former: frozenset[str]) -> End:
        o = self._orders
        if ended := self._ended_before():
            return self._end(ended)
        self._exchange.look(self._plane.addresses())  # all that are there, once the store is
        params = Params(
            o.host,
            incarnation,
            o.cluster.agents.lease,
            o.cluster.buckets,
            frozenset(o.cluster.weights),
            former=former,
            deal=deal(o.cluster),
            salt=o.cluster.salt,
            hold_on_loss=o.cluster.agents.on_store_loss is StoreLoss.HOLD,
            failsafe=o.cluster.agents.on_store_loss is StoreLoss.FAILSAFE,
            contact=self._exchange.contact,
        )
        life = Life(params, self._wish(due=True)).live()
        result: Any = None
        while not self._stops_at_once(time.monotonic()):
            try:
                effect = life.send(result)
            except StopIteration as end:
                return self._end(end.value)
            result = self._perform(effect)
        return self._end(End.STOPPED)

    def _stops_at_once(self, now: float) -> bool:
        """Tell whether to stop though nothing was given away: nothing is here, or nobody takes
        it. What an earlier life left is there to be given away, too."""
        if not self._signals.stop:
            return False
        if not self._plane.is_any_here:
            return True
        self._told = min(self._told, now)
        if self._exchange.renewal.away(now) > _STOP_GRACE_S:
            why = "the store does not answer"
        elif not self._plane.is_up and now - self._told > _STOP_GRACE_S:
            why = "this life has not begun"
        else:
            return False
        self._orders.log(f"told to stop, and {why}: nothing can be given away")
        return True

    def _ended_before(self) -> End | None:
        """Wait until this machine can be the host and the store answers; say why it ended if a
        signal came first."""
        said = ""
        while why := self._unready():
            if why != said:
                self._orders.log(f"can't serve yet: {why}")
                systemd.status(f"waiting: {why}")
            said = why
            if not self._pace.pause(_UNREADY_S, news=True):
                break
        if not why and self._exchange.reach(self._pace.pause):
            return None
        if self._signals.stop:
            return End.STOPPED
        return End.RENEWED if self._to_renew() else self._ended_before()

    def _unready(self) -> str:
        """Return why this machine can't be the host yet, as an interface is to come at a boot."""
        try:
            self._plane.require_fit()
        except UnreadyError as error:
            return str(error)
        return ""

    def _end(self, why: End) -> End:
        if why is End.STOPPED:
            systemd.stopping()
            if self._plane.is_any_here:
                for note in self._plane.down():
                    self._orders.log(note)
                self._orders.log("gave everything away; this host is as it was")
        return why

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Flush():
                self._plane.flush()
            case Arm(slot, lease):
                self._exchange.renewal.armed(lease, time.monotonic())
                with self._pace.spending("the lease in the kernel"), self._upkeep.kept():
                    self._plane.arm(slot, lease)
            case Grant(slot):
                with self._pace.spending("the lease in the kernel"), self._upkeep.kept():
                    self._plane.grant(slot)
                self._granted()
            case Adopt():
                with self._pace.spending("a new table in the kernel"):
                    self._adopt(effect)
            case Transact():
                with self._pace.spending("the store"):
                    said = self._exchange.transact(effect)
                if said is None:
                    self._pace.lateness.forget()
                return said
            case Ask():
                with self._pace.spending("the others' promises"):
                    return self._exchange.ask(effect)
            case Stand():
                return self._exchange.stand(effect)
            case Wait():
                told = self.sources.health.standing is Standing.STOPPING
                self._pace.wait(effect, self._exchange.hints, self._upkeep, told=told)
                with self._pace.spending("the checks, and connections of draining buckets"):
                    return self._wish(due=self._pace.due())
            case Note(text):
                self._orders.log(text)
        return None

    def _granted(self) -> None:
        now = time.monotonic()
        for line in (self._exchange.renewal.granted(now), self._pace.lateness.renewed(now)):
            if line:
                self._orders.log(line)
        if self._ready:
            return
        self._ready = True
        self._checks.start()  # the VIP is there by now
        self._upkeep.look_around()
        try:
            self._plane.announce()
        except UsageError as error:
            self._orders.log(f"the VIPs were not announced ({error}): `vipnft announce` does it")
        systemd.ready(f"serving as {self._orders.host}")

    def _adopt(self, part: Adopt) -> None:
        table = part.table
        owners = table.owners if table else ("",) * self._orders.cluster.buckets
        began = time.thread_time()
        with self._upkeep.kept():
            self._plane.adopt(owners, endless(dict(table.drains) if table else {}))
        why = untimely(self._orders.cluster, time.thread_time() - began)
        if why and part.owned and not self._part.owned:  # nobody is served here yet
            self._plane.down()
            raise why
        self._upkeep.owners = table.owners if table else ()
        self.sources.drains.follow(part.draining)
        before, self._part = self._part, part
        if before.owned != part.owned:
            draining = f", draining {ranges(sorted(part.draining))}" if part.draining else ""
            self._orders.log(
                f"{len(part.owned)} of {len(owners)} buckets here"
                f" ({len(part.owned - before.owned)} came,"
                f" {len(before.owned - part.owned)} went){draining}"
            )

    def _wish(self, *, due: bool) -> Wish:
        """Say how this host is."""
        owns = None if self._part.table is None else bool(self._part.owned)
        return Wish(
            self._orders.cluster.require_host(self._orders.host).weight,
            self.sources.health.stand(owns),
            drained=self.sources.drains.over(),
            due=due,
            cut_off=bool(self._upkeep.cut_off),
            renew=self._to_renew(),
            taken=self._upkeep.taken,
            unheard=self._exchange.unheard,
            carries=self.sources.weighing.carries,
        )

    def _to_renew(self) -> bool:
        """Tell whether to begin a new life: SIGHUP, and a file that can be read. Who is told to
        stop, before it has begun or after, stops."""
        if self._signals.stop or not self._signals.reread:
            return self._renewing and not self._signals.stop
        self._signals.reread = False
        try:
            self._orders.reread()
        except UsageError as error:
            self._orders.log(
                f"SIGHUP: the new configuration can't be used, going on with the old: {error}"
            )
            return False
        self._orders.log("SIGHUP: beginning anew with the new configuration")
        systemd.reloading()
        self._renewing = True
        return True
