"""Switch mode: the listen MAC is never learned, and a host without rules says nothing."""

from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import IPV4, ROUTER, arp, send, syn
from tests.netns.support import (
    LISTEN,
    VIP,
    VIP6,
    apply_all,
    asked,
    nginx,
    on_hosts,
    plug_in,
    shell,
    which,
)
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.frames import ARP_REPLY, ARP_REQUEST
from vipnft.lab.plan import client_address, client_address6, host_mac
from vipnft.ruleset.ndp import mac

FROM_VIP = f"curl -sS -m 20 --interface {VIP} -o /dev/null http://10.64.0.9/"


@pytest.mark.parametrize("send_mac", [False, True])
def test_the_listen_mac_is_never_learned(lab_up: LabUp, tmp_path: Path, send_mac: bool) -> None:
    """Also while hosts open connections themselves, from their own address and from the VIP,
    while everybody's ARP entries age, and while clients connect."""
    lab = lab_up(hosts=4)
    if send_mac:
        text = lab.config.read_text()
        for n in range(1, 5):
            text = text.replace(
                f'name = "web{n}"', f'name = "web{n}"\nsend_mac = "02:01:00:00:00:0{n}"'
            )
        lab.config.write_text(text)
    apply_all(lab)
    clients = [str(client_address(n)) for n in range(40)]
    clients6 = [str(client_address6(n)) for n in range(40)]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        stack.enter_context(nginx(lab, "clients", tmp_path))
        watch = stack.enter_context(FdbWatch(lab))
        wires = [stack.enter_context(Wire(lab, "segment", host)) for host in lab.hosts]
        at_router = stack.enter_context(Wire(lab, "router", keep=True))
        for _ in range(5):
            shell(lab, "router", "ip neigh flush dev eth0; ip -s neigh flush all >/dev/null")
            for host in lab.hosts:
                shell(lab, host, "ip neigh flush dev eth0; curl -sS -o /dev/null http://10.64.0.9/")
                shell(lab, host, "curl -sS -o /dev/null 'http://[2001:db8:64::9]/'")
            asked(lab, "http_client.py", clients)
            asked(lab, "http_client.py", clients6, VIP6)
        # The VIP as the source: a host that asks for its router then asks as itself.
        owner = which(lab, ["10.64.0.9"])["10.64.0.9"]
        shell(lab, owner, f"ip neigh flush dev eth0; {FROM_VIP}")
        for wire in wires:
            wire.stop()
        at_router.stop()
        watch.stop()
    assert LISTEN not in watch.seen
    assert all(wire.tally.frames > 100 and LISTEN not in wire.tally.sources for wire in wires)
    queries = [f for f in at_router.frames if f.arp and f.arp.operation == ARP_REQUEST]
    assert any(f.src_mac == host_mac(1) for f in queries), "no host asked for its router"
    assert set(at_router.tally.arp_macs[VIP]) == {LISTEN}
    assert set(at_router.tally.nd_macs[VIP6]) == {LISTEN}
    assert not [f for f in queries if f.arp and f.arp.sender == VIP and f.arp.sender_mac != LISTEN]
    if send_mac:
        assert set(at_router.tally.syn_acks_by_mac()) >= {f"02:01:00:00:00:0{n}" for n in (1, 2)}


def test_a_query_from_the_vip_carries_the_listen_mac(lab_up: LabUp, tmp_path: Path) -> None:
    """Where somebody sets arp_announce back, the ARP table still mends the query, and the
    answer, which goes to the listen MAC, is learned."""
    lab = lab_up(hosts=3)
    apply_all(lab)
    owner = which(lab, ["10.64.0.9"])["10.64.0.9"]
    shell(lab, owner, "sysctl -qw net.ipv4.conf.eth0.arp_announce=0; ip neigh flush dev eth0")
    with (
        nginx(lab, "clients", tmp_path),
        Wire(lab, "router", keep=True) as wire,
        FdbWatch(lab) as watch,
    ):
        shell(lab, owner, FROM_VIP)
    queries = [f.arp for f in wire.frames if f.arp and f.arp.operation == ARP_REQUEST]
    assert {a.sender_mac for a in queries if a.sender == VIP} == {LISTEN}
    assert LISTEN not in watch.seen


