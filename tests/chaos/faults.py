"""What is done to hosts, agents, links and the store: each fault by its kind, drawn at random.

Rule 1: a fault says whose clients it may leave unanswered; no others.
Rule 2: what one fault holds, no other takes: faults overlap, but each is undone by itself.
Rule 3: all that chance decides is drawn when the fault is: the same seed gives the same faults.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.chaos.judge import TAIL_S
from tests.chaos.scene import Scene
from tests.netns.support import PACE, shell, until

CUTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "both ways": (("input", "sport"), ("output", "dport")),
    "answers": (("input", "sport"),),
    "requests": (("output", "dport"),),
}


ENDS_S = 90.0 * PACE
"""In which an agent that is told to stop must end: what is half open in its drains does."""


@dataclass(frozen=True)
class Fault:
    """One fault. `hosts`: whose clients it may leave unanswered; `store`: only if agents can't do
    without the store; `apart`: it keeps hosts from promising each other anything; `holds`: what it
    has to itself; `seconds` between `begin` and `end`; `tail`: seconds that a host may need once it
    beats again."""

    kind: str
    hosts: tuple[str, ...]
    holds: frozenset[str]
    seconds: float
    begin: Callable[[], object]
    end: Callable[[], object]
    store: bool = False
    tail: float = TAIL_S
    apart: bool = False


Draw = Callable[[Scene, random.Random], Fault]


def _nothing() -> None:
    pass


def _host(scene: Scene, draw: random.Random) -> str:
    return draw.choice(scene.lab.hosts)


# Agents.


def _start(scene: Scene, host: str) -> None:
    scene.started[host] = time.monotonic()
    scene.cast.start(host)
    scene.down.discard(host)


def _signal(scene: Scene, host: str, number: int) -> None:
    scene.cast.running[host].send_signal(number)


def _kill(scene: Scene, host: str) -> None:
    scene.down.add(host)
    scene.cast.running[host].kill()
    scene.cast.running[host].wait()


def agent_killed(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)
    begin, end = partial(_kill, scene, host), partial(_start, scene, host)
    return Fault(
        "agent killed", (host,), frozenset({f"agent {host}"}), draw.uniform(0.1, 5), begin, end
    )


def agent_off(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)

    def begin() -> None:
        _kill(scene, host)
        scene.order("off", host)

    end = partial(_start, scene, host)
    return Fault(
        "agent killed, host said to be off",
        (host,),
        frozenset({f"agent {host}"}),
        draw.uniform(0.5, 3),
        begin,
        end,
    )


def agent_stopped(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)
    begin, end = (partial(_signal, scene, host, n) for n in (signal.SIGSTOP, signal.SIGCONT))
    return Fault(
        "agent stopped", (host,), frozenset({f"agent {host}"}), draw.uniform(0.5, 8), begin, end
    )


def agent_ended(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)

    def begin() -> None:
        scene.down.add(host)
        _signal(scene, host, signal.SIGTERM)

    def end() -> None:
        try:
            code = scene.cast.running[host].wait(ENDS_S)
        except subprocess.TimeoutExpired:
            scene.cast.running[host].kill()
            code = scene.cast.running[host].wait()
        if code not in {0, -signal.SIGTERM}:  # it was but starting
            last = scene.last_words(host)
            scene.broken.append(f"{host}'s agent, told to stop, ended with {code}: {last}")
        _start(scene, host)

    return Fault(
        "agent ended, and started", (host,), frozenset({f"agent {host}"}), draw.uniform(0, 3),
        begin, end,
    )  # fmt: skip


def agent_renewed(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)

    def begin() -> None:
        if scene.seen.beaten_since(host, scene.started.get(host, 0.0)):  # else it is but starting
            _signal(scene, host, signal.SIGHUP)

    return Fault(
        "agent renewed (SIGHUP)", (host,), frozenset({f"agent {host}"}), 1.0, begin, _nothing
    )


# Operators.


def _ordered(scene: Scene, *words: str) -> None:
    until(partial(scene.order, *words), what=" ".join(words))


def drained(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)
    begin, end = partial(scene.order, "drain", host), partial(_ordered, scene, "resume", host)
    return Fault("host drained", (), frozenset({f"order {host}"}), draw.uniform(1, 6), begin, end)


def weighed(scene: Scene, draw: random.Random) -> Fault:
    host, weight = _host(scene, draw), str(draw.choice((0, 2, 3)))
    begin = partial(scene.order, "weight", host, weight)
    end = partial(_ordered, scene, "weight", host, "1")
    return Fault(
        "host of another weight", (), frozenset({f"order {host}"}), draw.uniform(1, 6), begin, end
    )


# Kernels and links.


def flushed(scene: Scene, draw: random.Random) -> Fault:
    host = _host(scene, draw)
    begin = partial(shell, scene.lab, host, "nft flush ruleset")
    return Fault("ruleset flushed", (host,), frozenset({f"kernel {host}"}), 0.5, begin, _nothing)


LINKS = {
    "link cut": ("ip link set {0} down", "ip link set {0} up"),
    "link cut: nobody hears the host": (
        "nft 'table netdev cut-{0} {{ chain c {{"
        " type filter hook ingress device {0} priority 0; policy drop; }}; }}'",
        "nft delete table netdev cut-{0}",
    ),
    "link cut: the host hears nobody": (
        "nft 'table netdev cut-{0} {{ chain c {{"
        " type filter hook egress device {0} priority 0; policy drop; }}; }}'",
        "nft delete table netdev cut-{0}",
    ),
}


def link_cut(scene: Scene, draw: random.Random) -> Fault:
    host, kind = _host(scene, draw), draw.choice([*LINKS])
    begin, end = (partial(shell, scene.lab, "segment", s.format(host)) for s in LINKS[kind])
    holds = frozenset({f"link {host}"})
    return Fault(kind, (host,), holds, draw.uniform(0.2, 6), begin, end, tail=4 * TAIL_S)


def hosts_cut(scene: Scene, draw: random.Random) -> Fault:
    one, two = draw.sample(scene.lab.hosts, 2)
    name = f"cut-{one}-{two}"
    begin = partial(
        shell,
        scene.lab,
        "segment",
        f"nft 'table bridge {name} {{ chain c {{ type filter hook forward priority 0;"
        f' iifname "{one}" oifname "{two}" drop; iifname "{two}" oifname "{one}" drop; }}; }}\'',
    )
    end = partial(shell, scene.lab, "segment", f"nft delete table bridge {name}")
    holds = frozenset({f"link {one}", f"link {two}"})
    kind = "two hosts cut off from one another"
    return Fault(kind, (), holds, draw.uniform(1, 8), begin, end, apart=True)


# The store.


def host_without_etcd(scene: Scene, draw: random.Random) -> Fault:
    host, way = _host(scene, draw), draw.choice([*CUTS])
    assert scene.members
    chains = "; ".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; tcp {port} {scene.members.ports}"
        " drop; }"
        for hook, port in CUTS[way]
    )
    begin = partial(shell, scene.lab, host, f"nft 'table inet cut {{ {chains}; }}'")

    def end() -> None:
        scene.lab.run(host, ["nft", "delete", "table", "inet", "cut"])

    holds = frozenset({f"kernel {host}"})
    kind = f"host cut off from etcd, {way}"
    return Fault(kind, (host,), holds, draw.uniform(0.2, 8), begin, end, store=True)


def _store(
    scene: Scene,
    kind: str,
    holds: set[str],
    seconds: float,
    begin: Callable[[], object],
    end: Callable[[], object],
) -> Fault:
    return Fault(kind, scene.lab.hosts, frozenset(holds), seconds, begin, end, store=True)


def etcd_cut(scene: Scene, draw: random.Random) -> Fault:
    assert scene.members
    way = draw.choice([*CUTS])
    chains = "; ".join(
        f"chain {hook} {{ type filter hook {hook} priority 0;"
        f' {"iifname" if hook == "input" else "oifname"} "eth0"'
        f" tcp {'dport' if hook == 'input' else 'sport'} {scene.members.ports} drop; }}"
        for hook, _ in CUTS[way]
    )
    begin = partial(shell, scene.lab, "router", f"nft 'table inet cut {{ {chains}; }}'")
    end = partial(shell, scene.lab, "router", "nft delete table inet cut")
    return _store(
        scene, f"etcd cut off from all hosts, {way}", {"way"}, draw.uniform(0.2, 6), begin, end
    )


def member_cut(scene: Scene, draw: random.Random) -> Fault:
    """One member off from the others."""
    assert scene.members
    n = draw.choice([*scene.members.members])
    chains = (
        f"chain c {{ type filter hook output priority 0;"
        f" tcp dport {2380 + 100 * n} drop; tcp sport {2380 + 100 * n} drop; }}"
    )
    begin = partial(shell, scene.lab, "router", f"nft 'table inet peer{n} {{ {chains}; }}'")
    end = partial(shell, scene.lab, "router", f"nft delete table inet peer{n}")
    return _store(
        scene, "etcd member cut off from the others", {f"peer {n}"}, draw.uniform(1, 8), begin, end
    )


def member_stopped(scene: Scene, draw: random.Random) -> Fault:
    assert scene.members
    some = sorted(draw.sample([*scene.members.members], draw.choice((1, 1, 2, 3))))
    kind = "etcd member stopped" if len(some) == 1 else f"{len(some)} etcd members stopped"
    begin, end = partial(scene.members.stop, *some), partial(scene.members.go_on, *some)
    holds = {f"member {n}" for n in some}
    return _store(scene, kind, holds, draw.uniform(0.5, 8), begin, end)


def member_killed(scene: Scene, draw: random.Random) -> Fault:
    assert scene.members
    some = sorted(draw.sample([*scene.members.members], draw.choice((1, 1, 2, 3))))
    kind = "etcd member killed" if len(some) == 1 else f"{len(some)} etcd members killed"
    begin, end = partial(scene.members.kill, *some), partial(_again, scene, *some)
    holds = {f"member {n}" for n in some}
    return _store(scene, kind, holds, draw.uniform(0.2, 5), begin, end)


def _again(scene: Scene, *numbers: int) -> None:
    """Start members anew; those of a majority that is down are well only once others are."""
    assert scene.members
    with suppress(AssertionError):  # another fault may keep it from being well
        scene.members.start(*numbers)


def leader_killed(scene: Scene, draw: random.Random) -> Fault:
    members = scene.members
    assert members
    whose: list[int] = []

    def begin() -> None:
        whose.append(members.leader())
        members.kill(*whose)

    def end() -> None:
        _again(scene, *whose)

    holds = {f"member {n}" for n in members.members}
    return _store(scene, "etcd's leader killed", holds, draw.uniform(0.2, 5), begin, end)


def no_space(scene: Scene, draw: random.Random) -> Fault:
    members = scene.members
    assert members
    begin = partial(members.alarm, on=True)
    end = partial(until, partial(members.alarm, on=False), what="etcd's space")
    return _store(scene, "etcd without space", {"space"}, draw.uniform(0.5, 6), begin, end)


def revoked(scene: Scene, draw: random.Random) -> Fault:
    members = scene.members
    assert members
    kind = draw.choice(("READ", ""))
    begin = partial(members.allow, kind)
    end = partial(until, partial(members.allow, "READWRITE"), what="the role's right")
    name = f"role revoked, {'may read' if kind else 'may nothing'}"
    return _store(scene, name, {"role"}, draw.uniform(0.5, 6), begin, end)


def slow(scene: Scene, draw: random.Random) -> Fault:
    assert scene.members
    late = draw.choice((0.0005, 0.002, 0.005, 0.010, 0.020, 0.040))
    begin, end = partial(scene.members.late, late), partial(scene.members.late, 0.0)
    kind = "0.5 to 40 ms to etcd"
    return Fault(kind, (), frozenset({"delay"}), draw.uniform(3, 15), begin, end)


def locked(scene: Scene, draw: random.Random) -> Fault:
    """Another process has the database to itself."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30);"
        " c.execute('BEGIN EXCLUSIVE'); sys.stdin.read()"
    )
    file = scene.cast.url.removeprefix("sqlite://")
    held = []

    def begin() -> None:
        held.append(scene.lab.popen("router", ["python3", "-c", program, file], stdin=-1))

    def end() -> None:
        held[0].kill()
        held[0].wait()

    return _store(scene, "database locked", {"lock"}, draw.uniform(0.2, 6), begin, end)


HOSTS: Mapping[Draw, int] = {
    agent_killed: 3, agent_off: 1, agent_stopped: 4, agent_ended: 3, agent_renewed: 3,
    drained: 3, weighed: 3, flushed: 2, link_cut: 5, hosts_cut: 3,
}  # fmt: skip
ETCD: Mapping[Draw, int] = {
    host_without_etcd: 5, etcd_cut: 2, member_cut: 2, member_stopped: 3, member_killed: 3,
    leader_killed: 2, no_space: 1, revoked: 1, slow: 3,
}  # fmt: skip
SQLITE: Mapping[Draw, int] = {locked: 6}


def drawn(scene: Scene, draw: random.Random) -> Fault:
    """Return a fault of a kind drawn by its weight."""
    kinds = {**HOSTS, **(ETCD if scene.members else SQLITE)}
    (kind,) = draw.choices([*kinds], [*kinds.values()])
    return kind(scene, draw)


def attempted(what: str, act: Callable[[], object], scene: Scene) -> None:
    """Do it; that it can't be done is chaos itself broken, and said so."""
    try:
        act()
    except Exception as error:  # whatever it is: a thread must not end unheard
        scene.broken.append(f"{what}: {error!r}")
