"""What must hold while buckets move, as functions of a lab: tests run them small, and
`make bench-moves` runs them whole and publishes their figures."""

import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from typing import Any

from tests.netns.packets import IPV4, ROUTER, udp
from tests.netns.support import LISTEN, PROGRAMS, VIP, apply, asked, nginx, on_hosts, shell, until
from vipnft.buckets.phases import owners_of
from vipnft.buckets.ranges import ranges
from vipnft.lab.lab import Lab
from vipnft.model import Cluster
from vipnft.ruleset.affinity import CLIENT
from vipnft.ruleset.affinity import bucket as bucket_of
from vipnft.ruleset.ndp import mac

Figures = dict[str, Any]
_PROBE = """
nft add table inet probe
nft add chain inet probe in '{ type filter hook input priority 0; }'
nft add rule inet probe in ip daddr 192.0.2.100 udp dport 4097 counter
"""
_STILL_S = 5.0  # seconds
_SENT = """
nft add table netdev probe
nft add chain netdev probe out '{ type filter hook egress device eth0 priority 0; }'
nft add rule netdev probe out ip daddr 192.0.2.100 udp dport 4097 counter
"""


def client_in(bucket: int, cluster: Cluster, skip: int = 0) -> str:
    """Return a client's address whose bucket is `bucket`, the one after `skip` others."""
    found = (
        str(address)
        for n in range(1, 2**22 - 1)
        if bucket_of(CLIENT, address := IPv4Address("10.64.0.0") + n, cluster.seed, cluster.buckets)
        == bucket
    )
    for _ in range(skip):
        next(found)
    return next(found)


def trafgen_file(frames: Iterable[bytes], file: Path) -> Path:
    """Write a trafgen configuration that sends these frames in turn."""
    file.write_text("\n".join(f"{{ {','.join(map(str, frame))} }}" for frame in frames))
    return file


def sent(lab: Lab) -> int:
    """Return how many of these packets have left the router."""
    return _counted(lab, "router", "list chain netdev probe out")


def _counted(lab: Lab, node: str, listing: str) -> int:
    return int(shell(lab, node, f"nft {listing} | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'"))


def backlog_drops() -> int:
    """Return frames that this machine's CPUs dropped before any rule saw them."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


def full_queues(lab: Lab) -> int:
    """Return frames that were dropped before any rule saw them: by CPUs, and by the queues that
    veths have where an XDP program is."""
    words = "cat /sys/class/net/*/statistics/tx_dropped"
    queues = (shell(lab, node, words).split() for node in ("segment", "router"))
    return backlog_drops() + sum(int(one) for queue in queues for one in queue)


def quiet_buckets(lab: Lab, where: Path, *, times: int, pause: float, pace: str = "") -> Figures:
    """Hosts exchange 64 of 256 buckets `times` times each while the others' traffic flows.

    The other buckets of the hosts that are in the lab, that is: the file may name more hosts. As
    fast as can be, or as trafgen's words for a `pace` say.
    """
    owners = owners_of(lab.cluster)
    moving = [b for b in range(256) if owners[b] == "web1"][:64]
    quiet = [b for b in range(256) if b not in moving and owners[b] in lab.hosts]
    clients = [client_in(b, lab.cluster) for b in quiet]
    head = mac(LISTEN) + mac(ROUTER) + IPV4
    file = trafgen_file((head + udp(c, VIP, 4097) for c in clients), where / "trafgen.cfg")
    for host in lab.hosts:
        shell(lab, host, _PROBE)
    shell(lab, "router", _SENT)
    rebalancer = [sys.executable, str(PROGRAMS / "rebalancer.py"), str(times), ranges(moving)]
    drops = full_queues(lab)
    words, said = ["setsid", "trafgen", "-i", str(file), "-o", "eth0", "-q"], where / "trafgen.log"
    with said.open("w") as log:
        flow = lab.popen("router", [*words, *pace.split()], stdout=log, stderr=log)
    until(lambda: sent(lab) > 1000, what="the traffic")
    began, first = time.monotonic(), sent(lab)
    movers = [
        lab.popen(host, [*rebalancer, str(pause)], stdout=subprocess.PIPE) for host in lab.hosts
    ]
    both = [pair for mover in movers for pair in json.loads(mover.communicate()[0])]
    milliseconds, kernel = zip(*both, strict=True)
    rate = (sent(lab) - first) / (time.monotonic() - began)
    assert flow.poll() is None, f"the traffic ended before the moves: {said.read_text()[-500:]}"
    os.killpg(flow.pid, signal.SIGKILL)  # it forked: one process a CPU
    flow.wait()
    total = sent(lab)
    taken = _settled(lab, total, drops)
    return {
        "packets": total,
        "packets per second": round(rate),
        "rebalances": len(milliseconds),
        "taken": taken,
        "lost or twice": total - taken,
        "backlog drops": full_queues(lab) - drops,
        "median ms": statistics.median(milliseconds),
        "kernel ms": statistics.fmean(kernel),
        "seen": _seen(lab, quiet),
    }


def dropped_in_front(lab: Lab) -> int:
    """Return how many packets the hosts' XDP stages have dropped."""
    said = [lab.run(host, ["vipnft", "status", "--json"]).stdout for host in lab.hosts]
    return sum(sum(json.loads(one)["nics"][0]["stage"]["dropped"]) for one in said)


