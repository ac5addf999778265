"""Every figure that says how fast this is, and how far it goes. `make bench`, as root.

Each part measures, prints, and stores its figures in docs/benchmarks.json; docs/benchmarks.md and
its plots are made of what is stored. `make bench PARTS="own moves"` measures these again.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench import disruption, hotpath, owntraffic, plots, segment
from vipnft.kernel import nft
from vipnft.lab.lab import Lab

DOCS = Path(__file__).parents[2] / "docs"
STORED, DOCUMENT = DOCS / "benchmarks.json", DOCS / "benchmarks.md"
ROUNDS = 7
FINE = 40  # rounds of short measurements
OURS, RIVAL = "vipnft", "IPaddr2's nft rules"

Figures = dict[str, Any]


def foreign(where: Path) -> Figures:
    """1. The cost of other hosts' traffic."""
    found: Figures = {}
    for hosts in hotpath.SIZES:
        home = where / str(hosts)
        home.mkdir()
        with Lab.up(f"bench-foreign-{os.getpid()}", hotpath.HOSTS) as lab:
            rig = hotpath.Rig(lab, hosts, home)
            for kind in hotpath.KINDS:
                costs = dict(hotpath.costs(kind, rig, FINE))
                found[f"{hosts} hosts, {kind}"] = costs
                print(f"{hosts} hosts, {kind}:", _line(costs, "{:.0f}"), flush=True)
    return found


def own(where: Path) -> Figures:
    """2. The cost of a host's own traffic."""
    with (
        Lab.up(f"bench-own-{os.getpid()}", len(owntraffic.ways())) as lab,
        owntraffic.hosts(lab, where),
    ):
        found = owntraffic.ratios(lab, ROUNDS)
    for measure, ratios in found.items():
        print(f"{measure}:", _line(ratios, "{:.3f}"), flush=True)
    return found


def many(_: Path) -> Figures:
    """4. A thousand hosts on one segment."""
    found = dataclasses.asdict(segment.measure(hosts=1000, clients=2000, buckets=4096))
    print(found, flush=True)
    return found


def moves(_: Path) -> Figures:
    """5. What changes host when one of N leaves or joins."""
    found: Figures = {}
    for way in disruption.WAYS:
        found[way] = {str(n): disruption.fractions(way, n) for n in disruption.HOSTS}
        print(f"{way}:", found[way], flush=True)
    return found


PARTS: Mapping[str, Callable[[Path], Figures]] = {
    "foreign": foreign, "own": own, "many": many, "moves": moves,
}  # fmt: skip


def _line(costs: Mapping[str, tuple[float, ...]], form: str) -> str:
    return "; ".join(f"{name} {form.format(cost[0])}" for name, cost in costs.items())


# The document.


def document(stored: Mapping[str, Figures]) -> str:
    """Return docs/benchmarks.md, of what is stored."""
    chapters = {
        "foreign": _foreign_chapter, "own": _own_chapter, "many": _many_chapter,
        "moves": _moves_chapter,
    }  # fmt: skip
    parts = [chapters[part](stored[part]["figures"]) for part in PARTS if part in stored]
    runs = "\n".join(f"- `{part}`: {stored[part]['machine']}" for part in PARTS if part in stored)
    return (
        "# Benchmarks\n\n"
        'Written by `make bench` (parts: `make bench PARTS="own moves"`), which stores every'
        " figure in [benchmarks.json](benchmarks.json). All that is compared ran in turn in one"
        " run; absolute figures differ from machine to machine, ratios are what counts."
        " [moves.md](moves.md) and [failover.md](failover.md) have the rest.\n\n"
        f"{runs}\n\n" + "\n\n".join(parts) + "\n"
    )


