"""How long clients wait when a host dies, is cut off, leaves and returns: beside keepalived.

Every setup has a lab of its own, all are up at once, and faults go round them in turn, so that a
machine that slows down slows all. What is told is the longest time between two answers that each
client of the host concerned sees, in seconds, of pings each 10 ms (planned moves: 2 ms).
"""

import itertools
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.bench import failover, plots
from tests.netns.cast import Agents, Heard, bucket_of, clients_of, pinging, serving
from tests.netns.support import VIP, shell, until
from tests.netns.test_failover import even, with_lease
from vipnft.buckets import assign
from vipnft.lab.lab import Lab
from vipnft.lab.plan import client_address

TRIALS = 10
HOSTS = 4
CLIENTS = 4
LEASES = (0.3, 1.0, 3.0)
ADVERTS = (1.0, 0.1)
FAULTS = ("dead host", "link cut", "planned leave", "planned return")

Seen = tuple[list[float], int]
"""Gaps in seconds, and how often a client was answered twice."""


class Setup(Protocol):
    """Hosts that serve; `beat` is the time between two signs of life, in seconds."""

    beat: float

    def death(self, here: Path, *, link: bool) -> Seen:
        """Silence a host at one stroke, or cut its link; bring it back unseen."""

    def leave(self, here: Path) -> Seen:
        """Stop a host as its operator does (SIGTERM)."""

    def back(self, here: Path) -> Seen:
        """Start the host that has left."""


@dataclass
class Ours:
    """vipnft's agents; each host in turn is the one concerned."""

    cast: Agents
    beat: float
    turn: Iterator[str] = field(init=False)
    host: str = ""

    def __post_init__(self) -> None:
        self.turn = itertools.cycle(self.cast.lab.hosts)

    def death(self, here: Path, *, link: bool) -> Seen:
        heard = failover.death(self.cast.lab, self.cast, here, next(self.turn), link=link)
        return heard.gaps(), heard.double

    def leave(self, here: Path) -> Seen:
        self.host = next(self.turn)
        victims = clients_of(self.cast.lab, self.cast.look()[self.host]["owned"], CLIENTS)
        with pinging(self.cast.lab, here, victims, every=failover.FINE) as heard:
            self.cast.running[self.host].send_signal(signal.SIGTERM)
            self.cast.running[self.host].wait()
        return heard.gaps(), heard.double

    def back(self, here: Path) -> Seen:
        clients = clients_of(self.cast.lab, self.coming(), CLIENTS)
        with pinging(self.cast.lab, here, clients, every=failover.FINE) as heard:
            self.cast.start(self.host)
            even(self.cast)
        owned = self.cast.look()[self.host]["owned"]
        assert {bucket_of(self.cast.lab, client) for client in clients} <= set(owned)
        return heard.gaps(), heard.double

    def coming(self) -> list[int]:
        """Return the buckets that the host will take when it returns."""
        owners = {b: host for host, one in self.cast.look().items() for b in one["owned"]}
        before = [owners[bucket] for bucket in range(len(owners))]
        after = assign.assign(dict.fromkeys(self.cast.lab.hosts, 1), len(before), before)
        return [move.bucket for move in assign.moves(before, after)]


_DEAF = """
    add table netdev dead
    add chain netdev dead ingress { type filter hook ingress device eth0 priority 0; policy drop; }
"""
"""What silences the kernel of a host whose keepalived was killed."""


