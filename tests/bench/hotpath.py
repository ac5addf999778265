"""What one packet of another host's bucket costs a host, beside everything else that does this job.

Each setup has a network namespace of its own, all at once, and gets the same frames in turn, so
that a machine that slows down slows all of them. trafgen sends a frame; an egress rule copies it
COPIES times onto the wire to the host, so that sending costs little beside receiving; the kernel
receives within the sender's own system call, so the time is that of both, on one CPU. What is
told is the difference from the limit: an ingress chain that drops everything.
"""

import random
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tests.netns.packets import IPV4, ROUTER, tcp, udp
from tests.netns.scenarios import backlog_drops, trafgen_file
from tests.netns.support import LISTEN, VIP, shell
from vipnft import affinity
from vipnft.affinity import CLIENT
from vipnft.lab import plan
from vipnft.lab.frames import ACK, SYN
from vipnft.lab.lab import Lab
from vipnft.model import Host
from vipnft.moving import owners_of
from vipnft.nd import mac
from vipnft.render import render

HOSTS = 7  # one for each setup
COPIES = 32
FRAMES = 1500
SOURCES = 64
GROUP, OWN, FOREIGN = "81:4f:d2:84:61:0{n}", "02:00:00:00:00:0{n}", "02:00:00:00:99:99"
KINDS = ("UDP", "SYN", "mid-stream TCP")
SIZES = (2, 4, 16, 32)


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


def setups(hosts: int, own: int = 0) -> list[Setup]:
    """Return every way, for a cluster of so many hosts, of whom the host under test takes the
    part numbered `own`; by netmask it is the first."""
    seed = plan.SEED
    group = f"{HERE} ip maddr add {GROUP} dev eth0;"
    cluster = (
        f"-m cluster --cluster-total-nodes {hosts} --cluster-local-node {own + 1}"
        f" --cluster-hash-seed {seed}"
    )
    return [
        Setup("vipnft", LISTEN, "vipnft apply --switch --host web1 --drain 0"),
        Setup(
            "IPaddr2's nft rules",
            GROUP,
            f"{group} nft 'table ip r {{ chain p {{ type filter hook prerouting priority mangle;"
            f' iif "eth0" ip daddr {VIP} jhash ip saddr mod {hosts} seed {seed:#x} offset 1 =='
            f' {own + 1} meta pkttype set host accept; iif "eth0" ip daddr {VIP} drop; }}; }}\'',
        ),
        Setup(
            "xt_cluster",
            GROUP,
            f"{group} iptables-legacy -t mangle -A PREROUTING -i eth0 {cluster} -j MARK"
            " --set-mark 0xffff; iptables-legacy -t mangle -A PREROUTING -i eth0 -m mark"
            " ! --mark 0xffff -j DROP",
        ),
        Setup(
            "iptables INPUT, state and netmask",
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


def foreign(lab: Lab, hosts: int) -> list[str]:
    """Return clients that are another host's in every setup."""
    draw, cluster = random.Random(hosts), lab.cluster
    owners = owners_of(cluster)
    found: list[str] = []
    while len(found) < SOURCES:
        client = plan.CLIENT_NET[draw.randrange(1, 2**22)]
        ours = owners[affinity.bucket(CLIENT, client, cluster.seed, cluster.buckets)]
        first = affinity.bucket(CLIENT, client, cluster.seed, hosts) == 0
        if ours != "web1" and not first and client.packed[3] & (hosts - 1):
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
    """Nanoseconds a packet above the limit: median, and the middle half of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Cost:
    """Return the median and the middle half of several rounds."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return Cost(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter])


class Rig:
    """A lab whose hosts are the setups, with a feed for each."""

    def __init__(self, lab: Lab, hosts: int, where: Path) -> None:
        self.lab, self.where = lab, where
        names = tuple(Host(name=f"web{n}") for n in range(1, hosts + 1))
        lab.config.write_text(render(replace(lab.cluster, hosts=names)))
        self.setups = [LIMIT, Setup("no rules, another host's MAC", FOREIGN, HERE), *setups(hosts)]
        for number, setup in enumerate(self.setups, 1):
            shell(lab, f"web{number}", setup.script.replace("{n}", str(number)))
            copies = " ".join([f'dup to "web{number}"'] * COPIES)
            shell(
                lab,
                "segment",
                f"ip link add feed{number} type veth peer away{number};"
                f"ip link set feed{number} up; ip link set away{number} up;"
                f"nft 'table netdev feed{number} {{ chain copy {{ type filter hook egress device"
                f" feed{number} priority 0; {copies}; }}; }}'",
            )
        clients = foreign(lab, hosts)
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

    def arrived(self, number: int) -> int:
        """Return how many packets a setup's interface has received."""
        count = shell(self.lab, f"web{number}", "cat /sys/class/net/eth0/statistics/rx_packets")
        return int(count)

    def round(self, kind: str) -> list[float]:
        """Return what a packet costs in each setup, once, in ns, sending included."""
        found = []
        for number in range(1, len(self.setups) + 1):
            before, drops = self.arrived(number), backlog_drops()
            took = self.seconds(kind, number)
            assert self.arrived(number) - before >= FRAMES * COPIES, "not all frames were copied"
            assert backlog_drops() == drops, "a full queue dropped frames before any rule"
            found.append(took / (FRAMES * COPIES) * 1e9)
        return found


def costs(kind: str, rig: Rig, rounds: int) -> Iterator[tuple[str, Cost]]:
    """Yield each setup's cost above the limit's."""
    taken = [rig.round(kind) for _ in range(rounds)]
    for number, setup in enumerate(rig.setups):
        yield setup.name, spread(one[number] - one[0] for one in taken)
