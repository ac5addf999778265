"""What scenarios do and look at, in words that they share."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.machines.bed import CLUSTER, STORE, Bed
from tests.machines.machine import Machine, until
from tests.netns.support import LISTEN, VIP, VIP6, asked
from vipnft.errors import VipnftError
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch

HERE = Path(__file__).parent
FILE = "/etc/vipnft/cluster.toml"
ALL = ("m1", "m2", "m3")
CLIENTS = 200
_WEB = """
[Unit]
Description=Tells clients which host they reached
[Service]
ExecStart=/usr/bin/python3 /usr/local/bin/web
[Install]
WantedBy=multi-user.target
"""
_SERVED = 300.0
"""Seconds in which a change must have come to its end, on machines that are emulated."""


def install(machine: Machine, package: Path) -> None:
    """Install the package as README tells: a file, and what it depends on from apt's sources."""
    for former in machine.share.glob("*.deb"):
        former.unlink()
    target = machine.share / package.name
    target.write_bytes(package.read_bytes())
    machine.run(f"cd /share && apt-get install -y ./{package.name}", timeout=1800)


def configure(machine: Machine) -> None:
    """Give it the cluster's file, and a service to be served."""
    machine.write(FILE, CLUSTER)
    machine.write("/usr/local/bin/web", (HERE / "programs/web.py").read_text())
    machine.write("/etc/systemd/system/web.service", _WEB)
    machine.run("systemctl daemon-reload; systemctl enable --now --quiet web")


def prepare(bed: Bed) -> None:
    """Install and configure all machines, unless they are; what they were before is noted."""

    def one(machine: Machine) -> None:
        if machine.ended("dpkg-query -W vipnft").returncode == 0:
            return
        for what in ("files", "packages"):
            remember(machine, what)
        install(machine, bed.package)
        configure(machine)
        remember(machine, "network")

    if not bed.prepared:
        bed.each(one)
        bed.prepared = True


def owned(bed: Bed) -> dict[str, list[int]]:
    """Return whose bucket each is, as the agents agreed; nobody's are left out."""
    words = ["vipnft", "status", "--cluster", "--json", "--config", str(bed.lab.config)]
    ended = bed.lab.run(STORE, words)
    if ended.returncode:
        return {}
    hosts = json.loads(ended.stdout)["hosts"]
    return {name: one["owned"] for name, one in hosts.items()}


def shared(bed: Bed, hosts: Sequence[str] = ALL) -> bool:
    """Tell whether the agents of these hosts, and no others, own all buckets, in equal parts."""
    found = {name: len(buckets) for name, buckets in owned(bed).items() if buckets}
    even = all(count >= 256 // len(hosts) for count in found.values())
    return set(found) == set(hosts) and sum(found.values()) == 256 and even


def agents(bed: Bed) -> None:
    """Have an agent run on each machine, as shipped, and wait until they share the buckets."""
    bed.each(lambda machine: machine.run("systemctl enable --now --quiet vipnft-agent"))
    settle(bed)


def by_hand(bed: Bed) -> None:
    """Have no unit of vipnft's run on any machine: its commands are given by hand."""
    units = "vipnft-agent vipnft"
    bed.each(lambda m: m.run(f"systemctl disable --now --quiet {units}", timeout=1800))


def settle(bed: Bed, hosts: Sequence[str] = ALL) -> None:
    """Wait until these machines' agents, and no others, share all buckets."""
    until(lambda: shared(bed, hosts), seconds=_SERVED, what=f"{', '.join(hosts)} to share all")


def answered_once(
    bed: Bed, hosts: Sequence[str] = ALL, *, hub: bool = False, router: str = "eth0"
) -> dict[str, int]:
    """200 clients of each family ask: each is answered by one host, once, and a switch never
    learns the listen MAC. Return how many each host answered. `router`: its interface that is on
    their segment."""
    found = dict.fromkeys(hosts, 0)
    with ExitStack() as stack:
        watch = stack.enter_context(FdbWatch(bed.lab))
        wire = stack.enter_context(Wire(bed.lab, "router", router))
        for vip, address in ((VIP, plan.client_address), (VIP6, plan.client_address6)):
            said = asked(bed.lab, "http_client.py", [str(address(n)) for n in range(CLIENTS)], vip)
            assert len(said) == CLIENTS
            for host in said.values():
                found[host] += 1
        for one in (wire, watch):
            one.stop()
    tally = wire.tally
    assert (tally.doubles, tally.unanswered, tally.refused) == ([], [], [])
    assert hub or LISTEN not in watch.seen
    assert all(found.values()), f"a host that answers nobody: {found}"
    return found


def serves(bed: Bed) -> None:
    """Wait until 200 clients are answered, each once, by all hosts."""

    def well() -> bool:
        try:
            answered_once(bed)
        except (AssertionError, VipnftError):
            return False
        return True

    until(well, seconds=_SERVED, what="all clients to be answered")


# Everything that could be another afterwards, less counters and remaining lifetimes.
_NETWORK = r"""
ip -d link; ip addr | grep -v valid_lft; ip route show table all; ip -6 route show table all
ip rule; ip -6 rule; bridge fdb; ip maddr; ip -6 neigh show proxy; nft -s list ruleset
grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/core |
    grep -vE 'fib_multipath_hash_seed|tcp_fastopen_key|stable_secret|cookie|tcp_mem|udp_mem'
"""
_FILES = r"""
for part in /etc /home /opt /root /srv /usr /var /run/vipnft*; do
    find $part ! -type d ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '/var/log/*' \
        ! -path '/var/cache/*' ! -path '/var/lib/systemd/*' -printf '%p %M %u:%g %s %l\n'
done 2>/dev/null
find /etc -type f -exec sha256sum {} +
"""
_PACKAGES = (
    "dpkg-query -W -f '${db:Status-Status} ${binary:Package}\\n' | sed -n 's/^installed //p'"
)


def remember(machine: Machine, what: str) -> None:
    """Write down how a machine is, to be compared by `changed`."""
    (machine.home / what).write_text("\n".join(state(machine, what)))


def changed(machine: Machine, what: str) -> list[str]:
    """Return the lines in which it is no longer as it was when `remember` was called."""
    before, now = set((machine.home / what).read_text().splitlines()), set(state(machine, what))
    return sorted([f"- {line}" for line in before - now] + [f"+ {line}" for line in now - before])


def state(machine: Machine, what: str) -> list[str]:
    """Return a machine's network as its kernel has it, its files, or its packages."""
    looks = {"network": _NETWORK, "files": _FILES, "packages": _PACKAGES}
    return sorted(machine.run(looks[what]).splitlines())


@contextmanager
def flowing(bed: Bed, count: int, rate: int) -> Iterator[dict[str, Any]]:
    """`count` open connections and `rate` new ones a second; what came of them is there in the
    end."""
    words = [sys.executable, "-Pm", "tests.netns.programs.flow_client", VIP, str(count), str(rate)]
    root = {"PYTHONPATH": str(HERE.parents[1])}
    pipe = subprocess.PIPE
    client = bed.lab.popen("clients", words, stdin=pipe, stdout=pipe, env=root)
    assert client.stdout
    assert client.stdout.readline() == "open\n"
    found: dict[str, Any] = {}
    yield found
    found |= json.loads(client.communicate()[0])
