"""What a host's own traffic pays: requests, connections and bulk, beside no rules at all.

Every setup is a host with a real nginx and iperf3, at the end of a wire of its own: the segment's
network asks as the router would. It and its wrk or iperf3 keep to one CPU, the hosts and all that
they receive (RPS) to another, as if they were two machines, so that what is told is what the
host's CPU can do. Setups are asked in turn, so that a machine that slows down slows all of them;
what is told is the ratio to no rules.
"""

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tests.bench.hotpath import NOTHING, OURS, Cost, Rig, Setup, costs, said, setups, spread
from tests.netns.support import VIP, nginx, shell, until
from vipnft.buckets.phases import owners_of
from vipnft.config.writer import render
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.ruleset import affinity
from vipnft.ruleset.affinity import CLIENT

SECONDS, ROUNDS = 1, 14
PACKET = "a packet received"
ASKING = "taskset -c 0"
HOSTS_CPU = min(1, (os.cpu_count() or 1) - 1)


def requests(lab: Lab) -> float:
    """Kept-alive requests a second."""
    return wrk(lab, "segment", "/")


def connections(lab: Lab) -> float:
    """New connections a second, one request each."""
    return wrk(lab, "segment", "/", "-H 'Connection: close'")


def bulk(lab: Lab) -> float:
    """Bytes a second, from a client."""
    said = shell(lab, "segment", f"{ASKING} iperf3 -c {VIP} -t {SECONDS} -J")
    rate: float = json.loads(said)["end"]["sum_received"]["bits_per_second"] / 8
    return rate


def wrk(lab: Lab, node: str, page: str, more: str = "") -> float:
    """Return requests a second that a node gets answered, for SECONDS."""
    words = f"{ASKING} wrk -t1 -c32 -d{SECONDS}s {more} http://{VIP}{page}"
    found = re.search(r"Requests/sec: +([\d.]+)", said := shell(lab, node, words))
    assert found, said
    return float(found[1])


MUST = {"kept-alive requests/s": 0.98, "new connections/s": 0.95, "bulk": 0.97}
MEASURES: dict[str, Callable[[Lab], float]] = {
    "kept-alive requests/s": requests,
    "new connections/s": connections,
    "bulk": bulk,
}


OWN_PART = affinity.bucket(CLIENT, plan.NEAR_ROUTER, plan.SEED, 2)


def owner() -> str:
    """Return which of two hosts is the router's."""
    cluster = plan.cluster(2)
    router = affinity.bucket(CLIENT, plan.NEAR_ROUTER, cluster.seed, cluster.buckets)
    return owners_of(cluster)[router]


def ways() -> list[Setup]:
    """Return no rules first, then all others, each of which takes the router's packets."""
    return [NOTHING, *setups(2, OWN_PART, owner())]


@contextmanager
def hosts(lab: Lab, where: Path, *, content: bytes = b"", more: str = "") -> Iterator[None]:
    """Bring up every setup, with its servers, on a wire and a CPU of its own; see `nginx`."""
    lab.config.write_text(render(plan.cluster(2)))
    # Nobody waits in TIME_WAIT, or ports would run out within seconds.
    shell(lab, "segment", f"ip addr add {plan.NEAR_ROUTER}/32 dev lo; {_FORGET}")
    with ExitStack() as stack:
        for number, setup in enumerate(ways(), 1):
            host, target = f"web{number}", setup.mac.replace("{n}", str(number))
            shell(lab, host, setup.script.replace("{n}", str(number)))
            shell(lab, host, _FORGET)
            _received_by(lab, host, "eth0", HOSTS_CPU)
            neighbour = f"ip neigh replace {VIP} lladdr {target} dev {host} nud permanent"
            shell(lab, "segment", f"ip link set {host} nomaster up; {neighbour}")
            _received_by(lab, "segment", host, 0)
            with _started_on(HOSTS_CPU):
                stack.enter_context(nginx(lab, host, where, content=content, more=more))
                server = lab.popen(host, ["iperf3", "-s"], stdout=subprocess.DEVNULL)
            stack.callback(server.wait)
            stack.callback(server.kill)
            until(partial(shell, lab, host, "ss -ltnH sport = :5201"), what="iperf3")
        yield