@dataclass
class Pair:
    """Two hosts with keepalived; the first has the higher priority and is the one concerned."""

    lab: Lab
    home: Path
    beat: float
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, host: str) -> None:
        """Run keepalived in the lab; what is not said here is its default."""
        file = self.home / f"{host}.conf"
        file.write_text(self.configuration(host))
        words = ["keepalived", "--vrrp", "--dont-fork", "--dont-respawn", "--log-console"]
        words += ["--no-syslog", "-f", str(file), "-p", f"{file}.pid", "-r", f"{file}.vrrp"]
        with (self.home / f"{host}.log").open("a") as log:
            self.running[host] = self.lab.popen(host, words, stdout=log, stderr=log)

    def configuration(self, host: str) -> str:
        state, priority = ("MASTER", 101) if host == self.lab.hosts[0] else ("BACKUP", 100)
        version = 2 if self.beat.is_integer() else 3  # version 2 has whole seconds only
        return f"""
            global_defs {{
                router_id {host}
            }}
            vrrp_instance service {{
                version {version}
                state {state}
                interface eth0
                virtual_router_id 51
                priority {priority}
                advert_int {self.beat:g}
                virtual_ipaddress {{
                    {VIP}/32 dev eth0
                }}
            }}
        """

    def settle(self) -> None:
        """Wait until the first host has the address, and the other has not."""

        def holders() -> list[str]:
            return [h for h in self.lab.hosts if shell(self.lab, h, f"ip -o addr show to {VIP}")]

        until(lambda: holders() == [self.lab.hosts[0]], what="the first host to be master")

    def death(self, here: Path, *, link: bool) -> Seen:
        self.settle()
        host = self.lab.hosts[0]
        kill = f"kill -9 $(cat {self.home}/{host}.conf.vrrp {self.home}/{host}.conf.pid)"
        silence = self.lab.popen(
            host, ["sh", "-c", f"read go && {kill}; nft '{_DEAF}'"], stdin=subprocess.PIPE
        )
        with self.pinged(here) as heard:
            if link:
                shell(self.lab, "segment", f"ip link set {host} down")
            else:
                silence.communicate("go\n")
        silence.kill()
        silence.wait()
        if link:
            shell(self.lab, "segment", f"ip link set {host} up")
        else:
            self.running[host].wait()
            shell(self.lab, host, f"ip addr del {VIP}/32 dev eth0; nft delete table netdev dead")
            self.start(host)
        return heard.gaps(), heard.double

    def leave(self, here: Path) -> Seen:
        self.settle()
        first = self.running[self.lab.hosts[0]]
        with self.pinged(here, failover.FINE) as heard:
            first.send_signal(signal.SIGTERM)
            first.wait()
        return heard.gaps(), heard.double

    def back(self, here: Path) -> Seen:
        host = self.lab.hosts[0]
        log, entered = self.home / f"{host}.log", "Entering MASTER STATE"
        times = log.read_text().count(entered)
        with self.pinged(here, failover.FINE) as heard:
            self.start(host)
            until(lambda: log.read_text().count(entered) > times, what="its return")
        return heard.gaps(), heard.double

    def pinged(self, here: Path, every: float = 0.01) -> AbstractContextManager[Heard]:
        return pinging(self.lab, here, [*map(str, map(client_address, range(CLIENTS)))], every)


@contextmanager
def setups(where: Path) -> Iterator[dict[str, Setup]]:
    """Bring all setups up, in a lab each."""
    found: dict[str, Setup] = {}
    with ExitStack() as stack:
        for lease in LEASES:
            home = _home(where, f"lease-{lease:g}")
            lab = stack.enter_context(Lab.up(_lab(len(found)), HOSTS))
            with_lease(lab, lease)
            cast = stack.enter_context(serving(lab, home))
            even(cast)
            found[f"vipnft, lease {lease:g} s"] = Ours(cast, lease / 5)
        for advert in ADVERTS:
            home = _home(where, f"advert-{advert:g}")
            pair = Pair(stack.enter_context(Lab.up(_lab(len(found)), 2)), home, advert)
            for host in pair.lab.hosts:
                pair.start(host)
            pair.settle()
            found[f"keepalived, adverts each {advert:g} s"] = pair
        yield found


def _lab(number: int) -> str:
    return f"bench-rivals{number}-{os.getpid()}"


def _home(where: Path, name: str) -> Path:
    home = where / name
    home.mkdir()
    return home