def rebalances(lab: Lab, host: str, *, times: int) -> Figures:
    """One host gives 64 buckets away and takes them back, with nothing else going on."""
    owners = owners_of(lab.cluster)
    moving = ranges([b for b in range(256) if owners[b] == host][:64])
    words = [sys.executable, str(PROGRAMS / "rebalancer.py"), str(times), moving, "0"]
    found = json.loads(lab.run(host, words, check=True).stdout)
    milliseconds, kernel = zip(*found, strict=True)
    return {
        "times": times,
        "median ms": statistics.median(milliseconds),
        "p99 ms": statistics.quantiles(milliseconds, n=100)[98],
        "kernel ms": statistics.fmean(kernel),
    }


def _settled(lab: Lab, total: int, drops: int) -> int:
    """Return how many packets the hosts' stacks were given: once that is all, less this machine's
    drops, or once it has not grown for as long as a packet may have to wait for a processor."""

    def count() -> int:
        return sum(_counted(lab, host, "list chain inet probe in") for host in lab.hosts)

    last, since = count(), time.monotonic()
    while last < total - (full_queues(lab) - drops) and time.monotonic() - since < _STILL_S:
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def _seen(lab: Lab, quiet: list[int]) -> int:
    """Return how many packets of quiet buckets were counted by their owners at ingress."""
    owners = owners_of(lab.cluster)
    total = 0
    for host in lab.hosts:
        report = json.loads(lab.run(host, ["vipnft", "status", "--json"]).stdout)
        total += sum(report["bucket_packets"][b] for b in quiet if owners[b] == host)
    return total


def rebalance(lab: Lab, text: str, *, fresh: str = "", drain: str = "5m") -> None:
    """Bring all hosts to a new file without a moment of two owners: first everybody gives,
    then everybody takes. This is what docs/operating.md tells an operator to do."""
    lab.config.write_text(text)
    old = [h for h in lab.hosts if h != fresh and _applied(lab, h)]
    for host in old:
        plan = json.loads(shell(lab, host, "vipnft plan --json"))
        for pair in plan["pairs"]:
            if pair["from"] == host:
                chosen = ranges(pair["buckets"])
                shell(lab, host, f"vipnft release {chosen} --to {pair['to']} --drain {drain}")
    for host in [*old, *([fresh] if fresh else [])]:
        lab.run(host, ["vipnft", "apply", f"--{lab.mode}", "--drain", drain], check=True)


def _applied(lab: Lab, host: str) -> bool:
    return lab.run(host, ["sh", "-c", "ls /run/vipnft/*.json"]).returncode == 0


def with_weights(text: str, weights: dict[str, int]) -> str:
    """Return a cluster file with other weights."""
    lines, name = [], ""
    for line in text.splitlines():
        if line.startswith("name = "):
            name = json.loads(line.split(" = ")[1])
        if not line.startswith("weight = "):
            lines.append(line)
        if line.startswith("name = ") and name in weights:
            lines.append(f"weight = {weights[name]}")
    return "\n".join(lines) + "\n"


