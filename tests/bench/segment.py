"""A thousand hosts on one bridge: every client answered once, and what `apply` costs each host."""

import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.netns.support import VIP, shell
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.lab import Lab
from vipnft.model import Mode

SAMPLE = 20

# What `apply` itself takes in an interpreter that has all imported (the command line's library does
# so when it reads one first): user and system CPU.
_APPLY = """
import resource, sys
from vipnft.cli import forkserver
from vipnft.cli.main import main

def cpu():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)

try:
    sys.argv = ["vipnft", "which", "--config", "/dev/null", "192.0.2.1"]
    main()
except SystemExit:
    start = cpu()
sys.argv = ["vipnft", "apply", "--switch", "--drain", "0"]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(start, cpu() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Found:
    """Times in seconds, memory in bytes; `bare` (an interpreter that does nothing), `start` (with
    all imports) and `apply` (beyond `start`) are CPU, medians of a sample but for `bare`."""

    hosts: int
    clients: int
    buckets: int
    answered: int
    double: int
    unanswered: int
    up: float
    all_applied: float
    bare: float
    start: float
    apply: float
    worst_apply: float
    process: float
    memory: float
    answering: float


def measure(_: Path) -> dict[str, Any]:
    """Return a thousand hosts' figures, and `few`: what `apply` takes where there are eight."""
    found = asdict(crowd(hosts=1000, clients=2000, buckets=2048))
    with Lab.up(f"bench-few-{os.getpid()}", 8, Mode.SWITCH) as lab:
        found["few"] = statistics.median(_applied(lab, host)[1] for host in lab.hosts)
    print(found, flush=True)
    return found


def crowd(hosts: int, clients: int, buckets: int) -> Found:
    """Bring up a lab, apply on all hosts, and let every client connect once."""
    free = _available()
    began = time.monotonic()
    with ExitStack() as stack:
        lab = stack.enter_context(
            Lab.up(f"bench-many-{os.getpid()}", hosts, Mode.SWITCH, buckets=buckets)
        )
        up = time.monotonic() - began
        sample = [_applied(lab, host) for host in lab.hosts[:SAMPLE]]
        began = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(partial(_apply, lab), lab.hosts[SAMPLE:]))
        all_applied = time.monotonic() - began
        memory = (free - _available()) / hosts
        # The kernel of each host answers SYNs; who would accept is not asked for.
        for host in lab.hosts:
            server = stack.enter_context(lab.socket(host, socket.AF_INET, socket.SOCK_STREAM))
            server.bind((VIP, 80))
            server.listen(4096)
        wire = stack.enter_context(Wire(lab, "router"))
        shell(lab, "router", f"ping -c1 -W10 {VIP}")
        began = time.monotonic()
        for number in range(clients):
            one = stack.enter_context(lab.socket("clients", socket.AF_INET, socket.SOCK_STREAM))
            one.bind((str(plan.client_address(number)), 0))
            one.settimeout(30)
            one.connect((VIP, 80))
        answering = time.monotonic() - began
        wire.stop()
        tally = wire.tally
    applies = [taken for _, taken, _ in sample]
    return Found(
        hosts=hosts,
        clients=clients,
        buckets=buckets,
        answered=len(tally.answers),
        double=len(tally.doubles),
        unanswered=len(tally.unanswered),
        up=up,
        all_applied=all_applied,
        bare=_bare(),
        start=statistics.median(start for start, _, _ in sample),
        apply=statistics.median(applies),
        worst_apply=max(applies),
        process=statistics.median(peak for _, _, peak in sample) * 1024,
        memory=memory,
        answering=answering,
    )


def _apply(lab: Lab, host: str) -> None:
    lab.run(host, ["vipnft", "apply", "--switch", "--drain", "0"], check=True)


def _applied(lab: Lab, host: str) -> tuple[float, float, int]:
    said = lab.run(host, [sys.executable, "-c", _APPLY], check=True).stdout
    start, taken, peak = said.splitlines()[-1].split()
    return float(start), float(taken), int(peak)


def _bare() -> float:
    """Return the CPU that an interpreter takes which does nothing, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(SAMPLE):
        subprocess.run([sys.executable, "-c", ""], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / SAMPLE


def _available() -> int:
    """Return how much memory the machine has left, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)


def chapter(f: Mapping[str, Any]) -> str:
    """Return the document's chapter."""
    return (
        "## A thousand hosts on one segment\n\n"
        f"{f['hosts']:,} hosts on one bridge, {f['buckets']:,} buckets, {f['clients']:,} clients"
        " that connect once each.\n\n"
        "| what | must be | measured |\n|---|---|---|\n"
        f"| SYN\\|ACKs at the router's port | 1 a client | {f['answered']:,} clients answered,"
        f" {f['double']} twice, {f['unanswered']} not |\n"
        f"| `apply`, CPU beyond imports, first {SAMPLE} hosts | 50 ms | {1000 * f['apply']:.0f} ms"
        f" median, {1000 * f['worst_apply']:.0f} ms worst"
        f"{': not reached' if f['apply'] > 0.05 else ''}; where there are 8 hosts and 256 buckets"
        f" {1000 * f['few']:.0f} ms |\n"
        f"| CPU of an interpreter that does nothing; that has all imported | - |"
        f" {1000 * f['bare']:.0f} ms; {1000 * f['start']:.0f} ms |\n"
        f"| memory of a process, and of a host's network namespace with its rules | - |"
        f" {f['process'] / 1e6:.0f} MB, {f['memory'] / 1e6:.1f} MB |\n"
        "| lab up; apply on all, from a warm interpreter, one a CPU; all clients | - |"
        f" {f['up']:.0f} s; {f['all_applied']:.0f} s; {f['answering']:.0f} s |"
    )
