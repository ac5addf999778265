"""Run one host's agent until it is told to stop.

Rule 1: it decides nothing about buckets; that is agreement's. It says how this host is.
Rule 2: the store is given less time than the lease has, so that a beat that hangs is known as
        one while there is still time for the next.
Rule 3: whatever ends the loop, the host is silent afterwards.
Rule 4: one line in the log for each change, with its reason.
"""

import os
import secrets
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vipnft.agent import systemd
from vipnft.agent.checks import Checks
from vipnft.agent.dataplane import Dataplane, endless
from vipnft.agent.reception import Reception
from vipnft.agent.signals import Signals
from vipnft.agreement.effects import (
    Adopt,
    Arm,
    Effect,
    Flush,
    Grant,
    Note,
    Params,
    Reply,
    Transact,
    Wait,
    Wish,
)
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import TABLE, Standing, members
from vipnft.buckets.ranges import ranges
from vipnft.errors import KernelError, UsageError, VipnftError
from vipnft.host import locks
from vipnft.kernel.watch import Watch
from vipnft.model import Cluster, Mode
from vipnft.store.contract import Store, StoreError, StoreUnknown, StoreUnreachable

_SOON_S = 0.005  # seconds between two looks at a store without hints while buckets are to come
_JUST_S = 0.001  # seconds later than a time that must be past
_ALIVE_S = 1.0  # seconds between two signs of life for systemd
_STOP_GRACE_S = 10.0  # seconds without a store after which an agent that is to stop just does
_CONTENT_S = 5.0  # seconds between two comparisons of the kernel's contents
_CONNECTIONS_S = 1.0  # seconds between two looks at which drains are over
_BACKOFF_S = (0.2, 5.0)  # seconds between attempts to reach the store at start: first, longest

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an agent is to run: `drain` is the longest that connections go on after a move, in
    seconds; `reread` raises ConfigError while the file that SIGHUP would bring in is faulty."""

    cluster: Cluster
    host: str
    mode: Mode
    drain: float
    reread: Callable[[], object]


def run(orders: Orders, store: Store, log: Log) -> str:
    """Serve until SIGTERM ("stopped": all is given away and taken down) or SIGHUP ("renewed":
    the caller begins a new life in this process's place, within the lease).

    UsageError, StoreError and AgreementError end it too, with the host silent.
    """
    incarnation = secrets.token_hex(8)
    with locks.living(incarnation) as former, Watch() as watch, Signals() as signals:
        plane = Dataplane(orders.cluster, orders.host, orders.mode)
        checks = Checks(orders.cluster.agents.checks, orders.cluster.vips)
        loop = _Loop(orders, store, plane, checks, watch, signals, log)
        try:
            return loop.run(incarnation, former)
        except BaseException:
            plane.flush()
            raise
        finally:
            checks.stop()


class _Loop:
    """One life: performs the effects of the agreement."""

    def __init__(
        self,
        orders: Orders,
        store: Store,
        plane: Dataplane,
        checks: Checks,
        watch: Watch,
        signals: Signals,
        log: Log,
    ) -> None:
        self._orders, self._store, self._plane = orders, store, plane
        self._checks, self._watch, self._signals, self._log = checks, watch, signals, log
        agents, self._me = orders.cluster.agents, orders.host
        self._lease, self._period = agents.lease, agents.beat
        self._timeout = agents.lease / 4
        now = time.monotonic()
        self._beat_at = self._content_at = self._connections_at = now
        self._silent_store: float | None = None  # since when it does not answer
        self._cut_off = ""  # why this host can't be reached
        self._standing = Standing.SERVING
        self._hearing, self._taken = Reception(self._me), 0
        self._snapshot: Mapping[str, Any] = {}
        self._held = Adopt(None, orders.host)
        self._leaving: dict[int, float] = {}  # since when a bucket is drained
        self._mended = self._renewing = self._ready = False
        self._hints: int | None = None  # readable when the table changed; None: nobody tells

    def run(self, incarnation: str, former: frozenset[str]) -> str:
        o = self._orders
        self._reach()
        self._hints = self._store.watch(TABLE)
        params = Params(
            o.host,
            incarnation,
            self._lease,
            o.cluster.buckets,
            former=former,
            deal=f"{o.cluster.seed:#x}/{o.cluster.buckets}",
            hold_on_loss=o.cluster.agents.on_store_loss == "hold",
        )
        life = Life(params, self._wish(due=True)).live()
        result: Any = None
        while self._plane.is_up or not self._signals.stop:
            if self._in_vain():
                self._log("told to stop, and the store does not answer: nothing can be given away")
                return self._end("stopped")
            try:
                effect = life.send(result)
            except StopIteration as end:
                return self._end(str(end.value))
            result = self._perform(effect)
        return "stopped"  # before anything was there to give away

    def _in_vain(self) -> bool:
        """Tell whether it was told to stop, and the store has been away for long."""
        since = self._silent_store
        return self._signals.stop and since is not None and time.monotonic() - since > _STOP_GRACE_S

    def _end(self, why: str) -> str:
        if why == "stopped":
            systemd.stopping()
            for note in self._plane.down():
                self._log(note)
            self._log("gave everything away; this host is as it was")
        return why

    def _reach(self) -> None:
        """Wait until the store answers; what waiting won't mend is an error at once."""
        pause, longest = _BACKOFF_S
        while not self._signals.stop:
            try:
                self._store.transact({}, {}, timeout=max(self._timeout, 1.0))
            except (StoreUnreachable, StoreUnknown) as error:
                self._log(f"{error}; asked again in {pause:g} s")
                systemd.status(str(error))
                self._poll(time.monotonic() + pause)
                pause = min(pause * 2, longest)
            else:
                return

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Flush():
                self._plane.flush()
            case Arm(slot, lease):
                with self._kernel():
                    self._plane.arm(slot, lease)
            case Grant(slot):
                with self._kernel():
                    self._plane.grant(slot)
                self._granted()
            case Adopt():
                self._adopt(effect)
            case Transact():
                return self._transact(effect)
            case Wait():
                return self._wait(effect)
            case Note(text):
                self._log(text)
        return None

    # The kernel.

    @contextmanager
    def _kernel(self) -> Iterator[None]:
        """Where the kernel refuses, somebody changed it: mend it; the next beat tries again."""
        try:
            yield
        except KernelError as error:
            if not self._plane.is_up:
                raise
            if not self._cut_off:
                self._log(f"{error}")
            self._mend()
            if self._cut_off:
                self._plane.flush()  # it may hold what it is to give away

    def _granted(self) -> None:
        if not self._ready:
            self._ready = True
            self._checks.start()  # the VIP is there by now
            self._announce()
            systemd.ready(f"serving as {self._orders.host}")

    def _announce(self) -> None:
        try:
            self._plane.announce()
        except UsageError as error:
            self._log(f"the VIPs were not announced ({error}): `vipnft announce` does it")

    def _adopt(self, part: Adopt) -> None:
        table = part.table
        owners = table.owners if table else ("",) * self._orders.cluster.buckets
        with self._kernel():
            self._plane.adopt(owners, endless(dict(table.drains) if table else {}))
        before, self._held = self._held, part
        now = time.monotonic()
        self._leaving = {b: self._leaving.get(b, now) for b in part.draining}
        if before.owned != part.owned:
            draining = f", draining {ranges(sorted(part.draining))}" if part.draining else ""
            self._log(
                f"{len(part.owned)} of {len(owners)} buckets here"
                f" ({len(part.owned - before.owned)} came,"
                f" {len(before.owned - part.owned)} went){draining}"
            )

    def _mend(self) -> None:
        """Compare, mend, and say what was found; while it can't be, this host is cut off."""
        self._content_at = time.monotonic() + _CONTENT_S
        try:
            found = self._plane.mend()
        except VipnftError as error:
            if str(error) != self._cut_off:
                self._log(f"can't serve: {error}")
            self._cut_off = str(error)
            return
        if self._cut_off:
            self._log(f"no longer: {self._cut_off}")
            self._cut_off = ""
        self._listen()
        if found:
            self._log("found and mended: " + "; ".join(line.strip() for line in found))
            self._mended = True

    def _listen(self) -> None:
        """Compare what this host takes with what the others say they take."""
        owners = self._held.table.owners if self._held.table else ()
        self._taken = self._plane.taken()
        known = {host: member.taken for host, member in members(self._snapshot).items()}
        said = self._hearing.look({**known, self._me: self._taken}, Counter(owners))
        if said:
            self._log(said)

    # The store.

    def _transact(self, request: Transact) -> Reply | None:
        try:
            done, snapshot = self._store.transact(
                request.versions, request.puts, timeout=self._timeout
            )
        except StoreError as error:
            if self._silent_store is None:
                self._silent_store = time.monotonic()
                hold = self._orders.cluster.agents.on_store_loss == "hold"
                then = (
                    "on_store_loss is hold: carrying on with the last table"
                    if hold
                    else f"silent in at most {self._lease:g} s unless it answers"
                )
                self._log(f"{error}; {then}")
            return None
        now = time.monotonic()
        if self._silent_store is not None:
            self._log(f"the store answers again after {now - self._silent_store:.1f} s")
            self._silent_store = None
        self._snapshot = snapshot
        return Reply(done, snapshot, now)

    # Time.

    def _wait(self, asked: Wait) -> Wish:
        """Wait for the next beat, or for what is asked before; mend the kernel meanwhile."""
        now = time.monotonic()
        if self._beat_at <= now:
            self._beat_at = max(self._beat_at + self._period, now)
        look = now + asked.most + _JUST_S
        if asked.soon and self._hints is None:
            look = min(look, now + _SOON_S)
        while True:
            systemd.alive()
            until = min(look, self._beat_at)
            # Who has nothing to come can wait for the beat: many hosts would look at each change.
            hints = self._hints if asked.soon else None
            hinted = self._poll(min(until, time.monotonic() + _ALIVE_S), hints)
            if self._watch.heard() or time.monotonic() >= self._content_at:
                self._mend()
            if self._mended:  # rules come silent: grant them at once
                self._mended = False
                self._beat_at = time.monotonic()
            if hinted or time.monotonic() >= min(look, self._beat_at):
                break
            if self._signals.reread or (
                self._signals.stop and self._standing is not Standing.STOPPING
            ):
                self._beat_at = time.monotonic()  # to be told at once, and only once
        return self._wish(due=time.monotonic() >= self._beat_at)

    def _poll(self, until: float, hints: int | None = None) -> bool:
        """Sleep until then (monotonic seconds), a signal, a change in the kernel, or a hint from
        the store: tell whether it was that."""
        poll = select.poll()
        for number in (*self._watch.filenos(), self._signals.fileno()):
            poll.register(number, select.POLLIN)
        if hints is not None:
            poll.register(hints, select.POLLIN)
        ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        self._signals.drain()
        if hints is None or hints not in dict(ready):
            return False
        os.eventfd_read(hints)
        return True

    def _wish(self, *, due: bool) -> Wish:
        """Say how this host is."""
        self._standing = standing = self._stand()
        return Wish(
            self._orders.cluster.require_host(self._orders.host).weight,
            standing,
            drained=self._drained(),
            due=due,
            cut_off=bool(self._cut_off),
            renew=self._to_renew(),
            taken=self._taken,
        )

    def _stand(self) -> Standing:
        if self._signals.stop:
            return self._say(Standing.STOPPING, "told to stop: giving all buckets away")
        failing = self._checks.failing()
        if self._cut_off or failing:
            why = self._cut_off or "; ".join(failing)
            known = members(self._snapshot).items()
            alone = not any(m.standing is Standing.SERVING for h, m in known if h != self._me)
            then = "EVERY host fails: all keep serving" if alone else "giving all buckets away"
            return self._say(Standing.FAILING, f"failing ({why}): {then}")
        return self._say(Standing.SERVING, "healthy")

    def _say(self, standing: Standing, text: str) -> Standing:
        if standing is not self._standing:
            self._log(text)
            systemd.status(text)
        return standing

    def _drained(self) -> frozenset[int]:
        """Return the buckets whose drain is over: no connection left, or past its time."""
        now = time.monotonic()
        if not self._leaving or now < self._connections_at:
            return frozenset()
        self._connections_at = now + _CONNECTIONS_S
        try:
            live = self._plane.connections()
        except KernelError as error:
            self._log(f"{error}: buckets drain for {self._orders.drain:g} s")
            live = Counter(dict.fromkeys(self._leaving, 1))
        late = now - self._orders.drain
        return frozenset(b for b, since in self._leaving.items() if not live[b] or since <= late)

    def _to_renew(self) -> bool:
        """Tell whether to begin a new life: SIGHUP, and a file that can be read."""
        if not self._signals.reread:
            return self._renewing
        self._signals.reread = False
        try:
            self._orders.reread()
        except UsageError as error:
            self._log(
                f"SIGHUP: the new configuration can't be used, going on with the old: {error}"
            )
            return False
        self._log("SIGHUP: beginning anew with the new configuration")
        systemd.reloading()
        self._renewing = True
        return True
