"""What a foreign packet costs a host when frames come as a NIC's driver delivers them.

Each setup has a network namespace of its own, all at once; one process feeds them in turn by
`tests/bench/live.py`. What is told is the difference from an XDP program that drops everything
without a look: generator and driver cost the same in all.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from struct import pack
from typing import Any

from tests.bench import hotpath, plots
from tests.bench.hotpath import CLASSIC, CLUSTER, FOREIGN, LIMIT, OURS, RIVAL, Setup
from tests.bench.live import REPEAT
from tests.netns.packets import IPV6, ROUTER, checksum
from tests.netns.support import LISTEN, PROGRAMS, VIP6, shell
from vipnft.buckets.phases import owners_of
from vipnft.config.writer import render
from vipnft.lab import plan
from vipnft.lab.frames import ACK, SYN
from vipnft.lab.lab import Lab
from vipnft.model import Host, Xdp
from vipnft.ruleset import affinity
from vipnft.ruleset.affinity import CLIENT
from vipnft.ruleset.ndp import mac

STAGED, BARE = "vipnft with the XDP stage", "everything dropped in XDP"
SIZES = (2, 16, 64)
ROUNDS, SOURCES = 10, 8
VERSIONS = (4, 6)
CLUSTERED = 32
"""More hosts than these xt_cluster does not know (XT_CLUSTER_NODES_MAX)."""
REQUEST_US = 26.0
"""Microseconds of a host's work for each packet, of kept-alive requests: "Where it ends"."""
MUST = {RIVAL: 0.1, CLUSTER: 0.05, CLASSIC: 0.04}
"""What the stage may cost, as a share of others."""
NIC_LIKE = (
    "import ctypes, fcntl, socket, struct\n"
    "on = ctypes.create_string_buffer(struct.pack('=II', 0x2c, 1))\n"  # ETHTOOL_SGRO
    "asked = struct.pack('16sP16x', b'eth0', ctypes.addressof(on))\n"
    "fcntl.ioctl(socket.socket(), 0x8946, asked)\n"  # SIOCETHTOOL
)
"""A program that has eth0 receive in NAPI, as a NIC does: with GRO."""


def setups(hosts: int, version: int, config: Path) -> list[Setup]:
    """Return every way for a cluster of so many hosts; `config` has the stage on."""
    known = {one.name: one for one in hotpath.setups(hosts)}
    names = (OURS, RIVAL, CLUSTER, CLASSIC) if hosts <= CLUSTERED else (OURS, RIVAL, CLASSIC)
    chosen = [known[name] for name in names]
    if version == 6:
        chosen = [replace(one, script=_six(one.script, hosts)) for one in chosen]
    staged = f"{known[OURS].script} --config {config}"
    here = hotpath.HERE if version == 4 else _six(hotpath.HERE, hosts)
    return [
        Setup(BARE, LISTEN, f"{sys.executable} {PROGRAMS}/other_xdp.py 1"),
        LIMIT,
        Setup("no rules, another host's MAC", FOREIGN, here),
        *chosen,
        Setup(STAGED, LISTEN, staged),
    ]


def _six(script: str, hosts: int) -> str:
    """Return a setup's script for IPv6."""
    masks = (f"0.0.0.0/0.0.0.{hosts - 1}", f"::/::{hosts - 1:x}")
    for old, new in (
        masks, (f"{plan.VIP}/32", f"{VIP6}/128"), (str(plan.VIP), VIP6),
        ("table ip ", "table ip6 "),
        ("ip daddr", "ip6 daddr"), ("ip saddr", "ip6 saddr"), ("iptables", "ip6tables"),
    ):  # fmt: skip
        script = script.replace(old, new)
    return script


def clients(lab: Lab, hosts: int, version: int) -> list[str]:
    """Return clients that are another host's in every setup."""
    if version == 4:
        return hotpath.clients_of(lab, hosts, mine=False)[:SOURCES]
    return [str(one) for one, _ in zip(_foreign6(lab, hosts), range(SOURCES), strict=False)]


def _foreign6(lab: Lab, hosts: int) -> Iterator[IPv6Address]:
    draw, cluster = random.Random(hosts), lab.cluster
    owners = owners_of(cluster)
    while True:
        client = IPv6Address("2001:db8:1::") + draw.getrandbits(64)
        bucket = affinity.bucket(CLIENT, client, cluster.seed, cluster.buckets)
        others = affinity.bucket(CLIENT, client, cluster.seed, hosts), client.packed[15] & hosts - 1
        if owners[bucket] != "web1" and all(others):
            yield client