def busy_connections(lab: Lab, where: Path, *, count: int, kilobytes: int) -> Figures:
    """Slow downloads from nginx go on while hosts go 4, 3, 4, 5 and weights change."""
    draw = random.Random(7)
    content = draw.randbytes(kilobytes * 1000)
    everyone = {f"web{n}": 1 for n in range(1, 6)}
    start = with_weights(lab.config.read_text(), {**everyone, "web5": 0})
    lab.config.write_text(start)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, where, partial(nginx, content=content)))
        for host in lab.hosts[:4]:
            apply(lab, host, lab.mode)
        arguments = [sys.executable, str(PROGRAMS / "download_client.py"), VIP, str(count)]
        pipe = subprocess.PIPE
        client = lab.popen("clients", arguments, stdin=pipe, stdout=pipe)
        assert client.stdout
        assert client.stdout.readline() == "open\n", "not all connections came to be"
        moves = [
            with_weights(start, {**everyone, "web5": 0, "web4": 0}),  # 4 -> 3
            with_weights(start, {**everyone, "web5": 0}),  # -> 4
            with_weights(start, everyone),  # -> 5
            with_weights(start, {**everyone, "web1": 3, "web2": 2}),
        ]
        for number, text in enumerate(moves):
            rebalance(lab, text, fresh="web5" if number == 2 else "")
            fresh = fresh_connections(lab)
            assert fresh["elsewhere"] == 0, f"new connections at the former owner: {fresh}"
        found: Figures = json.loads(client.communicate("go\n")[0])
    digest = hashlib.sha256(content).hexdigest()
    whole = [c for c, said in found.items() if said == digest]
    return {"connections": count, "whole": len(whole), "broken": count - len(whole), "moves": 4}


def fresh_connections(lab: Lab, count: int = 200) -> Figures:
    """New connections right now: how many are not at the owner that the file names."""
    owners, cluster = owners_of(lab.cluster), lab.cluster
    clients = [str(IPv4Address("10.65.0.1") + n) for n in range(count)]
    said = asked(lab, "http_client.py", clients)
    expected = {
        c: owners[bucket_of(CLIENT, IPv4Address(c), cluster.seed, cluster.buckets)] for c in clients
    }
    return {"count": count, "elsewhere": sum(said[c] != expected[c] for c in clients)}


def takeover(lab: Lab, where: Path, *, count: int) -> Figures:
    """A host dies with open connections that talk; the others take over."""
    for host in lab.hosts:
        apply(lab, host, lab.mode)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, where, nginx))
        client = _talking(lab, clients_of(lab, "web2", count))
        done, took = _taken_over(lab, "web2")
        found = json.loads(client.communicate("go\n")[0].splitlines()[-1])
    return {"connections": count, "takeover seconds": took, **_orphans(found, done)}


def moved_and_orphaned(
    lab: Lab,
    where: Path,
    *,
    count: int,
    opened: Callable[[str], object],
    moved: Callable[[str], object],
) -> Figures:
    """Busy connections go on while their buckets move, then their host dies; `opened` and `moved`
    do something to each host once all are open, and once it was seen that they go on."""
    for host in lab.hosts:
        apply(lab, host, lab.mode)
    former = lab.hosts[0]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, where, nginx))
        client = _talking(lab, clients_of(lab, former, count), "0.5")
        for host in lab.hosts:
            opened(host)
        rebalance(lab, with_weights(lab.config.read_text(), {former: 0}))
        assert client.stdin
        assert client.stdout
        client.stdin.write("moved\n")
        client.stdin.flush()
        assert client.stdout.readline() == "on\n"
        on = time.monotonic()
        for host in lab.hosts:
            moved(host)
        done, took = _taken_over(lab, former)
        found = json.loads(client.communicate()[0])
    broken = [c for c in found.values() if c["ended"] is None or c["ended"] < on]
    said = {"connections": count, "broken": len(broken), "takeover seconds": took}
    return said | _orphans(found, done)