_FORGET = "sysctl -qw net.ipv4.tcp_max_tw_buckets=0"


def _received_by(lab: Lab, node: str, interface: str, cpu: int) -> None:
    queue = f"/sys/class/net/{interface}/queues/rx-0/rps_cpus"
    shell(lab, node, f"echo {1 << cpu:x} > {queue}")


@contextmanager
def _started_on(cpu: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(where: Path) -> dict[str, Any]:
    """Return, by measure, each setup's ratio to no rules; and ns a packet."""
    with Lab.up(f"bench-own-{os.getpid()}", len(ways())) as lab, hosts(lab, where):
        found: dict[str, Any] = ratios(lab)
    with Lab.up(f"bench-own-{os.getpid()}", len(ways())) as lab:
        found[PACKET] = packets(lab, where)
    for measure, taken in found.items():
        print(f"{measure}:", said(taken, "{:.0f}" if measure == PACKET else "{:.3f}"), flush=True)
    return found


def ratios(lab: Lab) -> dict[str, dict[str, Cost]]:
    """Return, by measure and setup, the ratio to no rules: median, and the middle half."""
    taken: dict[str, list[dict[str, float]]] = {measure: [] for measure in MEASURES}
    setups = list(enumerate(ways(), 1))
    for turn in range(ROUNDS):
        first = turn % len(setups)
        for measure, take in MEASURES.items():
            got = {}
            for number, setup in (*setups[first:], *setups[:first]):
                lead(lab, number)
                got[setup.name] = take(lab)
            taken[measure].append(got)
    return {measure: _against(rounds, NOTHING.name) for measure, rounds in taken.items()}


def _against(rounds: Sequence[Mapping[str, float]], base: str) -> dict[str, Cost]:
    """Compare each round's values with all of that round, and these with the base's."""
    shares = [{name: got / fmean(one.values()) for name, got in one.items()} for one in rounds]
    unit = median(one[base] for one in shares)
    return {name: spread(one[name] / unit for one in shares) for name in rounds[0]}


def packets(lab: Lab, where: Path) -> dict[str, Cost]:
    """Return what one UDP packet to a host costs beyond no rules, up to a socket that is full."""
    rig = Rig(lab, 2, where, own=True)
    with ExitStack() as stack:
        for host in lab.hosts:
            full = stack.enter_context(lab.socket(host, socket.AF_INET, socket.SOCK_DGRAM))
            full.bind(("", 53))
        return costs("UDP", rig)


def lead(lab: Lab, number: int) -> None:
    """Let the VIP be at this host."""
    shell(lab, "segment", f"ip route replace {VIP} dev web{number} src {plan.NEAR_ROUTER}")


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter."""
    rows = []
    for name, packet in figures[PACKET].items():
        shares = ["{:.3f} ({:.3f} to {:.3f})".format(*figures[m][name]) for m in MEASURES]
        rows.append(f"| {name} | {' | '.join(shares)} | {packet[0]:.0f} ns |")
    missed = [m for m in MEASURES if figures[m][OURS][0] < MUST[m]]
    verdict = (
        f"\n\nNot reached: {', '.join(missed)}. The lease, the count of each bucket's packets and"
        " the guards on what leaves take it."
    )
    return (
        "## The cost of a host's own traffic\n\n"
        "As a ratio to no rules at all: medians and the middle half of the rounds. wrk and iperf3"
        " ask on one CPU; nginx, iperf3 and all that the kernel does for the host have another, as"
        " if they were two machines. The last column is what one received UDP packet costs, beyond"
        " no rules. All buckets are at rest; on the move, a packet costs more.\n\n"
        f"| | {' | '.join(MEASURES)} | {PACKET} |\n|---{'|---' * (len(MEASURES) + 1)}|\n"
        f"| must be | {' | '.join(str(MUST[m]) for m in MEASURES)} | - |\n"
        + "\n".join(rows)
        + (verdict if missed else "")
    )
