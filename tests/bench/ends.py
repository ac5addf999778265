"""Where it ends: foreign packets beside own work, what `apply` can carry, what flooding costs.

A host that compresses a page for each request, on a CPU of its own, is flooded with other hosts'
packets at several rates; its requests a second are compared with those of the same round without.
Client and flood share the other CPU, and leave some of it: the host is what is full. What a foreign
packet takes of its CPU follows from that, and from it how many hosts pay.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench import owntraffic, plots, service
from tests.bench.hotpath import CLASSIC, COPIES, OURS, RIVAL, arrived, clients_of, feed, frame
from tests.netns.scenarios import backlog_drops, trafgen_file
from tests.netns.support import nginx, on_hosts, plug_in, shell
from vipnft.config.writer import render
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.model import Cluster, Mode, Segment, default_listen_mac

RATES = (0, 50_000, 100_000, 200_000, 400_000)  # foreign packets/s that are asked for
ROUNDS = 5
FLOODED = (OURS, RIVAL, CLASSIC)
LIMIT = 1.0  # seconds that `apply` may take
BUSY_PAGE = 8000  # bytes to be compressed for a request
MANY, PAGE = 8, 20_000  # hosts on a flooded segment, and bytes of a page
SIZES = (2, 4, 8, 16, 32, 64)
HEAVY = 0.005  # seconds of CPU that a request of a heavy service takes


def measure(where: Path) -> dict[str, Any]:
    """Return what was measured of all three."""
    found = {"drowned": drowned(where), "apply": applies(), "flooded": flooded(where)}
    print(found, flush=True)
    return found


# Foreign packets beside own work.


def drowned(where: Path) -> dict[str, Any]:
    """Return, by setup, (foreign packets/s, share of requests/s that is left), and by kind of
    request what it costs: (requests/s, packets received for each)."""
    ways = owntraffic.ways()
    known = {way.name: number for number, way in enumerate(ways, 1) if way.name in FLOODED}
    points: dict[str, dict[int, list[tuple[float, float]]]]
    points = {name: {rate: [] for rate in RATES} for name in known}
    page = service.page()[:BUSY_PAGE]
    with (
        Lab.up(f"bench-ends-{os.getpid()}", len(ways)) as lab,
        owntraffic.hosts(lab, where, content=page, more=service.GZIP),
    ):
        part, owner = owntraffic.OWN_PART, owntraffic.owner()
        clients = clients_of(lab, 2, mine=False, own=part, host=owner)
        for number in known.values():
            feed(lab, number)
            target = ways[number - 1].mac.replace("{n}", str(number))
            file = where / f"flood-{number}"
            trafgen_file((frame("mid-stream TCP", client, target) for client in clients), file)
        for _ in range(ROUNDS):
            for name, number in known.items():
                owntraffic.lead(lab, number)
                alone = 0.0
                for rate in RATES:
                    with _flood(lab, where / f"flood-{number}", number, rate):
                        foreign, got = _beside(lab, number)
                    alone = alone or got
                    points[name][rate].append((foreign, got / alone))
        number = known[OURS]
        owntraffic.lead(lab, number)
        kinds = {kind: _cost(lab, number, take) for kind, take in _KINDS.items()}
    for of in points.values():
        (own, _), *_ = of[0]
        for pairs in of.values():
            pairs[:] = [(max(0.0, seen - own * left), left) for seen, left in pairs]
    shares = {
        name: [tuple(map(statistics.median, zip(*pairs, strict=True))) for pairs in of.values()]
        for name, of in points.items()
    }
    return {"shares": shares, "kinds": kinds}


_KINDS: Mapping[str, Callable[[Lab], float]] = {
    "kept-alive requests": owntraffic.requests,
    "a connection for each request": owntraffic.connections,
}


@contextmanager
def _flood(lab: Lab, file: Path, number: int, rate: int) -> Iterator[None]:
    if not rate:
        yield
        return
    frames = round(rate / COPIES * 1.5 * owntraffic.SECONDS)  # it is over soon after
    words = ["trafgen", "-i", str(file), "-o", f"feed{number}", "-P", "1", "-q"]
    words += ["-t", f"{round(1e6 * COPIES / rate)}us", "-n", str(frames)]
    flood = lab.popen("segment", words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        flood.wait()


def _beside(lab: Lab, number: int) -> tuple[float, float]:
    """Return foreign packets/s that the host's rules saw, and own requests/s."""
    before, drops, began = arrived(lab, number), backlog_drops(), time.monotonic()
    got = owntraffic.wrk(lab, "segment", "/big", "-H 'Accept-Encoding: gzip'")
    seconds = time.monotonic() - began
    seen = arrived(lab, number) - before - (backlog_drops() - drops)
    return seen / seconds, got


def _cost(lab: Lab, number: int, take: Callable[[Lab], float]) -> tuple[float, float]:
    rates, packets = [], []
    for _ in range(ROUNDS):
        before = arrived(lab, number)
        rates.append(take(lab))
        packets.append((arrived(lab, number) - before) / (rates[-1] * owntraffic.SECONDS))
    return statistics.median(rates), statistics.median(packets)


