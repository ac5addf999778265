"""A host's own connections: to the VIP, from it, and where it has no other address."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import (
    HUB_AND_SWITCH,
    LISTEN,
    VIP,
    VIP6,
    apply_all,
    asked,
    configure,
    nginx,
    on_hosts,
    shell,
    which,
)
from tests.netns.test_handover import of, to_web2
from tests.netns.test_untracked import page
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.lab import Lab
from vipnft.model import Mode, Protocol, Service

URLS = {VIP: f"http://{VIP}/", VIP6: f"http://[{VIP6}]/"}
WEB = Service(protocol=Protocol.TCP, ports=((80, 80),))


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
@pytest.mark.parametrize("services", [(), (WEB,)], ids=["all", "web only"])
def test_a_host_that_talks_to_the_vip_talks_to_itself(
    lab_up: LabUp, tmp_path: Path, mode: Mode, services: tuple[Service, ...]
) -> None:
    lab = lab_up(hosts=3, mode=mode)
    configure(lab, services=services)
    apply_all(lab)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        with Wire(lab, "segment", "web1", keep=True) as wire:
            for url in URLS.values():
                for host in lab.hosts:
                    assert shell(lab, host, f"curl -sS -m 10 '{url}'") == host
            shell(lab, "router", "ping -c2 -i0.2 192.0.2.1")
    assert not [f for f in wire.frames if f.sport == 80 or f.dport == 80]


def from_vip(vip: str) -> str:
    there = "[2001:db8:64::9]" if vip == VIP6 else "10.64.0.9"
    return f"curl -sS -m 10 --interface {vip} -o /dev/null 'http://{there}/'"


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_connection_from_the_vip_works_where_its_answers_come(
    lab_up: LabUp, tmp_path: Path, mode: Mode, vip: str
) -> None:
    """Elsewhere it is refused at once: its answers would go to another host."""
    lab = lab_up(hosts=3, mode=mode)
    configure(lab, services=(WEB,))
    apply_all(lab)
    there = "2001:db8:64::9" if vip == VIP6 else "10.64.0.9"
    owner = which(lab, [there])[there]
    with nginx(lab, "clients", tmp_path), FdbWatch(lab) as watch:
        for host in lab.hosts:
            said = lab.run(host, ["sh", "-c", from_vip(vip)])
            if host == owner:
                assert said.returncode == 0, said.stderr
            else:
                assert said.returncode == 7
                assert "Failed to connect" in said.stderr
    assert mode is Mode.HUB or LISTEN not in watch.seen


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_connection_from_the_vip_outlives_a_move(lab_up: LabUp, tmp_path: Path, vip: str) -> None:
    """Its answers reach both hosts, and the one that doesn't know it says nothing."""
    lab = lab_up(hosts=2)
    configure(lab, services=(WEB,))
    apply_all(lab)
    six = vip == VIP6
    (there,) = of(lab, "web1", 1, six=six)
    family = socket.AF_INET6 if six else socket.AF_INET
    with nginx(lab, "clients", tmp_path), lab.socket("web1", family, socket.SOCK_STREAM) as one:
        one.settimeout(30)
        one.bind((vip, 0))
        one.connect((there, 80))
        assert page(one) == b"clients"
        to_web2(lab)
        with Wire(lab, "router", keep=True) as wire:
            assert page(one) == b"clients"
            shell(lab, "router", "ping -c2 -i0.2 192.0.2.2")
    assert not [f for f in wire.frames if f.is_rst]


def lonely(lab: Lab, host: str) -> None:
    """Leave a host no address but the VIP."""
    shell(
        lab,
        host,
        "ip -4 addr flush dev eth0; ip -6 addr flush dev eth0 scope global;"
        "ip route add 192.0.2.254 dev eth0; ip route add default via 192.0.2.254 dev eth0;"
        "ip -6 route replace default via fe80::ff:fe01:0 dev eth0",
    )


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_the_vip_may_be_a_hosts_only_address(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    """It serves all the same; its own connections are those from the VIP."""
    lab = lab_up(hosts=3, mode=mode)
    lonely(lab, "web2")
    apply_all(lab)
    four = [str(plan.client_address(n)) for n in range(60)]
    six = [str(plan.client_address6(n)) for n in range(60)]
    owner = {vip: which(lab, [c])[c] for vip, c in ((VIP, "10.64.0.9"), (VIP6, "2001:db8:64::9"))}
    with ExitStack() as stack:
        for node in (*lab.hosts, "clients"):
            stack.enter_context(nginx(lab, node, tmp_path))
        wire = stack.enter_context(Wire(lab, "router"))
        watch = stack.enter_context(FdbWatch(lab))
        for _ in range(2):
            shell(lab, "web2", "ip neigh flush dev eth0")
            shell(lab, "router", "ip neigh flush dev eth0")
            assert asked(lab, "http_client.py", four) == which(lab, four)
            assert asked(lab, "http_client.py", six, VIP6) == which(lab, six)
        for vip, host in owner.items():
            own = lab.run("web2", ["sh", "-c", from_vip(vip)])
            assert (own.returncode == 0) == (host == "web2"), own.stderr
        wire.stop()
        watch.stop()
    assert (wire.tally.doubles, wire.tally.unanswered) == ([], [])
    assert set(wire.tally.arp_macs[VIP]) == {LISTEN}
    assert mode is Mode.HUB or LISTEN not in watch.seen