def clients_of(lab: Lab, host: str, count: int) -> list[str]:
    """Return clients whose buckets a host has by the file, of many buckets."""
    owners, cluster = owners_of(lab.cluster), lab.cluster
    every = (IPv4Address("10.64.0.0") + n for n in range(1, 2**20))
    theirs = (
        str(address)
        for address in every
        if owners[bucket_of(CLIENT, address, cluster.seed, cluster.buckets)] == host
    )
    return list(islice(theirs, count))


def _talking(lab: Lab, clients: list[str], *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, str(PROGRAMS / "talking_client.py"), VIP, ",".join(clients), *more]
    client = lab.popen("clients", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout
    assert client.stdout.readline() == "open\n"
    return client


def _taken_over(lab: Lab, dead: str) -> tuple[float, float]:
    """Let a host die, and the others take over; return when that was done (monotonic), and how
    long it took, seconds."""
    shell(lab, "segment", f"ip link set {dead} down")
    words = ["vipnft", "apply", f"--{lab.mode}", "--takeover", dead]
    began = time.monotonic()
    living = [h for h in lab.hosts if h != dead]
    for process in [lab.popen(h, words, stdout=subprocess.DEVNULL) for h in living]:
        assert process.wait() == 0
    done = time.monotonic()
    return done, done - began


def _orphans(found: dict[str, Figures], done: float) -> Figures:
    """Return what became of a dead host's connections, in seconds since the takeover."""
    waits = sorted(c["served"] - done for c in found.values() if c["served"] is not None)
    return {
        "reset": sum(c["reset"] for c in found.values()),
        "served again": len(waits),
        "median seconds": statistics.median(waits),
        "worst seconds": waits[-1],
    }


def interrupted(lab: Lab, *, points: int, seed: int = 1) -> Figures:
    """kill -9 an apply at random points: the kernel holds the old or the new state."""
    draw = random.Random(seed)
    host = "web1"
    apply(lab, host, lab.mode)
    text = lab.config.read_text()
    files = [with_weights(text, {"web1": 1}), with_weights(text, {"web1": 3})]
    states = []
    for file in files:
        lab.config.write_text(file)
        shell(lab, host, f"vipnft apply --{lab.mode} --drain 1h")
        states.append(_verdicts(lab, host))
    assert states[0] != states[1]
    words = ["vipnft", "apply", f"--{lab.mode}", "--drain", "1h"]
    began = time.monotonic()
    for file in files:  # there and back, started as those that are killed are
        lab.config.write_text(file)
        assert lab.popen(host, words, stdout=subprocess.DEVNULL).wait() == 0
    usual = (time.monotonic() - began) / 2
    # Spread evenly from the start to well behind the end, and drawn within each part.
    delays = [1.5 * usual * (turn + draw.random()) / points for turn in range(points)]
    draw.shuffle(delays)
    old = new = turn = 0
    while turn < points or (not (old and new) and turn < 2 * points):
        # What is usual changes with what else runs here: beyond it there is a kill for either.
        delay = delays[turn] if turn < points else 0.0 if not old else usual * (turn - points + 2)
        lab.config.write_text(files[turn % 2])
        process = lab.popen(host, words, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert stage_is_right(lab, host)
        found = _verdicts(lab, host)
        assert found in states, "neither the old nor the new state"
        old, new = old + (found == states[1 - turn % 2]), new + (found == states[turn % 2])
        shell(lab, host, f"vipnft apply --{lab.mode} --drain 1h")
        assert _verdicts(lab, host) == states[turn % 2], "the next apply did not heal it"
        assert lab.run(host, ["vipnft", "status"]).returncode == 0
        turn += 1
    return {"points": turn, "old": old, "new": new}


TAKEN = ("take", "come")


def stage_is_right(lab: Lab, host: str) -> bool:
    """Tell whether the XDP stage, if there is one, drops nothing that the rules don't drop."""
    return lab.run(host, [sys.executable, str(PROGRAMS / "watched.py")]).returncode == 0


def _verdicts(lab: Lab, host: str) -> list[int]:
    """Return the buckets this host takes."""
    text = shell(lab, host, "nft -j list map netdev vipnft buckets")
    (found,) = [i["map"]["elem"] for i in json.loads(text)["nftables"] if "map" in i]
    return sorted(bucket for bucket, v in found if v.get("jump", {}).get("target") in TAKEN)
