"""Bond, VLAN, VLAN on a bond, bridge, VRF: every client is answered once, or the file is refused.

Two machines are enough: that each packet reaches both, and one answers, is what could go wrong.
"""

from collections.abc import Iterator

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine
from tests.netns.support import shell

_BOND = """
ip link add bond0 type bond mode active-backup miimon 100
ip link set eth0 down; ip link set eth0 master bond0; ip link set bond0 up
"""
KINDS = {
    "bond": ("bond0", _BOND),
    "VLAN": ("eth0.5", "ip link add link eth0 name eth0.5 type vlan id 5"),
    "VLAN on a bond": ("bond0.5", _BOND + "ip link add link bond0 name bond0.5 type vlan id 5"),
    "bridge": ("br0", "ip link add br0 type bridge; ip link set eth0 master br0"),
    "VRF": ("eth0", "ip link add vrf0 type vrf table 10; ip link set vrf0 up"),
}
"""The interface that the file names, and how it comes to be."""

_FREE = """
systemctl stop systemd-networkd.socket systemd-networkd
ip addr flush dev eth0 scope global
"""
_VRF = """
ip link set eth0 master vrf0
sysctl -q net.ipv4.tcp_l3mdev_accept=1
"""
_BACK = """
for one in bond0.5 bond0 eth0.5 br0 vrf0; do ip link del $one 2>/dev/null; done
systemctl start systemd-networkd; networkctl reconfigure eth0
/lib/systemd/systemd-networkd-wait-online --timeout=30
"""
_ROUTER = """
ip link add link eth0 name eth0.5 type vlan id 5; ip link set eth0.5 up
ip addr del 192.0.2.254/24 dev eth0; ip addr add 192.0.2.254/24 dev eth0.5
ip addr del 2001:db8::fe/64 dev eth0; ip addr add 2001:db8::fe/64 dev eth0.5 nodad
"""
_ROUTER_BACK = """
ip link del eth0.5; ip addr add 192.0.2.254/24 dev eth0
ip addr add 2001:db8::fe/64 dev eth0 nodad
"""


@pytest.fixture(params=KINDS)
def interface(machines: Bed, request: pytest.FixtureRequest) -> Iterator[str]:
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

    if name.endswith(".5"):
        shell(machines.lab, "router", _ROUTER)
    try:
        machines.each(move, pair)
        yield name
    finally:
        machines.each(lambda machine: machine.run(_BACK, check=False), pair)
        if name.endswith(".5"):
            shell(machines.lab, "router", _ROUTER_BACK)


@pytest.mark.parametrize("mode", ["switch", "hub"])
def test_each_client_is_answered_once(machines: Bed, interface: str, mode: str, seen: Seen) -> None:
    pair = machines.machines[:2]
    file = CLUSTER.replace('"eth0"', f'"{interface}"').replace('"switch"', f'"{mode}"')
    file = file.replace('[[host]]\nname = "m3"\n', "")
    machines.learning(on=mode == "switch")
    for machine in pair:
        machine.write(steps.FILE, file)
    try:
        applied = machines.each(lambda machine: machine.ended("vipnft apply --drain 0"), pair)
        if any(one.returncode for one in applied):
            assert all(one.returncode == 2 for one in applied), applied
            seen(f"refused: {applied[0].stderr.strip()}")
            return
        steps.answered_once(machines, ("m1", "m2"), hub=mode == "hub")
    finally:
        machines.each(lambda machine: machine.run("vipnft down"), pair)
        machines.learning(on=True)
