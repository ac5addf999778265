"""A thousand hosts on one bridge: every client answered once, and what `apply` costs each host."""

import os
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.netns.support import VIP, shell
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.lab.wire import Wire
from vipnft.model import Mode

SAMPLE = 20

# What `apply` itself takes in an interpreter that has all imported: user and system CPU.
_APPLY = """
import resource, sys
from vipnft import announce, cli, config, memory, node
from vipnft.cli import hosts, moves, network
from vipnft.kernel import frames, links, nft, sysctl

def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

try:
    sys.argv = ["vipnft", "which", "--config", "/dev/null", "192.0.2.1"]
    cli.main()
except SystemExit:
    before, peak = cpu(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.argv = ["vipnft", "apply", "--switch", "--drain", "0"]
try:
    cli.main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(before, cpu() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Found:
    """Times in seconds, memory in bytes; `apply` and `start` are CPU, medians of a sample."""

    hosts: int
    clients: int
    buckets: int
    answered: int
    double: int
    unanswered: int
    up: float
    all_applied: float
    start: float
    apply: float
    worst_apply: float
    process: float
    memory: float
    answering: float


def measure(hosts: int, clients: int, buckets: int) -> Found:
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
        for host in lab.hosts[SAMPLE:]:
            lab.run(host, ["vipnft", "apply", "--switch", "--drain", "0"], check=True)
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
        start=statistics.median(start for start, _, _ in sample),
        apply=statistics.median(applies),
        worst_apply=max(applies),
        process=statistics.median(peak for _, _, peak in sample) * 1024,
        memory=memory,
        answering=answering,
    )


def _applied(lab: Lab, host: str) -> tuple[float, float, int]:
    said = lab.run(host, [sys.executable, "-c", _APPLY], check=True).stdout
    start, taken, peak = said.splitlines()[-1].split()
    return float(start), float(taken), int(peak)


def _available() -> int:
    """Return how much memory the machine has left, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
