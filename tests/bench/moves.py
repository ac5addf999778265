"""What buckets that move cost, and what they never cost. `make bench-moves`, as root.

Runs every scenario of tests/netns/scenarios.py whole, on this machine's kernel, and writes
docs/moves.md: what had to be, and what was measured.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.netns import scenarios
from tests.netns.support import apply, apply_all, configure
from vipnft.buckets import assign
from vipnft.kernel import nft
from vipnft.lab.lab import Lab
from vipnft.model import Mode, Xdp

DOCUMENT = Path(__file__).parents[2] / "docs/moves.md"
NAMES = 40


class Row(NamedTuple):
    what: str
    must: str
    found: str


def quiet(where: Path) -> list[Row]:
    """Two hosts, and once more one of the two alone: this machine then has CPU for more."""
    rows = []
    for hosts in (2, 1):
        with Lab.up(f"bench-quiet-{os.getpid()}", hosts) as lab:
            text = lab.config.read_text()
            if hosts == 1:
                lab.config.write_text(text + '[[host]]\nname = "web2"\n')
            for host in lab.hosts:
                apply(lab, host, Mode.SWITCH)
            here = where / str(hosts)
            here.mkdir()
            found = scenarios.quiet_buckets(lab, here, times=1000 // hosts, pause=0.03 * hosts)
        who = "two hosts, each of which gets every packet" if hosts == 2 else "one of the two"
        rows.append(
            Row(
                f"traffic to buckets that do not move, through 1,000 rebalances: {who}",
                "300,000 packets/s or more, 0 lost, 0 taken by two",
                f"{found['lost or twice']} lost or taken by two of {found['packets']:,} at"
                f" {found['packets per second']:,}/s, through {found['rebalances']:,};"
                f" {found['backlog drops']} dropped by full CPU queues; a transaction took"
                f" {found['kernel ms']:.2f} ms of CPU in the kernel (mean), and returned after"
                f" {found['median ms']:.1f} ms (median; the CPUs are busy with packets)",
            )
        )
    return rows


def staged(where: Path) -> list[Row]:
    """With an XDP stage on both hosts, which is changed in each rebalance, too."""
    with Lab.up(f"bench-staged-{os.getpid()}", 2) as lab:
        configure(lab, xdp=Xdp.NATIVE)
        apply_all(lab)
        # Where an XDP program is, a veth's queue is short: none is to be full.
        slowly = "--cpus 1 --rate 20000pps"
        found = scenarios.quiet_buckets(lab, where, times=500, pause=0.03, pace=slowly)
        dropped = scenarios.dropped_in_front(lab)
    return [
        Row(
            "the same with an XDP stage, which each rebalance changes as well: two hosts",
            "0 lost, 0 taken by two",
            f"{found['lost or twice']} lost or taken by two of {found['packets']:,} at"
            f" {found['packets per second']:,}/s, through {found['rebalances']:,};"
            f" {found['backlog drops']} dropped by full queues; {dropped:,} were another host's,"
            " and ended in the stage",
        )
    ]


def still(_: Path) -> list[Row]:
    with Lab.up(f"bench-still-{os.getpid()}", 2) as lab:
        for host in lab.hosts:
            apply(lab, host, Mode.SWITCH)
        found = scenarios.rebalances(lab, "web1", times=500)
    return [
        Row(
            "time of one rebalance in the kernel, 64 of 256 buckets",
            "1 ms median",
            f"{found['kernel ms']:.2f} ms of CPU in the kernel (mean of {found['times']});"
            f" with libnftables' own work {found['median ms']:.2f} ms median,"
            f" {found['p99 ms']:.2f} ms p99",
        )
    ]


def busy(where: Path) -> list[Row]:
    with Lab.up(f"bench-busy-{os.getpid()}", 5) as lab:
        found = scenarios.busy_connections(lab, where, count=500, kilobytes=1000)
    return [
        Row(
            "500 connections that are open and busy (slow downloads from nginx), hosts"
            " 4 → 3 → 4 → 5, weights changed",
            "0 broken, bytes checked",
            f"{found['broken']} broken, {found['whole']} whole by SHA-256,"
            f" {found['moves']} changes",
        ),
        Row(
            "new connections right after a move",
            "all at the new owner",
            f"all 200 after each of {found['moves']} changes (else the line above fails)",
        ),
    ]


def dead(where: Path) -> list[Row]:
    with Lab.up(f"bench-dead-{os.getpid()}", 4) as lab:
        found = scenarios.takeover(lab, where, count=200)
    return [
        Row(
            "a host killed with 200 open connections, `--takeover` on the others",
            "every client reset and served within 1 s of the takeover; none hangs",
            f"{found['reset']} reset, {found['served again']} served again;"
            f" {found['median seconds']:.2f} s median, {found['worst seconds']:.2f} s worst after"
            f" the last host's apply (which took {found['takeover seconds']:.2f} s)",
        )
    ]


def killed(_: Path) -> list[Row]:
    with Lab.up(f"bench-kill-{os.getpid()}", 4) as lab:
        found = scenarios.interrupted(lab, points=200)
    return [
        Row(
            "a rebalance interrupted (kill -9, 200 random points)",
            "old or new state, never between; the next `apply` heals",
            f"{found['old']} old, {found['new']} new, 0 between; all healed",
        )
    ]


def killed_staged(_: Path) -> list[Row]:
    with Lab.up(f"bench-kill-staged-{os.getpid()}", 4) as lab:
        configure(lab, xdp=Xdp.NATIVE)
        found = scenarios.interrupted(lab, points=200)
    return [
        Row(
            "the same with an XDP stage, looked at after each kill",
            "it drops nothing that the rules take",
            f"{found['old']} old, {found['new']} new, 0 between, 0 wrong drops; all healed",
        )
    ]


SCENARIOS: list[Callable[[Path], list[Row]]] = [
    quiet,
    staged,
    still,
    busy,
    dead,
    killed,
    killed_staged,
]


def ratios() -> str:
    """Return the table of moves over the least possible, for hosts that never talk."""
    lines = [
        "| equal hosts | " + " | ".join(f"{size} buckets" for size in (256, 1024, 2048)) + " |",
        "|---|---|---|---|",
    ]
    for hosts in (2, 4, 8, 12, 16, 24, 31):
        means = [
            statistics.fmean(_ratio(hosts, size, seed) for seed in range(NAMES))
            for size in (256, 1024, 2048)
        ]
        lines.append(f"| {hosts} and one more | " + " | ".join(f"{m:.2f}" for m in means) + " |")
    return "\n".join(lines)


def _ratio(hosts: int, size: int, seed: int) -> float:
    names = [f"host-{seed}-{n}" for n in range(hosts + 1)]
    few = assign.assign(dict.fromkeys(names[:-1], 1), size)
    many = assign.assign(dict.fromkeys(names, 1), size)
    least = len(assign.moves(few, assign.assign(dict.fromkeys(names, 1), size, few)))
    return len(assign.moves(few, many)) / least


def main() -> None:
    """Run all, or those named on the command line; only a whole run writes the document."""
    chosen = [s for s in SCENARIOS if s.__name__ in sys.argv[1:]] or SCENARIOS
    rows: list[Row] = []
    for scenario in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as where:
            found = scenario(Path(where))
        for row in found:
            print(f"{row.what}\n    must be {row.must or '-'}\n    {row.found}")
        print(f"    ({scenario.__name__}: {time.monotonic() - began:.0f} s)", flush=True)
        rows += found
    if chosen == SCENARIOS:
        DOCUMENT.write_text(document(rows), encoding="utf-8")


def document(rows: list[Row]) -> str:
    table = "\n".join(f"| {row.what} | {row.must} | {row.found} |" for row in rows)
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, libnftables {nft.version()}"
    return f"""# Buckets that move: what was measured

Written by `make bench-moves`, on {machine}. The scenarios are
`tests/netns/scenarios.py`; the tests run them small.

| what | must be | measured |
|---|---|---|
{table}

## Moves over the least possible

`apply` works out the owners from the file alone, so that hosts which never talk agree. What that
costs in moves when one of N equal hosts comes or goes, over the fewest moves that any assignment
could do with, as a mean over {NAMES} sets of names:

{ratios()}

256 buckets stay within 1.5 up to about 12 hosts; for more, take 2048. With previous owners
(agents, and `--takeover`) the moves are always the least possible, exactly.
"""


if __name__ == "__main__":
    main()
