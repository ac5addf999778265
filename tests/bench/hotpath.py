"""What one packet of another host's bucket costs a host, beside everything else that does this job.

Each setup has a network namespace of its own, all at once, and gets the same frames in turn, so
that a machine that slows down slows all of them. trafgen sends a frame; an egress rule copies it
COPIES times onto the wire to the host, so that sending costs little beside receiving; the kernel
receives within the sender's own system call, so the time is that of both, on one CPU. What is
told is the difference from the limit: an ingress chain that drops everything.
"""

import os
import random
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import plots
from tests.netns.packets import IPV4, ROUTER, tcp, udp
from tests.netns.scenarios import backlog_drops, trafgen_file
from tests.netns.support import LISTEN, VIP, shell
from vipnft.buckets.phases import owners_of
from vipnft.config.writer import render
from vipnft.lab import plan
from vipnft.lab.frames import ACK, SYN
from vipnft.lab.lab import Lab
from vipnft.model import Host
from vipnft.ruleset import affinity
from vipnft.ruleset.affinity import CLIENT
from vipnft.ruleset.ndp import mac

HOSTS = 7  # one for each setup; one fewer for own packets
COPIES = 32
# trafgen takes the time when its last full ring (of 256 frames) has gone, whatever is left.
TIMED = 5 * 256
FRAMES = TIMED + 1
SOURCES = 64
GROUP, OWN, FOREIGN = "81:4f:d2:84:61:0{n}", "02:00:00:00:00:0{n}", "02:00:00:00:99:99"
KINDS = ("UDP", "SYN", "mid-stream TCP")
SIZES = (2, 4, 16, 32)
ROUNDS = 30
OURS, RIVAL = "vipnft", "IPaddr2's nft rules"
CLUSTER, CLASSIC = "xt_cluster", "iptables INPUT, state and netmask"


@dataclass(frozen=True)
class Setup:
    """One way to do it: to which MAC frames go, and what is run on the host. `{n}` in either is
    the host's number."""

    name: str
    mac: str
    script: str


LIMIT = Setup(
    "everything dropped at ingress",
    LISTEN,
    "nft 'table netdev nothing { chain none { type filter hook ingress device eth0 priority 0;"
    " policy drop; }; }'",
)
HERE = f"ip addr add {VIP}/32 dev lo;"


NOTHING = Setup("no rules", OWN, HERE)


def setups(hosts: int, own: int = 0, host: str = "web1") -> list[Setup]:
    """Return every way, for a cluster of so many hosts, of whom the host under test is the one
    numbered `own`, for vipnft the one named `host`; by netmask it is the first."""
    seed = plan.SEED
    group = f"{HERE} ip maddr add {GROUP} dev eth0;"
    cluster = (
        f"-m cluster --cluster-total-nodes {hosts} --cluster-local-node {own + 1}"
        f" --cluster-hash-seed {seed}"
    )
    return [
        Setup(OURS, LISTEN, f"vipnft apply --switch --host {host} --drain 0"),
        Setup(
            RIVAL,
            GROUP,
            f"{group} nft 'table ip r {{ chain p {{ type filter hook prerouting priority mangle;"
            f' iif "eth0" ip daddr {VIP} jhash ip saddr mod {hosts} seed {seed:#x} offset 1 =='
            f' {own + 1} meta pkttype set host accept; iif "eth0" ip daddr {VIP} drop; }}; }}\'',
        ),
        Setup(
            CLUSTER,
            GROUP,
            f"{group} iptables-legacy -t mangle -A PREROUTING -i eth0 {cluster} -j MARK"
            " --set-mark 0xffff; iptables-legacy -t mangle -A PREROUTING -i eth0 -m mark"
            " ! --mark 0xffff -j DROP",
        ),
        Setup(
            CLASSIC,
            OWN,
            f"{HERE} iptables-legacy -A INPUT -d {VIP} -m state --state ESTABLISHED -j ACCEPT;"
            f" iptables-legacy -A INPUT -d {VIP} -s 0.0.0.0/0.0.0.{hosts - 1} -j ACCEPT;"
            f" iptables-legacy -A INPUT -d {VIP} -j DROP",
        ),
        Setup(
            "nft input with conntrack",
            OWN,
            f"{HERE} nft 'table ip r {{ chain i {{ type filter hook input priority 0;"
            f" ip daddr {VIP} ct state established accept;"
            f" ip daddr {VIP} jhash ip saddr mod {hosts} seed {seed:#x} == {own} accept;"
            f" ip daddr {VIP} drop; }}; }}'",
        ),
    ]


def clients_of(lab: Lab, hosts: int, *, mine: bool, own: int = 0, host: str = "web1") -> list[str]:
    """Return clients that are the host's under test in every setup, or in none."""
    draw, cluster = random.Random(hosts), lab.cluster
    owners = owners_of(cluster)
    found: list[str] = []
    while len(found) < SOURCES:
        client = plan.CLIENT_NET[draw.randrange(1, 2**22)]
        bucket = affinity.bucket(CLIENT, client, cluster.seed, cluster.buckets)
        taken = {
            owners[bucket] == host,
            affinity.bucket(CLIENT, client, cluster.seed, hosts) == own,
            not client.packed[3] & (hosts - 1),
        }
        if taken == {mine}:
            found.append(str(client))
    return found


def frame(kind: str, client: str, target: str) -> bytes:
    """Return one frame to a MAC; mid-stream TCP has two bytes of data and no connection."""
    packet = {
        "UDP": udp(client, VIP, 53),
        "SYN": tcp(client, VIP, 80, SYN),
        "mid-stream TCP": tcp(client, VIP, 80, ACK, b"xx"),
    }[kind]
    return mac(target) + mac(ROUTER) + IPV4 + packet