def foreign_cost(shares: Sequence[Sequence[float]]) -> float:
    """Return what one foreign packet takes of the host's CPU, in seconds: by least squares."""
    return sum(rate * (1 - left) for rate, left in shares) / sum(rate**2 for rate, _ in shares)


def efficiency(hosts: int, seconds: float, packets: float, foreign: float) -> float:
    """Return which share of so many hosts' CPUs goes into requests, each of which takes `seconds`
    of its own host and so many packets that each of the others drops."""
    return seconds / (seconds + (hosts - 1) * packets * foreign)


# What `apply` can carry.


def _hosts(number: int) -> Cluster:
    return plan.cluster(number, buckets=min(65536, 4 * number))


def _buckets(number: int) -> Cluster:
    return plan.cluster(4, buckets=number)


def _vips(number: int) -> Cluster:
    vips = tuple(IPv4Address("192.0.3.0") + n for n in range(number))
    one = Segment(interface="eth0", vips=vips, listen_mac=default_listen_mac(vips))
    return replace(plan.cluster(4), segments=(one,))


WHAT: Mapping[str, tuple[Callable[[int], Cluster], Sequence[int]]] = {
    "hosts (4 buckets each)": (_hosts, (16, 64, 256, 1024, 4096, 16384)),
    "buckets (4 hosts)": (_buckets, (256, 1024, 4096, 16384, 65536)),
    "VIPs (4 hosts, 256 buckets)": (_vips, (1, 4, 16, 64, 256, 1024)),
}


def applies() -> dict[str, Any]:
    """Return, by what grows, (how many, seconds of the whole command); until LIMIT is passed."""
    found: dict[str, Any] = {}
    with Lab.up(f"bench-ends-{os.getpid()}", 1) as lab:
        for what, (cluster, sizes) in WHAT.items():
            found[what] = []
            for size in sizes:
                lab.config.write_text(render(cluster(size)))
                took = statistics.median(_apply(lab) for _ in range(3))
                found[what].append((size, took))
                if took > LIMIT:
                    break
    return found


def _apply(lab: Lab) -> float:
    began = time.monotonic()
    cold = str(Path(sys.executable).with_name("vipnft"))
    lab.run("web1", [cold, "apply", "--switch", "--drain", "0"], check=True)
    took = time.monotonic() - began
    lab.run("web1", ["vipnft", "down"], check=True)
    return took


def reach(points: Sequence[Sequence[float]]) -> str:
    """Return for how many `apply` takes LIMIT, on a line between two points."""
    for (few, below), (more, above) in pairwise(points):
        if below <= LIMIT < above:
            return f"about {few + (more - few) * (LIMIT - below) / (above - below):,.0f}"
    return f"more than {points[-1][0]:,}" if points[-1][1] <= LIMIT else f"under {points[0][0]:,}"


# What flooding costs the segment.


def flooded(where: Path) -> dict[str, float]:
    """Return bytes for each request for a page: to each host's port, to the port of somebody who
    has no part in it, and from all hosts."""
    home = where / "flooded"
    home.mkdir()
    with Lab.up(f"bench-ends-{os.getpid()}", MANY, Mode.SWITCH) as lab:
        for host in lab.hosts:
            lab.run(host, ["vipnft", "apply", "--switch", "--drain", "0"], check=True)
            shell(lab, host, _ONE)
        shell(lab, "router", _ONE)
        plug_in(lab, "clients", "eth9", "bystander")
        with on_hosts(lab, home, _paged):
            before = _octets(lab)
            rate = owntraffic.wrk(lab, "router", "/big")
            after = _octets(lab)
    grown = {key: (after[key] - before[key]) / (rate * owntraffic.SECONDS) for key in before}
    return {
        "host": statistics.median(grown[host, "tx"] for host in lab.hosts),
        "bystander": grown["bystander", "tx"],
        "answers": sum(grown[host, "rx"] for host in lab.hosts),
    }


_ONE = "ip link set eth0 gso_max_segs 1"  # a segment a packet, as on a wire


@contextmanager
def _paged(lab: Lab, host: str, where: Path) -> Iterator[None]:
    with nginx(lab, host, where, size=PAGE):
        yield


def _octets(lab: Lab) -> dict[tuple[str, str], int]:
    """Return the bytes that each port has sent to who is behind it, and received."""
    keys = [(port, way) for port in (*lab.hosts, "bystander") for way in ("rx", "tx")]
    files = " ".join(f"/sys/class/net/{port}/statistics/{way}_bytes" for port, way in keys)
    values = map(int, shell(lab, "segment", f"cat {files}").split())
    return dict(zip(keys, values, strict=True))