def frame(kind: str, client: str, target: str) -> bytes:
    """Return one frame to a MAC, of the client's IP version."""
    if ":" not in client:
        return hotpath.frame(kind, client, target)
    a, b = IPv6Address(client).packed, IPv6Address(VIP6).packed
    if kind == "UDP":
        protocol, body = 17, pack("!4H", 4096, 53, 12, 0) + b"abcd"
        at = 6
    else:
        flags, data = (SYN, b"") if kind == "SYN" else (ACK, b"xx")
        protocol, at = 6, 16
        body = pack("!HHIIBBHHH", 4242, 80, 7, 0, 5 << 4, flags, 1024, 0, 0) + data
    total = checksum(a + b + pack("!II", len(body), protocol) + body)
    body = body[:at] + pack("!H", total) + body[at + 2 :]
    packet = pack("!IHBB", 6 << 28, len(body), protocol, 64) + a + b + body
    return mac(target) + mac(ROUTER) + IPV6 + packet


class Rig:
    """A lab whose hosts are the setups, for one IP version."""

    def __init__(self, lab: Lab, hosts: int, version: int, where: Path) -> None:
        self.lab, self.where = lab, where
        names = tuple(Host(name=f"web{n}") for n in range(1, hosts + 1))
        cluster = replace(lab.cluster, hosts=names)
        lab.config.write_text(render(cluster))
        config = where / "staged.toml"
        config.write_text(render(replace(cluster, xdp=Xdp.NATIVE)))
        self.setups = setups(hosts, version, config)
        for number, setup in enumerate(self.setups, 1):
            host = f"web{number}"
            shell(lab, host, setup.script.replace("{n}", str(number)))
            lab.run(host, [sys.executable, "-c", NIC_LIKE], check=True)
        self._clients = clients(lab, hosts, version)

    def costs(self, kind: str) -> dict[str, hotpath.Cost]:
        """Return each setup's cost above the first's, in ns a packet; the first's as it is."""
        sent, dropped = ROUNDS * len(self._clients) * REPEAT, self._dropped()
        rounds = self._fed(kind, self._clients, range(1, len(self.setups) + 1))
        assert self._dropped() - dropped >= sent, "the stage let frames through"
        return {
            setup.name: hotpath.spread(one[place] - (one[0] if place else 0) for one in rounds)
            for place, setup in enumerate(self.setups)
        }

    def taken(self) -> dict[str, hotpath.Cost]:
        """Return what a packet costs that is taken, all in all, by the rules alone and with the
        stage: into a socket that nobody reads."""
        mine = hotpath.clients_of(self.lab, 2, mine=True)[:SOURCES]
        numbers = [self._number(name) for name in (OURS, STAGED)]
        words = [sys.executable, "-c", _OPEN]
        opened = [self.lab.popen(f"web{n}", words, stdout=subprocess.PIPE) for n in numbers]
        for one in opened:
            assert one.stdout
            assert one.stdout.readline()
        before, dropped = self._counted(numbers), self._dropped()
        rounds = self._fed("UDP", mine, numbers)
        assert self._dropped() == dropped, "the stage dropped own packets"
        counted = zip(before, self._counted(numbers), strict=True)
        assert all(now - had >= ROUNDS * len(mine) * REPEAT for had, now in counted), "not taken"
        for one in opened:
            one.kill()
            one.wait()
        places = enumerate((OURS, STAGED))
        return {name: hotpath.spread(one[place] for one in rounds) for place, name in places}

    def _fed(self, kind: str, several: Sequence[str], numbers: Sequence[int]) -> list[list[float]]:
        """Feed hosts with frames of clients in turn; return each round's ns a packet."""
        words = []
        for number in numbers:
            target = self.setups[number - 1].mac.replace("{n}", str(number))
            file = self.where / f"frames-{number}"
            file.write_text("\n".join(frame(kind, client, target).hex() for client in several))
            words += [f"web{number}", str(file)]
        before = [hotpath.arrived(self.lab, number) for number in numbers]
        live = [sys.executable, "-m", "tests.bench.live", str(ROUNDS), *words]
        home = {"PYTHONPATH": str(Path(__file__).parents[2])}
        said = self.lab.run("segment", live, check=True, timeout=3600, env=home).stdout
        for number, had in zip(numbers, before, strict=True):
            came = hotpath.arrived(self.lab, number) - had
            assert came >= ROUNDS * len(several) * REPEAT, "not all frames arrived"
        rounds: list[list[float]] = json.loads(said)
        return rounds

    def _number(self, name: str) -> int:
        return 1 + [setup.name for setup in self.setups].index(name)

    def _counted(self, numbers: Sequence[int]) -> list[int]:
        """Return how many packets vipnft's hosts have taken."""
        return [sum(self._status(number)["bucket_packets"]) for number in numbers]

    def _dropped(self) -> int:
        """Return how many packets the stage has dropped."""
        (nic,) = self._status(self._number(STAGED))["nics"]
        return sum(nic["stage"]["dropped"])

    def _status(self, number: int) -> dict[str, Any]:
        # It ends with 3: the others have the VIP as well.
        said = self.lab.run(f"web{number}", ["vipnft", "status", "--json"]).stdout
        found: dict[str, Any] = json.loads(said)
        return found