def _foreign_chapter(figures: Figures) -> str:
    rows = []
    for case, costs in figures.items():
        ours = costs[OURS][0]
        against = (RIVAL, "xt_cluster", "iptables INPUT, state and netmask")
        ratios = " | ".join(f"{ours / costs[other][0]:.2f}" for other in against)
        spread = f"{costs[OURS][1]:.0f} to {costs[OURS][2]:.0f}"
        rows.append(f"| {case} | {ours:.0f} ns ({spread}) | {costs[RIVAL][0]:.0f} ns | {ratios} |")
    shown = figures["16 hosts, UDP"]
    plot = plots.bars("foreign", "ns a packet above dropping everything", shown)
    return (
        "## The cost of other hosts' traffic\n\n"
        "Per packet of a foreign bucket, above an ingress chain that drops everything: medians and"
        " the middle half of the rounds; and this project's cost as a share of the others', which"
        " must be at most 1, 0.4 and 0.3.\n\n"
        "| | vipnft | IPaddr2's nft rules | of IPaddr2's | of xt_cluster's | of iptables' |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + f"\n\n16 hosts, UDP:\n\n{plot}"
    )


def _own_chapter(figures: Figures) -> str:
    names = list(next(iter(figures.values())))
    rows = [
        f"| {name} | "
        + " | ".join("{:.3f} ({:.3f} to {:.3f})".format(*figures[m][name]) for m in figures)
        + " |"
        for name in names
    ]
    return (
        "## The cost of a host's own traffic\n\n"
        "As a ratio to no rules at all in the same round (wrk against nginx, iperf3): medians and"
        " the middle half. Must be 0.97 or more, for new connections 0.92.\n\n"
        f"| | {' | '.join(figures)} |\n|---{'|---' * len(figures)}|\n" + "\n".join(rows)
    )


def _many_chapter(f: Figures) -> str:
    return (
        "## A thousand hosts on one segment\n\n"
        f"{f['hosts']:,} hosts on one bridge, {f['buckets']:,} buckets, {f['clients']:,} clients"
        " that connect once each.\n\n"
        "| what | must be | measured |\n|---|---|---|\n"
        f"| SYN\\|ACKs at the router's port | 1 a client | {f['answered']:,} clients answered,"
        f" {f['double']} twice, {f['unanswered']} not |\n"
        f"| `apply`, CPU beyond the interpreter's start | 50 ms | {1000 * f['apply']:.0f} ms"
        f" median, {1000 * f['worst_apply']:.0f} ms worst |\n"
        f"| the interpreter's start with all imports, CPU | - | {1000 * f['start']:.0f} ms |\n"
        f"| memory of a process, and of a host's network namespace with its rules | - |"
        f" {f['process'] / 1e6:.0f} MB, {f['memory'] / 1e6:.1f} MB |\n"
        f"| lab up; apply on all, one after another; all clients | - | {f['up']:.0f} s;"
        f" {f['all_applied']:.0f} s; {f['answering']:.0f} s |"
    )


def _moves_chapter(figures: Figures) -> str:
    hosts = list(next(iter(figures.values())))
    rows = [
        f"| {way} | "
        + " | ".join("{:.1f} / {:.1f}".format(*(100 * x for x in of[n])) for n in hosts)
        + " |"
        for way, of in figures.items()
    ]
    series = {way: [(int(n), 100 * of[n][0]) for n in hosts] for way, of in figures.items()}
    plot = plots.lines("moves", "hosts", "% of clients that move when one leaves", series)
    return (
        "## Clients that change host\n\n"
        "In percent, when one of N hosts leaves / when one joins. `vipnft` with 256 buckets; its"
        " agents must be at the least possible.\n\n"
        f"| N | {' | '.join(hosts)} |\n|---{'|---' * len(hosts)}|\n"
        + "\n".join(rows)
        + f"\n\n{plot}"
    )


def machine() -> str:
    """Return what this ran on."""
    said = subprocess.run(["lscpu", "-J"], capture_output=True, text=True, check=True).stdout
    fields = {one["field"]: one["data"] for one in json.loads(said)["lscpu"]}
    model = fields.get("Model name:", platform.machine())
    return (
        f"{os.cpu_count()} CPUs ({model}), Linux {platform.release()}, libnftables"
        f" {nft.version()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def main() -> None:
    stored: dict[str, Figures] = json.loads(STORED.read_text()) if STORED.exists() else {}
    for part in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as where:
            figures = PARTS[part](Path(where))
        stored[part] = {"machine": machine(), "figures": figures}
        stored = json.loads(json.dumps(stored))
        STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(stored), encoding="utf-8")


if __name__ == "__main__":
    main()
