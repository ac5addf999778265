"""What lies on the way: small MTUs, ports that go down, interfaces that are made anew."""

from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import (
    HUB_AND_SWITCH,
    LISTEN,
    VIP,
    apply,
    apply_all,
    asked,
    nginx,
    plug_in,
    shell,
    which,
)
from vipnft.lab.lab import Lab
from vipnft.lab.wire import Wire
from vipnft.model import Mode

SIZE = 5_000_000


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_path_mtu_discovery_reaches_the_right_host(
    lab_up: LabUp, tmp_path: Path, mode: Mode
) -> None:
    """The router's ICMP errors come from the router, whose own bucket is another host's."""
    lab = lab_up(hosts=4, mode=mode, mtu=1000)
    apply_all(lab)
    router = which(lab, ["192.0.2.254"])["192.0.2.254"]
    clients = [str(IPv4Address("10.64.0.1") + n) for n in range(12)]
    expected = which(lab, clients)
    assert set(expected.values()) - {router}, "no client is on another host than the router's"
    with ExitStack() as stack:
        for host in lab.hosts:
            stack.enter_context(nginx(lab, host, tmp_path, size=SIZE))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        for client in clients:
            got = shell(
                lab,
                "clients",
                f"curl -sS -m 30 --interface {client} -o /dev/null -w '%{{size_download}}'"
                f" http://{VIP}/big",
            )
            assert int(got) == SIZE
        wire.stop()
    errors = [f for f in wire.frames if f.icmp_type == 3 and f.dst == VIP]
    assert len(errors) >= len({expected[c] for c in clients}), "no ICMP error was needed"
    for host in set(expected.values()):
        assert "mtu 1000" in shell(
            lab, host, "ip route get 10.64.0.1 from 192.0.2.100; ip route show cache"
        )


def served(lab: Lab, tmp_path: Path) -> None:
    clients = [str(IPv4Address("10.64.0.1") + n) for n in range(60)]
    home = tmp_path / str(len(list(tmp_path.iterdir())))
    home.mkdir()
    with ExitStack() as stack:
        for host in lab.hosts:
            stack.enter_context(nginx(lab, host, home))
        assert asked(lab, "http_client.py", clients) == which(lab, clients)


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_a_port_that_goes_down_and_up(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    lab = lab_up(hosts=3, mode=mode)
    apply_all(lab)
    for host in lab.hosts:
        shell(lab, "segment", f"ip link set {host} down; ip link set {host} up")
    for host in lab.hosts:
        assert "nothing to do" in lab.run(host, ["vipnft", "apply", f"--{mode}"], check=True).stdout
    served(lab, tmp_path)


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_an_interface_that_is_deleted_and_made_anew(
    lab_up: LabUp, tmp_path: Path, mode: Mode
) -> None:
    """As a driver reload does it: another index, another MAC, no filter, no address."""
    lab = lab_up(hosts=3, mode=mode)
    apply_all(lab)
    shell(lab, "web2", "ip link del eth0")
    assert lab.run("web2", ["vipnft", "status"]).returncode == 3
    plug_in(lab, "web2", "eth0", "web2")
    shell(lab, "web2", "ip addr add 192.0.2.2/24 dev eth0; ip route add default via 192.0.2.254")
    assert "made anew" in lab.run("web2", ["vipnft", "status"]).stdout
    apply(lab, "web2", mode)
    assert lab.run("web2", ["vipnft", "status"]).returncode == 0
    served(lab, tmp_path)
    lab.run("web2", ["vipnft", "down"], check=True)
    links = shell(lab, "web2", "ip link show eth0; bridge fdb show dev eth0; nft list ruleset")
    assert LISTEN not in links