def measure(where: Path) -> dict[str, Any]:
    """Return, by setup and fault, the sorted gaps in seconds and how many answers were double."""
    with setups(where) as rigs:
        found: dict[str, Any] = {
            name: {fault: {"gaps": [], "double": 0} for fault in FAULTS} for name in rigs
        }
        for trial in range(TRIALS):
            here = _home(where, f"trial-{trial}")
            for fault, (number, (name, rig)) in itertools.product(FAULTS, enumerate(rigs.items())):
                time.sleep(random.uniform(0, rig.beat))  # faults know nothing of beats
                gaps, double = _suffered(rig, fault, _home(here, f"{number} {fault}"))
                found[name][fault]["gaps"] += [round(gap, 3) for gap in gaps]
                found[name][fault]["double"] += double
    for name, fault in itertools.product(found, FAULTS):
        one = found[name][fault]
        one["gaps"].sort()
        print(f"{name}, {fault}: {_said(one['gaps'])}; {one['double']} twice", flush=True)
    return found


def _suffered(rig: Setup, fault: str, here: Path) -> Seen:
    match fault:
        case "planned leave":
            return rig.leave(here)
        case "planned return":
            return rig.back(here)
        case _:
            return rig.death(here, link=fault == "link cut")


def _said(gaps: Sequence[float]) -> str:
    late = gaps[int(len(gaps) * 0.95)]
    middle, worst = statistics.median(gaps), gaps[-1]
    return f"{middle * 1000:.0f} ms median, {late * 1000:.0f} p95, {worst * 1000:.0f} worst"


def chapter(figures: dict[str, Any]) -> str:
    """Return the document's chapter, with its plot."""
    rows = [
        f"| {name} | " + " | ".join(_cell(of[fault]["gaps"]) for fault in FAULTS) + " |"
        for name, of in figures.items()
    ]
    doubles = sum(of[fault]["double"] for of in figures.values() for fault in FAULTS)
    trials = len(next(iter(figures.values()))[FAULTS[0]]["gaps"]) // CLIENTS
    panels = {
        fault: {name: [1000 * gap for gap in of[fault]["gaps"]] for name, of in figures.items()}
        for fault in FAULTS
    }
    plot = plots.steps("failover", "longest gap of a client, ms", panels)
    return (
        "## Failover and planned moves\n\n"
        "The longest time without an answer that a client of the host concerned sees, in ms:"
        " median / worst. The two are not the same thing: keepalived has one active host, so every"
        f" client waits, while of vipnft's {HOSTS} hosts one fails, and only its share of the"
        " clients waits.\n\n"
        "- Dead host: agent or keepalived killed, and its kernel silenced, at one stroke. From the"
        " last sign of life, VRRP waits for 3.6 times its interval, vipnft for a lease, a tenth and"
        " 50 ms; signs come each interval, or five times a lease.\n"
        "- Link cut: both see their carrier go. vipnft's agent can still tell the store, which in"
        " the lab (SQLite) is not behind that link; where it is, a cut is as a death. VRRP has no"
        " other way to its peer than that link.\n"
        "- Planned leave: SIGTERM; keepalived sends priority 0, and the other waits for its skew,"
        " 0.6 times the interval. Planned return: started again; keepalived preempts.\n\n"
        "keepalived is Debian's, with two hosts and one address; adverts each 1 s are its default"
        " (VRRP version 2), each 0.1 s need version 3."
        f" {trials} trials of each, {CLIENTS} clients in each; {doubles} answers were double.\n\n"
        f"| | {' | '.join(FAULTS)} |\n|---{'|---' * len(FAULTS)}|\n"
        + "\n".join(rows)
        + f"\n\n{plot}"
    )


def _cell(gaps: Sequence[float]) -> str:
    return f"{1000 * statistics.median(gaps):.0f} / {1000 * gaps[-1]:.0f}"