_OPEN = f"""
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("{plan.VIP}", 53))
print("open", flush=True)
time.sleep(3600)
"""


def measure(where: Path) -> dict[str, Any]:
    """Return the costs of foreign packets by IP version, number of hosts and kind of packet; and
    of packets that are taken."""
    return {"foreign": foreign(where), "taken": taken(where)}


def taken(where: Path) -> dict[str, hotpath.Cost]:
    """Return what a packet costs that is taken, without and with the stage."""
    home = where / "taken"
    home.mkdir()
    with Lab.up(f"bench-nic-{os.getpid()}", 8) as lab:
        found = Rig(lab, 2, 4, home).taken()
    print("taken:", hotpath.said(found, "{:.0f}"), flush=True)
    return found


def foreign(where: Path) -> dict[str, dict[str, hotpath.Cost]]:
    """Return each setup's costs, by case."""
    found = {}
    for version in VERSIONS:
        for hosts in SIZES:
            home = where / f"{version}-{hosts}"
            home.mkdir()
            with Lab.up(f"bench-nic-{os.getpid()}", 8) as lab:
                rig = Rig(lab, hosts, version, home)
                for kind in hotpath.KINDS:
                    case = f"IPv{version}, {hosts} hosts, {kind}"
                    found[case] = costs = rig.costs(kind)
                    print(f"{case}:", hotpath.said(costs, "{:.0f}"), flush=True)
    return found


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter, with its plot."""
    foreign, taken = figures["foreign"], figures["taken"]
    rows = []
    for case, costs in foreign.items():
        ours = " | ".join(
            f"{costs[STAGED][0] / costs[one][0]:.2f}" if one in costs else "-" for one in MUST
        )
        rules = f"{costs[OURS][0]:.0f} ns | {costs[OURS][0] / costs[RIVAL][0]:.2f}"
        first = f"{costs[BARE][0]:.0f} ns | {costs[LIMIT.name][0]:.0f} ns"
        rows.append(f"| {case} | {first} | {costs[STAGED][0]:.0f} ns | {ours} | {rules} |")
    shown = next(case for case in foreign if "16 hosts, UDP" in case)
    above = {name: cost for name, cost in foreign[shown].items() if name != BARE}
    plot = plots.bars("nic", "ns a packet above dropping everything in XDP", above)
    must = ", ".join(f"{share} of what {name} cost" for name, share in MUST.items())
    return (
        "## The same, fed as a NIC feeds\n\n"
        "Above, trafgen's frames are copied: an skb is there already, and what it costs to make one"
        " shows nowhere. A driver hands the kernel pages instead (`BPF_PROG_TEST_RUN` with live"
        " frames, redirected into a veth that receives in NAPI): then an XDP program runs before an"
        " skb is made, and all else after. Per packet of a foreign bucket, above an XDP program"
        " that drops everything without a look, medians. What the stage costs must be at most"
        f" {must}; and the rules alone, less than IPaddr2's. xt_cluster knows {CLUSTERED} hosts at"
        " most.\n\n"
        "| | XDP drops all: all in all | ingress drops all | vipnft, XDP stage | of IPaddr2's | of"
        " xt_cluster's | of iptables' | vipnft, rules alone | of IPaddr2's |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{shown}:\n\n{plot}\n\n"
        + _own(taken)
        + "\n\n"
        + _reach(foreign[shown])
    )


def _own(taken: Mapping[str, Sequence[float]]) -> str:
    without, staged = taken[OURS][0], taken[STAGED][0]
    return (
        f"A packet that is taken, into a socket that nobody reads, costs {without:.0f} ns all in"
        f" all by the rules alone, and {staged:.0f} ns with the stage:"
        f" {without / staged:.2f} of as many a second (must be 0.99)."
    )


def _reach(costs: Mapping[str, Sequence[float]]) -> str:
    """How many hosts are worth it, with the stage and without."""
    rows = []
    for name in (STAGED, OURS, RIVAL):
        each = costs[BARE][0] + costs[name][0]
        half = 1 + 1000 * REQUEST_US / each
        rows.append(f"| {name} | {each:.0f} ns | {1e8 / each:,.0f} | {half:,.0f} |")
    return (
        "What that means, a CPU a host, with what generator and veth take in place of a driver's"
        f" part ({costs[BARE][0]:.0f} ns; here nobody drops a packet for less), and"
        f" {REQUEST_US:.0f} µs of work for each packet, as kept-alive requests take:\n\n"
        "| | a foreign packet, all in all | a second: 10 % of a CPU | hosts at which half of the"
        " CPUs' work is dropping |\n|---|---|---|---|\n" + "\n".join(rows)
    )