class Cost(NamedTuple):
    """Nanoseconds a packet above the first setup: median, and the middle half of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Cost:
    """Return the median and the middle half of several rounds."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return Cost(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter])


def feed(lab: Lab, number: int) -> None:
    """Make the segment's interface feed{number}: a frame sent there reaches the host COPIES times,
    past the bridge."""
    copies = " ".join([f'dup to "web{number}"'] * COPIES)
    shell(
        lab,
        "segment",
        f"ip link add feed{number} type veth peer away{number};"
        f"ip link set feed{number} up; ip link set away{number} up;"
        f"nft 'table netdev feed{number} {{ chain copy {{ type filter hook egress device"
        f" feed{number} priority 0; {copies}; }}; }}'",
    )


def arrived(lab: Lab, number: int) -> int:
    """Return how many packets a host's interface has received."""
    return int(shell(lab, f"web{number}", "cat /sys/class/net/eth0/statistics/rx_packets"))


class Rig:
    """A lab whose hosts are the setups, with a feed for each; the first is what all are compared
    with. The packets are another host's, or the host's own."""

    def __init__(self, lab: Lab, hosts: int, where: Path, *, own: bool = False) -> None:
        self.lab, self.where = lab, where
        names = tuple(Host(name=f"web{n}") for n in range(1, hosts + 1))
        lab.config.write_text(render(replace(lab.cluster, hosts=names)))
        none = Setup("no rules, another host's MAC", FOREIGN, HERE)
        self.setups = [*([NOTHING] if own else [LIMIT, none]), *setups(hosts)]
        for number, setup in enumerate(self.setups, 1):
            shell(lab, f"web{number}", setup.script.replace("{n}", str(number)))
            feed(lab, number)
        clients = clients_of(lab, hosts, mine=own)
        for kind in KINDS:
            for number, setup in enumerate(self.setups, 1):
                target = setup.mac.replace("{n}", str(number))
                frames = (frame(kind, client, target) for client in clients)
                trafgen_file(frames, self._file(kind, number))

    def _file(self, kind: str, number: int) -> Path:
        return self.where / f"{kind.split(maxsplit=1)[0]}-{number}"

    def seconds(self, kind: str, number: int) -> float:
        """Send FRAMES frames to a setup, and return how long that took, by trafgen's own clock."""
        words = ["trafgen", "-i", str(self._file(kind, number)), "-o", f"feed{number}"]
        words += ["-n", str(FRAMES), "-P", "1", "-q"]
        said = self.lab.run("segment", words, check=True).stdout
        found = re.search(r"(\d+) sec, (\d+) usec on CPU", said)
        assert found, said
        return int(found[1]) + int(found[2]) / 1e6

    def round(self, kind: str) -> list[float]:
        """Return what a packet costs in each setup, once, in ns, sending included."""
        found = []
        for number in range(1, len(self.setups) + 1):
            before, drops = arrived(self.lab, number), backlog_drops()
            took = self.seconds(kind, number)
            assert arrived(self.lab, number) - before >= FRAMES * COPIES, (
                "not all frames were copied"
            )
            assert backlog_drops() == drops, "a full queue dropped frames before any rule"
            found.append(took / (TIMED * COPIES) * 1e9)
        return found


def costs(kind: str, rig: Rig) -> dict[str, Cost]:
    """Return each setup's cost above the first's."""
    taken = [rig.round(kind) for _ in range(ROUNDS)]
    return {
        setup.name: spread(one[number] - one[0] for one in taken)
        for number, setup in enumerate(rig.setups)
    }


def measure(where: Path) -> dict[str, Any]:
    """Return the costs of another host's packets, by number of hosts and kind of packet."""
    found: dict[str, Any] = {}
    for hosts in SIZES:
        home = where / str(hosts)
        home.mkdir()
        with Lab.up(f"bench-foreign-{os.getpid()}", HOSTS) as lab:
            rig = Rig(lab, hosts, home)
            for kind in KINDS:
                found[f"{hosts} hosts, {kind}"] = taken = costs(kind, rig)
                print(f"{hosts} hosts, {kind}:", said(taken, "{:.0f}"), flush=True)
    return found


def said(costs: Mapping[str, Cost], form: str) -> str:
    """Return medians in a line."""
    return "; ".join(f"{name} {form.format(cost[0])}" for name, cost in costs.items())


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter, with its plot."""
    rows = []
    for case, taken in figures.items():
        ours, low, high = taken[OURS]
        ratios = " | ".join(f"{ours / taken[other][0]:.2f}" for other in (RIVAL, CLUSTER, CLASSIC))
        spread = f"{low:.0f} to {high:.0f}"
        rows.append(f"| {case} | {ours:.0f} ns ({spread}) | {taken[RIVAL][0]:.0f} ns | {ratios} |")
    plot = plots.bars("foreign", "ns a packet above dropping everything", figures["16 hosts, UDP"])
    return (
        "## The cost of other hosts' traffic\n\n"
        "Per packet of a foreign bucket, above an ingress chain that drops everything: medians and"
        " the middle half of the rounds; and this project's cost as a share of the others', which"
        " must be at most 1, 0.4 and 0.3.\n\n"
        f"| | vipnft | {RIVAL} | of these | of xt_cluster's | of iptables' |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + f"\n\n16 hosts, UDP:\n\n{plot}"
    )