# The document.


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter, with its plot and the advice."""
    drowned, flooded = figures["drowned"], figures["flooded"]
    series = {
        name: [(rate / 1000, 100 * left) for rate, left in points]
        for name, points in drowned["shares"].items()
    }
    plot = plots.curves("drowned", "foreign packets/s, thousands", "% of own requests/s", series)
    costs = {name: foreign_cost(points) for name, points in drowned["shares"].items()}
    suffers = "\n".join(
        f"| {name} | {1e9 * cost:.0f} ns | {0.1 / cost:,.0f} | {1 / cost:,.0f} |"
        for name, cost in costs.items()
    )
    limits = "\n".join(
        f"| {what} | {', '.join(f'{n:,}: {took:.2f} s' for n, took in points)} | {reach(points)} |"
        for what, points in figures["apply"].items()
    )
    return (
        "## Where it ends\n\n"
        "**Foreign packets beside own work.** A host compresses a page for each request, as fast as"
        " one CPU can, and foreign packets are thrown at it, which the same CPU receives and drops."
        " (Here that is a veth pair's receiving, without a NIC's interrupts and driver.)\n\n"
        f"{plot}\n\n"
        "| | a foreign packet, all in all | a second: 10 % of the CPU | all of it |\n"
        f"|---|---|---|---|\n{suffers}\n\n"
        "**What `apply` can carry**: seconds of the whole command, the interpreter's start"
        " included, on a host where nothing was.\n\n"
        f"| | | one second |\n|---|---|---|\n{limits}\n\n"
        "**What flooding costs the segment.** In switch mode every frame to the listen MAC goes to"
        f" every port; answers go straight to the client. {MANY} hosts, pages of {PAGE:,} bytes,"
        f" for each request: {flooded['host']:,.0f} bytes to each host's port and"
        f" {flooded['bystander']:,.0f} to that of somebody who has no part in it;"
        f" {flooded['answers']:,.0f} bytes of answers. Every port on the segment carries all that"
        " clients send (requests, acknowledgements, uploads), and none but the way out carries the"
        " answers. `--igmp` keeps it from ports that did not join, where the switch snoops by"
        " MAC.\n\n" + _advice(costs[OURS], drowned["kinds"])
    )


def _advice(foreign: float, kinds: Mapping[str, tuple[float, float]]) -> str:
    """How many hosts, for which service."""
    services = {kind: (1 / rate, packets) for kind, (rate, packets) in kinds.items()}
    _, packets = services["a connection for each request"]
    heavy = f"{1000 * HEAVY:.0f} ms of CPU for each, in its own connection"
    services[heavy] = (HEAVY, packets)
    services[f"{heavy}, and 1 MB of answer"] = (HEAVY, packets + 1e6 / 1448 / 2)
    rows = []
    for kind, (seconds, packets) in services.items():
        shares = [efficiency(n, seconds, packets, foreign) for n in SIZES]
        cells = " | ".join(
            f"{100 * share:.0f} % ({n * share:.1f})" for n, share in zip(SIZES, shares, strict=True)
        )
        rows.append(f"| {kind}: {1e6 * seconds:,.0f} µs, {packets:.1f} packets | {cells} |")
    return (
        "## How many hosts, for what, and when not\n\n"
        "Each host pays for all packets that clients send. The share of N hosts' CPUs that goes"
        " into requests, and (how many hosts' worth that is), by the figures above, one CPU a"
        " host:\n\n"
        f"| a request takes | {' | '.join(map(str, SIZES))} |\n|---{'|---' * len(SIZES)}|\n"
        + "\n".join(rows)
        + "\n\n"
        "(An answer's every two full segments come back as an acknowledgement, which all hosts"
        " receive.)\n\n"
        "- **Made for it**: services whose requests are small and dear: name servers that sign or"
        " recurse, TLS and API hosts, mail, web pages. Tens of hosts lose little there.\n"
        "- **Fewer hosts**: services that do next to nothing for a packet, and large answers."
        " Beyond the number in the table at which another host adds little, more CPUs in a host"
        " help, more hosts do not.\n"
        '- **More hosts**: where the NIC\'s driver runs an XDP program (`xdp = "auto"`, see'
        " operating.md). A foreign packet then costs what the driver takes and a few ns, and three"
        ' to four times as many hosts are worth it: "The same, fed as a NIC feeds".\n'
        "- **Not for it**: uploads. All hosts' links carry the sum of what clients send, so the"
        " slowest link is the cluster's limit, however many hosts there are.\n"
        "- **The segment**: in switch mode give the cluster a VLAN or a switch of its own, or"
        " every other port gets the flood too. Routers' and switches' storm control for unknown"
        " unicast must allow what clients send at the peak.\n"
        "- **Take a director** (LVS, a layer-4 proxy, ECMP with BGP) where hosts are in several"
        " segments, where what clients send comes near a link's speed, where hosts must be chosen"
        " by load or by content, or where a client's source address says nothing, such as behind"
        " one NAT (affinity `flow` helps there, at a price: docs/how-it-works.md)."
    )