@pytest.mark.parametrize("flush", ["nft flush ruleset", "nft delete table netdev vipnft"])
def test_a_host_without_rules_answers_nothing(lab_up: LabUp, tmp_path: Path, flush: str) -> None:
    """Neither ARP nor a connection nor a ping; the others go on as before."""
    lab = lab_up(hosts=4)
    apply_all(lab)
    clients = [str(IPv4Address("10.64.0.1") + n) for n in range(200)]
    askers = [str(IPv4Address("192.0.3.0") + n) for n in range(400)]
    expected = which(lab, clients)
    alive = [client for client in clients if expected[client] != "web2"]
    heard = [asker for asker, host in which(lab, askers).items() if host != "web2"]
    dead = next(client for client in clients if expected[client] == "web2")
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        asked(lab, "http_client.py", clients[:20])
        shell(lab, "web2", flush)
        with (
            Wire(lab, "router", keep=True) as wire,
            Wire(lab, "segment", "web2", keep=True) as port,
        ):
            send(lab, "router", *map(arp, askers))
            wire.until(lambda t: sum(a.asker in set(askers) for a in t.arp_replies) >= len(heard))
            assert asked(lab, "http_client.py", alive) == {c: expected[c] for c in alive}
            refused = lab.run("clients", ["curl", "-m2", "--interface", dead, f"http://{VIP}/"])
            assert refused.returncode == 28  # timed out: nobody answered
            assert lab.run("clients", ["ping", "-c2", "-W1", "-I", dead, VIP]).returncode == 1
    assert host_mac(2) not in {f.src_mac for f in wire.frames if f.src == VIP}
    replies = [f.arp for f in wire.frames if f.arp and f.arp.operation == ARP_REPLY]
    assert {a.sender_mac for a in replies if a.sender == VIP} == {LISTEN}
    assert not [f for f in port.frames if f.src_mac == host_mac(2) and f.src == VIP]
    with nginx(lab, "clients", tmp_path):  # and it still works as a host of its own
        shell(lab, "web2", "curl -sS -o /dev/null http://10.64.0.9/")


def test_a_second_interface_does_not_answer_for_the_vip(lab_up: LabUp) -> None:
    """Two ports of one host on the segment: one ARP reply a request all the same."""
    lab = lab_up(hosts=2)
    plug_in(lab, "web1", "eth1", "web1b")
    shell(lab, "web1", "ip addr add 192.0.2.51/24 dev eth1")
    apply_all(lab)
    askers = [str(IPv4Address("192.0.3.0") + n) for n in range(200)]
    with Wire(lab, "router") as wire:
        send(lab, "router", *map(arp, askers))
        wire.until(lambda t: sum(a.asker in set(askers) for a in t.arp_replies) >= len(askers))
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.51")  # replies that come late have come
    by_asker = {a.asker: n for a, n in wire.tally.arp_replies.items() if a.target == VIP}
    assert all(by_asker[asker] == 1 for asker in askers)


def test_frames_that_are_not_for_us_are_not_taken(lab_up: LabUp) -> None:
    """A frame to a third MAC that the switch floods is nobody's here, whatever its bucket."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    packet = mac(ROUTER) + IPV4 + syn("10.64.0.1")
    with Wire(lab, "router") as wire:
        send(lab, "router", mac("02:00:00:00:99:99") + packet, mac(LISTEN) + packet)
        wire.until(lambda t: bool(t.refused))  # nothing listens: the second SYN draws one RST
        shell(lab, "clients", f"ping -c2 -i0.2 {VIP}")
    assert sum(n for several in wire.tally.answers.values() for n in several.values()) == 1
