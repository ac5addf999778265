"""What a host's own traffic pays: requests, connections and bulk, beside no rules at all.

Every setup is a host with a real nginx and iperf3; the router asks each in turn, as wrk and iperf3
do, so that a machine that slows down slows all of them. What is told is the ratio to no rules in
the same round.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench.hotpath import HERE, OWN, Cost, Setup, setups, spread
from tests.netns.support import VIP, nginx, shell, until
from vipnft import affinity
from vipnft.affinity import CLIENT
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.model import Host
from vipnft.render import render

SECONDS = 1


def requests(lab: Lab) -> float:
    """Kept-alive requests a second."""
    return _wrk(lab, "")


def connections(lab: Lab) -> float:
    """New connections a second, one request each."""
    return _wrk(lab, "-H 'Connection: close'")


def bulk(lab: Lab) -> float:
    """Bytes a second, from a client."""
    said = shell(lab, "router", f"iperf3 -c {VIP} -t {SECONDS} -J")
    rate: float = json.loads(said)["end"]["sum_received"]["bits_per_second"] / 8
    return rate


def _wrk(lab: Lab, more: str) -> float:
    said = shell(lab, "router", f"wrk -t1 -c32 -d{SECONDS}s {more} http://{VIP}/")
    found = re.search(r"Requests/sec: +([\d.]+)", said)
    assert found, said
    return float(found[1])


MEASURES: dict[str, Callable[[Lab], float]] = {
    "kept-alive requests/s": requests,
    "new connections/s": connections,
    "bulk": bulk,
}


def ways() -> list[Setup]:
    """Return no rules first, then all others, each of which takes the router's packets."""
    own = affinity.bucket(CLIENT, plan.NEAR_ROUTER, plan.SEED, 2)
    return [Setup("no rules", OWN, HERE), *setups(2, own)]


@contextmanager
def hosts(lab: Lab, where: Path) -> Iterator[None]:
    """Bring up every setup, with its servers."""
    lab.config.write_text(render(replace(lab.cluster, hosts=(Host(name="web1"),))))
    with ExitStack() as stack:
        for number, setup in enumerate(ways(), 1):
            host = f"web{number}"
            shell(lab, host, setup.script.replace("{n}", str(number)))
            stack.enter_context(nginx(lab, host, where))
            server = lab.popen(host, ["iperf3", "-s"], stdout=subprocess.DEVNULL)
            stack.callback(server.wait)
            stack.callback(server.kill)
            until(partial(shell, lab, host, "ss -ltnH sport = :5201"), what="iperf3")
        yield


def ratios(lab: Lab, rounds: int) -> dict[str, dict[str, Cost]]:
    """Return, by measure and setup, the ratio to no rules: median, and the middle half."""
    found: dict[str, dict[str, list[float]]] = {m: {w.name: [] for w in ways()} for m in MEASURES}
    for _ in range(rounds):
        for measure, take in MEASURES.items():
            base = 0.0
            for number, setup in enumerate(ways(), 1):
                _lead(lab, number, setup)
                got = take(lab)
                base = base or got
                found[measure][setup.name].append(got / base)
    return {m: {w: spread(of) for w, of in ways.items()} for m, ways in found.items()}


def _lead(lab: Lab, number: int, setup: Setup) -> None:
    """Let the router's frames to the VIP reach this host, and no other."""
    target = setup.mac.replace("{n}", str(number))
    shell(lab, "router", f"ip neigh replace {VIP} lladdr {target} dev eth0 nud permanent")
    for host in lab.hosts:
        state = "on" if host == f"web{number}" else "off"
        shell(lab, "segment", f"bridge link set dev {host} mcast_flood {state} flood {state}")
