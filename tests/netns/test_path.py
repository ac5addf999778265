"""What lies on the way: small MTUs, ports that go down, interfaces that are made anew."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import (
    HUB_AND_SWITCH,
    LISTEN,
    VIP,
    VIP6,
    apply,
    apply_all,
    asked,
    configure,
    nginx,
    on_hosts,
    plug_in,
    shell,
    which,
)
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ICMP, ICMP6
from vipnft.lab.lab import Lab
from vipnft.model import Affinity, Mode, Protocol, Service

SIZE = 2_000_000


def whole(affinity: Affinity) -> tuple[Service, ...]:
    """Return a service of web servers, and one of others, so that ports are looked at."""
    web = Service(protocol=Protocol.TCP, ports=((80, 80),), affinity=affinity)
    return web, Service(protocol=Protocol.UDP, ports=((53, 53),))


@pytest.mark.parametrize(
    ("mode", "services"),
    [
        (Mode.HUB, ()),
        (Mode.SWITCH, ()),
        (Mode.SWITCH, whole(Affinity.SUBNET)),
        (Mode.SWITCH, whole(Affinity.FLOW)),
        (Mode.HUB, whole(Affinity.FLOW)),
        (Mode.MULTICAST, whole(Affinity.SUBNET)),
        (Mode.IGMP, ()),
    ],
)
def test_path_mtu_discovery_reaches_the_right_host(
    lab_up: LabUp, tmp_path: Path, mode: Mode, services: tuple[Service, ...]
) -> None:
    """The router's ICMP errors come from the router, whose own bucket is another host's."""
    lab = lab_up(hosts=4, mode=mode, mtu=1300)
    configure(lab, services=services)
    apply_all(lab)
    routers = set(which(lab, ["192.0.2.254", "2001:db8::fe"]).values())
    clients = [f"10.64.{n}.1|{30000 + n}" for n in range(10)]
    clients += [f"2001:db8:64:{n}::1|{30000 + n}" for n in range(10)]
    expected = which(lab, clients, "tcp/80" if services else "")
    assert set(expected.values()) - routers, "no client is on another host than the router's"
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, partial(nginx, size=SIZE)))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        for client in clients:
            address, port = client.split("|")
            url = f"http://[{VIP6}]/big" if ":" in address else f"http://{VIP}/big"
            curl = f"curl -sS -m 30 --interface {address} --local-port {port} '{url}'"
            got = shell(lab, "clients", f"{curl} -o /dev/null -w '%{{size_download}}'")
            assert int(got) == SIZE
        wire.stop()
    said = Counter((f.protocol, f.icmp.type, f.dst) for f in wire.frames if f.icmp.type >= 0)
    owners = {v: {h for c, h in expected.items() if (":" in c) == v} for v in (False, True)}
    assert said[ICMP, 3, VIP] >= len(owners[False]), "no ICMP error was needed"
    assert said[ICMP6, 2, VIP6] >= len(owners[True]), "no ICMPv6 error was needed"
    for host in owners[False]:
        assert "mtu 1300" in shell(
            lab, host, f"ip route get 10.64.0.1 from {VIP}; ip route show cache"
        )


def served(lab: Lab, tmp_path: Path) -> None:
    clients = [str(IPv4Address("10.64.0.1") + n) for n in range(60)]
    home = tmp_path / str(len(list(tmp_path.iterdir())))
    home.mkdir()
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, home, nginx))
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
