"""A model of store, kernels, clocks and the hosts' own network, around the agents' own generator.

Rule 1: at each step one host goes on by one effect. Between two, any time may pass.
Rule 2: after every step, and after all that came late, no bucket may be accepted by two hosts.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from vipnft.agreement import records
from vipnft.agreement.effects import (
    Adopt,
    Arm,
    Ask,
    Flush,
    Grant,
    Note,
    Params,
    Reply,
    Stand,
    Transact,
    Wait,
    Wish,
)
from vipnft.agreement.promises import Ground
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import Contact, Member, Standing, key_of
from vipnft.errors import UsageError
from vipnft.model import Entry

BUCKETS = 4
LEASE = 1.0
NAMES = ("a", "b", "c", "d")
NOTHING = Adopt(None, "")


class OverlapError(AssertionError):
    """Two hosts accept one bucket."""


@dataclass
class Question:
    """What a host asks all others: until when, and who has promised so far."""

    asked: Ask
    until: float
    promised: set[str] = field(default_factory=set)


@dataclass
class Host:
    name: str
    rate: float
    armed: dict[int, float] = field(default_factory=dict)  # slot: end, in true time
    granted: set[int] = field(default_factory=set)
    newest: int | None = None
    part: Adopt = NOTHING
    owned: frozenset[int] = frozenset()
    agent: Any = None
    effect: Any = None
    life: int = 0
    weight: int = 1
    standing: Standing = Standing.SERVING
    contact: Contact | None = None
    ground: Ground = field(default_factory=Ground)
    promised: dict[str, float] = field(default_factory=dict)  # host: when, by its own clock
    question: Question | None = None

    def leased(self, now: float) -> bool:
        return any(self.armed.get(slot, 0.0) > now for slot in self.granted)

    def hold(self, part: Adopt) -> None:
        self.part, self.owned = part, part.owned

    def end(self) -> None:
        """Its agent is gone; the kernel lives on."""
        self.agent = self.question = None
        self.ground, self.promised = Ground(), {}


class World:
    """Four hosts and a store; `broken` names a rule that is left out."""

    def __init__(
        self,
        seed: int,
        broken: str = "",
        *,
        hold: bool = False,
        evil: bool = False,
        failsafe: bool = False,
    ) -> None:
        self.draw = random.Random(seed)
        self.hold, self.evil, self.failsafe = hold, evil, failsafe
        self.broken = broken
        self.now = 0.0
        self.store: dict[str, Entry] = {}
        self.version = 0
        self.late: list[tuple[float, int, Callable[[], object]]] = []
        self.hosts = {n: Host(n, self.draw.uniform(0.96, 1.04)) for n in NAMES}
        self.steps = self.moved = self.refused = self.off = self.by_promise = self._late = 0
        self.served = 0.0
        self.transactions = 0
        self.lossy = True  # requests, answers and promises are lost by chance, or late
        self.pace = self.draw.choice((0.2, 0.5, 1)) if failsafe else 1
        self.away: dict[str, float] = {}  # hosts without the store, until when
        self.stopped: dict[str, float] = {}  # whose agent stands still; its promises don't
        self.mute: dict[str, float] = {}  # whom the store answers, and lets write nothing
        self.old: set[str] = set()  # whose agents know of no promises
        self.cut: dict[tuple[str, str], float] = {}  # what one host sends another is lost

    def start(self, host: Host) -> None:
        known = not self.lossy or self.draw.random() < 0.5
        former = frozenset({f"{host.name}{host.life}"} if known else ())  # after a boot nobody is
        host.life += 1
        life = 0 if self.broken == "F7" else host.life  # there, secrets outlast lives, too
        secret = f"{NAMES.index(host.name):016x}{life:016x}"
        failsafe = self.failsafe and host.name not in self.old
        host.contact = Contact(("192.0.2.1",), 5520, secret) if failsafe else None
        params = Params(
            host.name,
            f"{host.name}{host.life}",
            LEASE,
            BUCKETS,
            frozenset(NAMES),
            former=former,
            hold_on_loss=self.hold,
            failsafe=failsafe,
            contact=host.contact,
        )
        host.agent = Life(params, Wish(1)).live()
        host.effect = next(host.agent)

    def step(self) -> None:
        """Advance time, let one thing happen, and look."""
        self.steps += 1
        chance = self.draw.random
        pause = self.draw.choice((0.001, 0.01, 0.05)) if chance() < 0.97 else self._uniform(0, 3)
        self.go_to(self.now + self._uniform(0, pause) * self.pace)
        self._mishaps()
        host = self.hosts[self.draw.choice(NAMES)]
        if (self.hold or self.failsafe) and chance() < (0.01 if host.agent else 0.5):
            self._operate(host)
        fate = chance()
        if self.stopped.get(host.name, 0.0) > self.now:
            pass
        elif host.agent is None:
            if fate < 0.2:
                self.start(host)
        elif fate < 0.002:  # the agent dies; the kernel lives on
            host.end()
        elif fate < 0.003:  # the machine dies
            self.kill(host)
        else:
            self.perform(host)
        self.look()

    def kill(self, host: Host) -> None:
        host.end()
        host.granted, host.armed = set(), {}
        host.hold(NOTHING)

    def _uniform(self, least: float, most: float) -> float:
        return self.draw.uniform(least, most)

    def _mishaps(self) -> None:
        chance = self.draw.random
        if not self.hold and chance() < (
            0.0001 if self.failsafe else 0.0005
        ):  # an operator's, or a disk's
            whole = chance() < 0.5 and not self.failsafe
            for key in list(self.store) if whole else ["table"]:
                self.store.pop(key, None)
        if not self.hold and chance() < 0.0005:
            self.store.pop(key_of(self.draw.choice(NAMES)), None)
        if self.evil and chance() < 0.002:  # somebody writes a key that is not his
            value = self.draw.choice((b"{", Member("evil", 1, LEASE, 3).dump()))
            self.put(key_of(self.draw.choice((*NAMES, "evil"))), value)
        if self.failsafe and chance() < 0.005:
            self.fault()

    def fault(self) -> None:
        """Cut some off from the store or from each other, or stop them, for some seconds."""
        kind = self.draw.choice(("away", "away", "mute", "cut", "cut", "island", "stop"))
        share = self.draw.choice((0.2, 0.5, 1))
        some = [n for n in NAMES if self.draw.random() < share]
        long, short = (self.now + self.draw.expovariate(rate) for rate in (0.2, 0.7))
        match kind:
            case "away":
                self.away |= dict.fromkeys(some, long)
            case "mute":
                self.mute |= dict.fromkeys(some, long)
            case "cut":
                self.cut[(self.draw.choice(NAMES), self.draw.choice(NAMES))] = short
            case "island":
                others = set(NAMES) - {*some}
                ways = [(a, b) for a in some for b in others]
                self.cut |= dict.fromkeys(ways + [(b, a) for a, b in ways], short)
            case "stop":
                self.stopped[self.draw.choice(NAMES)] = short

    def _operate(self, host: Host) -> None:
        """An operator drains a host or resumes it, whatever its state; that it is off, he says
        only where that is true: its kernel serves no more, either."""
        key = key_of(host.name)
        said = records.order(self.store, host.name)
        if host.agent is None and host.leased(self.now):
            return
        if host.agent is None:
            said = replace(said, off=self.store[key].version if key in self.store else 0)
            self.off += 1
        else:
            said = replace(said, drained=not said.drained)
        self.put(records.order_of(host.name), said.dump())

    def put(self, key: str, value: bytes) -> None:
        self.version += 1
        self.store[key] = Entry(value, self.version)

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        self._late += 1
        heapq.heappush(self.late, (self.now + seconds, self._late, what))

    def go_to(self, until: float) -> None:
        """Do what comes late until then, and look after each."""
        while self.late and self.late[0][0] <= until:
            self.now, _, what = heapq.heappop(self.late)
            what()
            self.look()
        self.now = until

    def perform(self, host: Host) -> None:
        """Let a host go on by one effect."""
        if isinstance(host.effect, Ask) and not self._is_answered(host, host.effect):
            return
        result = self._result(host, host.effect)
        try:
            host.effect = host.agent.send(result)
        except StopIteration:
            host.end()
            host.standing = Standing.SERVING
        except UsageError:
            self.refused += 1
            host.end()

    def _result(self, host: Host, effect: Any) -> Any:
        match effect:
            case Flush():
                host.granted, host.newest = set(), None
                host.hold(NOTHING)
            case Arm(slot, lease):
                assert slot != host.newest, "a good lease is dropped"
                host.granted.discard(slot)
                host.armed[slot] = self.now + lease / host.rate
            case Grant(slot):
                asked = host.question is not None
                if self.broken == ("F6" if asked else "arm"):  # the timer starts now, not before
                    host.armed[slot] = self.now + LEASE / host.rate
                self.by_promise += asked
                host.question = None
                host.granted.add(slot)
                host.newest = slot
            case Adopt():
                self.moved += 1
                host.hold(effect)
            case Transact():
                host.question = None
                return self._transact(host, effect)
            case Ask():
                assert host.question is not None
                return frozenset(host.question.promised)
            case Stand(ground):
                host.ground = ground
                return dict(host.promised)
            case Wait():
                return self.wish(host)
            case Note():
                pass
        return None

    def wish(self, host: Host) -> Wish:
        chance = self.draw.random
        change = 0.005 if self.failsafe else 0.02
        if chance() < change:
            host.weight = self.draw.choice((0, 1, 1, 1, 2))
        if chance() < change:
            host.standing = self.draw.choice(tuple(Standing)[:3] + (Standing.SERVING,) * 6)
        if chance() < 0.002:
            host.standing = Standing.STOPPING
        return Wish(
            host.weight,
            host.standing,
            drained=frozenset(b for b in host.part.draining if chance() < 0.3),
            due=chance() < 0.7,
            cut_off=chance() < 0.02,
            renew=chance() < 0.005,
        )

    # Promises.

    def _is_answered(self, host: Host, asked: Ask) -> bool:
        """Send the questions, at first; then tell whether they are answered, or out of time."""
        if host.question is None or host.question.asked is not asked:
            host.question = Question(asked, self.now + LEASE / 4)
            for name, contact in sorted(asked.contacts.items()):  # not as sets are ordered
                for _ in range(1 if self.draw.random() < 0.95 else 2):
                    self._send(host.name, name, self._to_promise(host, name, contact))
            return False
        question = host.question
        return question.promised >= set(asked.contacts) or self.now > question.until

    def _to_promise(self, host: Host, name: str, contact: Contact) -> Callable[[], None]:
        question, mine = host.question, host.contact
        assert question is not None
        version, part = question.asked.version, question.asked.part

        def arrive() -> None:
            other = self.hosts[name]
            known = other.ground.contacts.get(host.name)
            if (other.contact, known) != (contact, mine) or other.agent is None:
                return  # one of them is another life
            if other.ground.refusal(host.name, version, part) is None:
                if question.asked.firm:
                    other.promised[host.name] = self.now * other.rate
                self._send(name, host.name, lambda: question.promised.add(name))

        return arrive

    def _send(self, source: str, target: str, what: Callable[[], object]) -> None:
        fate = self.draw.random() if self.lossy else 1.0
        if fate < 0.02 or self.cut.get((source, target), 0.0) > self.now:
            return
        self.after(self.draw.expovariate(1) if fate < 0.05 else self._uniform(0, 0.003), what)

    # The store.

    def _transact(self, host: Host, request: Transact) -> Reply | None:
        self.transactions += 1
        versions = dict(request.versions)
        if self.broken == "beat condition" and key_of(host.name) in request.puts:
            versions.pop(records.TABLE, None)
        if self.broken == "second condition" and records.TABLE in request.puts:
            versions = {records.TABLE: versions[records.TABLE]}
        request = Transact(versions, request.puts)
        fate = self.draw.random() if self.lossy else 1.0
        mute = self.mute.get(host.name, 0.0) > self.now and request.puts
        if fate < 0.02 or mute or self.away.get(host.name, 0.0) > self.now:
            return None  # the request is lost
        if fate < 0.04 and request.puts:  # it is executed late
            self.after(self.draw.expovariate(1), lambda: self.execute(request))
            return None
        done = self.execute(request)
        if fate < 0.06:  # the answer is lost
            return None
        return Reply(done, dict(self.store), self.now * host.rate)

    def execute(self, request: Transact) -> bool:
        for key, version in request.versions.items():
            if (self.store[key].version if key in self.store else 0) != version:
                return False
        for key, value in request.puts.items():
            if value is None:
                self.version += 1
                self.store.pop(key, None)
            else:
                self.put(key, value)
        return True

    def look(self) -> None:
        taking: dict[int, str] = {}
        for host in self.hosts.values():
            if not host.owned or not host.leased(self.now):
                continue
            for bucket in host.owned:
                if bucket in taking:
                    both = f"{taking[bucket]} and {host.name}"
                    raise OverlapError(f"{both} accept bucket {bucket} at {self.now}")
                taking[bucket] = host.name
        self.served += len(taking)


def explore(seed: int, steps: int, broken: str = "", **modes: bool) -> World:
    world = World(seed, broken, **modes)
    for host in world.hosts.values():
        world.start(host)
    for _ in range(steps):
        world.step()
    return world
