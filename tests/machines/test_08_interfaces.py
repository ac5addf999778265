"""Bond, VLAN, both, bridge, macvlan, VRF: every client is answered once, or the file is refused.

Two machines are enough: that each packet reaches both, and one answers, is what could go wrong.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine
from tests.netns.support import ASK_TCP, VIP, shell

_BOND = """
ip link add bond0 type bond mode active-backup miimon 100
ip link set eth0 down; ip link set eth0 master bond0; ip link set bond0 up
"""
KINDS = {
    "bond": ("bond0", _BOND),
    "bond with LACP": ("bond0", _BOND.replace("active-backup", "802.3ad")),  # its partner is silent
    "VLAN": ("eth0.5", "ip link add link eth0 name eth0.5 type vlan id 5"),
    "VLAN on a bond": ("bond0.5", _BOND + "ip link add link bond0 name bond0.5 type vlan id 5"),
    "bridge": ("br0", "ip link add br0 type bridge; ip link set eth0 master br0"),
    "macvlan": ("mv0", "ip link add link eth0 name mv0 type macvlan mode bridge"),
    "VRF": ("eth0", "ip link add vrf0 type vrf table 10; ip link set vrf0 up"),
}
"""The interface that the file names, and how it comes to be."""
REFUSED = {
    ("bridge", "hub"): "br0 is a bridge: with the listen MAC as its own it would keep the frames",
    ("VRF", "switch"): "eth0 is in the VRF vrf0",
    ("VRF", "hub"): "eth0 is in the VRF vrf0",
    ("macvlan", "switch"): "mv0 is a macvlan, which listens for no second MAC",
}
"""What is not served, and why."""

_FREE = """
systemctl stop systemd-networkd.socket systemd-networkd
ip addr flush dev eth0 scope global
ip route flush proto static; ip -6 route flush proto static
"""
_VRF = """
ip link set eth0 master vrf0
echo 1 > /proc/sys/net/ipv4/tcp_l3mdev_accept
"""
_BACK = """
for one in bond0.5 bond0 eth0.5 br0 mv0 vrf0; do ip link del $one 2>/dev/null; done
systemctl start systemd-networkd; networkctl reconfigure eth0
/lib/systemd/systemd-networkd-wait-online --timeout=30
"""
_ROUTER = """
ip link set eth0.5 up
ip addr del 192.0.2.254/24 dev eth0; ip addr add 192.0.2.254/24 dev eth0.5
ip addr del 2001:db8::fe/64 dev eth0; ip addr add 2001:db8::fe/64 dev eth0.5 nodad
"""
_ROUTER_BACK = """
ip addr add 192.0.2.254/24 dev eth0
ip addr add 2001:db8::fe/64 dev eth0 nodad
"""


@contextmanager
def _router_in_vlan(machines: Bed, tag: str) -> Iterator[None]:
    """Give the router eth0.5, whose frames have this tag on the segment, for as long."""
    words = [sys.executable, str(steps.HERE / "programs/vlan.py"), "eth0", "eth0.5", tag]
    pipe = subprocess.PIPE
    passing = machines.lab.popen("router", words, stdin=pipe, stdout=pipe)
    assert passing.stdout
    assert passing.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        passing.communicate()


@pytest.fixture(scope="module", autouse=True)
def _by_hand(machines: Bed) -> None:
    steps.prepare(machines)
    steps.by_hand(machines)


@pytest.fixture(scope="module", params=KINDS)
def kind(machines: Bed, request: pytest.FixtureRequest) -> Iterator[str]:
    """Put the machines' addresses, and the router's, onto an interface of that kind."""
    name, made = KINDS[request.param]
    pair = machines.machines[:2]

    def move(machine: Machine) -> None:
        table = "table 10" if request.param == "VRF" else ""
        machine.run(
            f"set -e; {_FREE}{made}{_VRF if table else ''}\n"
            f"ip link set eth0 up; ip link set {name} up\n"
            f"ip addr add {machine.address}/24 dev {name}\n"
            f"ip addr add {machine.address6}/64 dev {name} nodad\n"
            f"ip route add default via 192.0.2.254 {table}\n"
            f"ip -6 route add default via 2001:db8::fe {table}"
        )

    with ExitStack() as stack:
        if name.endswith(".5"):
            stack.callback(shell, machines.lab, "router", _ROUTER_BACK)
            stack.enter_context(_router_in_vlan(machines, "81000005"))
            shell(machines.lab, "router", _ROUTER)
        try:
            machines.each(move, pair)
            yield request.param
        finally:
            machines.each(lambda machine: machine.run(_BACK, check=False), pair)


def _file(interface: str, mode: str) -> str:
    """Return the file of the two machines."""
    file = CLUSTER.replace('"eth0"', f'"{interface}"').replace('"switch"', f'"{mode}"')
    return file.replace('[[host]]\nname = "m3"\n', "")


_STRANGERS = [f"203.0.113.{number}" for number in range(10, 30)]
_ROUTER_TAGGED = f"""
ip link set eth0.5 up
for address in {" ".join(_STRANGERS)}; do ip addr add $address/24 dev eth0.5; done
ip rule add from 203.0.113.0/24 lookup 5; ip route add default via 203.0.113.1 table 5
"""
_ROUTER_UNTAGGED = "ip rule del from 203.0.113.0/24 lookup 5"
_TAGS = {"802.1Q": "81000005", "802.1ad": "88a80005"}


@pytest.mark.parametrize("tag", _TAGS)
def test_whoever_asks_in_another_vlan_of_the_nic_is_served(machines: Bed, tag: str) -> None:
    """The tag says that it came by another interface: it is not for the buckets to decide.

    Before the kinds, the last of which stands until this file's end.
    """
    pair = machines.machines[:2]
    first = pair[0]
    first.run(
        f"ip link add link eth0 name eth0.5 type vlan proto {tag} id 5; ip link set eth0.5 up;"
        "ip addr add 203.0.113.1/24 dev eth0.5"
    )
    try:
        for machine in pair:
            machine.write(steps.FILE, _file("eth0", "switch"))
            machine.run("vipnft apply --drain 0")
        steps.answered_once(machines, ("m1", "m2"))
        with _router_in_vlan(machines, _TAGS[tag]):
            shell(machines.lab, "router", _ROUTER_TAGGED)
            ask = [sys.executable, "-c", ASK_TCP, VIP, *_STRANGERS]
            said = machines.lab.run("router", ask, check=True, timeout=600).stdout.split()
        assert said == ["m1"] * len(_STRANGERS)
    finally:
        shell(machines.lab, "router", f"{_ROUTER_UNTAGGED} || true")
        machines.each(lambda machine: machine.run("vipnft down"), pair)
        first.run("ip link del eth0.5")


@pytest.mark.parametrize("mode", ["switch", "hub"])
def test_each_client_is_answered_once(machines: Bed, kind: str, mode: str, seen: Seen) -> None:
    pair, interface = machines.machines[:2], KINDS[kind][0]
    machines.learning(on=mode == "switch")
    for machine in pair:
        machine.write(steps.FILE, _file(interface, mode))
    try:
        applied = machines.each(lambda machine: machine.ended("vipnft apply --drain 0"), pair)
        if reason := REFUSED.get((kind, mode)):
            for one in applied:
                assert (one.returncode, reason in one.stderr) == (2, True), one.stderr
            seen("refused, with the reason")
        else:
            assert [one.stderr for one in applied if one.returncode] == []
            near = "eth0.5" if interface.endswith(".5") else "eth0"
            found = steps.answered_once(machines, ("m1", "m2"), hub=mode == "hub", router=near)
            seen(", ".join(f"{host} {count}" for host, count in found.items()))
    finally:
        machines.each(lambda machine: machine.run("vipnft down"), pair)
        machines.learning(on=True)
