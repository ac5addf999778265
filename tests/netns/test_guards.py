"""What stands guard where something else goes wrong first: each guard by itself, on real frames."""

import socket
from contextlib import ExitStack

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import ROUTER, arp, send, solicitation
from tests.netns.support import HUB_AND_SWITCH, LISTEN, VIP, VIP6, apply_all, shell, which
from tests.netns.test_handover import caller, of
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ARP_REPLY, ARP_REQUEST, ETH_IPV4, ETH_IPV6
from vipnft.lab.plan import host_mac
from vipnft.model import Mode

CLIENTS = {"10.64.0.7": VIP, "2001:db8:64::7": VIP6}


def test_a_frame_with_the_listen_mac_as_its_source_does_not_leave(lab_up: LabUp) -> None:
    """Whoever makes it on this host: the egress guard gives it the host's own."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    with Wire(lab, "segment", "web1", keep=True) as wire:
        send(lab, "web1", arp("192.0.2.1", source=LISTEN, destination=ROUTER))
        wire.until(lambda t: any(a.asker == "192.0.2.1" for a in t.arp_requests))
    (frame,) = (f for f in wire.frames if f.arp and f.arp.target == VIP)
    assert frame.src_mac == host_mac(1)
    assert LISTEN not in wire.tally.sources


def test_a_send_mac_is_on_arp_too(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    text = lab.config.read_text()
    lab.config.write_text(text.replace('"web1"', '"web1"\nsend_mac = "02:01:00:00:00:01"'))
    apply_all(lab)
    with Wire(lab, "segment", "web1", keep=True) as wire:
        send(lab, "web1", arp(VIP, "192.0.2.254", source=host_mac(1)))
        wire.until(lambda t: any(a.asker == VIP for a in t.arp_requests))
    sent = {f.src_mac for f in wire.frames if f.arp and f.arp.sender == VIP}
    assert sent == {"02:01:00:00:00:01"}


TAGS = {
    "802.1Q": b"\x81\x00\x00\x07",
    "802.1ad": b"\x88\xa8\x00\x07",
    "802.1ad, 0": b"\x88\xa8\0\0",
}


@pytest.mark.parametrize("tag", TAGS)
def test_no_answer_in_a_vlan_that_the_interface_is_not_in(lab_up: LabUp, tag: str) -> None:
    """VLAN 7 is somebody else's; VLAN 0 is a priority tag on our own."""
    lab, priority = lab_up(hosts=2), b"\x81\x00\x00\x00"
    apply_all(lab)
    with Wire(lab, "router", keep=True) as wire:
        send(
            lab,
            "router",
            arp("192.0.3.7", tag=TAGS[tag]),
            solicitation("2001:db8::3:7", tag=TAGS[tag]),
            arp("192.0.3.8", tag=priority),
            solicitation("2001:db8::3:8", tag=priority),
            arp("192.0.3.9"),
            solicitation("2001:db8::3:9"),
        )
        wire.until(lambda t: any(a.asker == "192.0.3.9" for a in t.arp_replies))
        wire.until(lambda t: any(a.asker == "2001:db8::3:9" for a in t.adverts))
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.1")
    replies = [f.arp.target for f in wire.frames if f.arp and f.arp.operation == ARP_REPLY]
    assert "192.0.3.7" not in replies
    assert "2001:db8::3:7" not in {a.asker for a in wire.tally.adverts}
    others = [f for f in wire.frames if f.src_mac in {host_mac(1), host_mac(2)} and f.arp is None]
    assert {f.ethertype for f in others} <= {ETH_IPV4, ETH_IPV6}, "a tagged frame came from a host"


def test_frames_to_the_own_mac_are_by_bucket_too(lab_up: LabUp) -> None:
    """A router with an old entry for the VIP: taken if the bucket is ours, dropped if not."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    clients = [f"10.64.9.{n}" for n in range(1, 9)]
    expected = which(lab, clients)
    assert set(expected.values()) == {"web1", "web2"}
    shell(lab, "router", f"ip neigh replace {VIP} lladdr {host_mac(1)} dev eth0 nud permanent")
    for client in clients:
        patience = "-W10" if expected[client] == "web1" else "-W1"
        said = lab.run("clients", ["ping", "-c1", patience, "-I", client, VIP])
        assert (said.returncode == 0) == (expected[client] == "web1")


@pytest.mark.parametrize("mode", [Mode.SWITCH, Mode.MULTICAST, Mode.IGMP])
def test_hosts_without_rules_say_nothing(lab_up: LabUp, mode: Mode) -> None:
    """To UDP, ping and TCP, of both IP versions; with rules, one answers each."""
    lab = lab_up(hosts=3, mode=mode)
    apply_all(lab)
    listen = lab.cluster.nics("web1")[0].listen_mac(mode)
    for vip in (VIP, VIP6):
        shell(lab, "router", f"ip neigh replace {vip} lladdr {listen} dev eth0 nud permanent")
    asks = [
        *(["ping", "-c1", "-W1", "-I", client, vip] for client, vip in CLIENTS.items()),
        *(["nmap", *six, "-n", "-Pn", "-e", "eth0", "-S", client, kind, "-p7", "--max-retries",
           "0", vip] for client, vip in CLIENTS.items() for kind in ("-sS", "-sU")
          for six in ((["-6"] if ":" in vip else []),)),
    ]  # fmt: skip
    with Wire(lab, "router", keep=True) as wire:
        for ask in asks:
            lab.run("clients", ask)
    assert len([f for f in wire.frames if f.src in (VIP, VIP6) and f.arp is None]) == len(asks)
    for host in lab.hosts:
        shell(lab, host, "nft flush ruleset")
    with Wire(lab, "router", keep=True) as wire:
        for ask in asks:
            lab.run("clients", ask)
    assert not [f for f in wire.frames if f.src in (VIP, VIP6)]


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_host_without_its_lease_says_nothing_more(lab_up: LabUp, mode: Mode, vip: str) -> None:
    """Its open connections, late answers and own questions wait; its own address speaks on."""
    lab = lab_up(hosts=2, mode=mode)
    apply_all(lab)
    (client,) = of(lab, "web1", 1, six=vip == VIP6)
    family = socket.AF_INET6 if vip == VIP6 else socket.AF_INET
    with ExitStack() as stack:
        server = stack.enter_context(lab.socket("web1", family, socket.SOCK_STREAM))
        names = stack.enter_context(lab.socket("web1", family, socket.SOCK_DGRAM))
        names.bind((vip, 53))
        server.bind((vip, 80))
        server.listen()
        one, _ = caller(lab, client)
        stack.enter_context(one).connect((vip, 80))
        there = stack.enter_context(server.accept()[0])
        asker = stack.enter_context(lab.socket("clients", family, socket.SOCK_DGRAM))
        asker.settimeout(30)
        asker.bind((client, 0))
        asker.sendto(b"?", (vip, 53))
        _, asked = names.recvfrom(9)
        with Wire(lab, "router", keep=True) as wire:
            shell(lab, "web1", "nft flush set netdev vipnft granted0")
            there.send(b"late")
            names.sendto(b"late", asked)
            lab.run("web1", ["ping", "-c1", "-W2", "-I", vip, client])
            shell(lab, "web1", "ping -c2 -i0.2 192.0.2.254")
        assert not [f for f in wire.frames if f.src == vip and f.arp is None]
        assert [f for f in wire.frames if f.src == "192.0.2.1"]
        slot = "nft add element netdev vipnft {}1 {{ ether }}"  # the other one, as a renewal does
        shell(lab, "web1", "; ".join(slot.format(name) for name in ("armed", "granted")))
        names.sendto(b"again", asked)
        one.settimeout(300)  # TCP tries again as late as it was silent
        assert one.recv(9) == b"late"
        assert asker.recv(9) == b"again"


def test_a_flushed_host_does_not_ask_from_the_vip(lab_up: LabUp) -> None:
    """Its query would teach the router its own MAC, and it would draw all clients to it."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    with Wire(lab, "router", keep=True) as wire:
        shell(lab, "web1", "nft flush ruleset; ip neigh flush dev eth0")
        lab.run("web1", ["ping", "-c1", "-W1", "-I", VIP, "192.0.2.254"])
        wire.until(lambda t: any(a.target == "192.0.2.254" for a in t.arp_requests))
    asked = [f.arp for f in wire.frames if f.arp and f.arp.operation == ARP_REQUEST]
    assert not [a for a in asked if a.sender == VIP]


def test_a_hub_host_that_forwards_again_makes_no_storm(lab_up: LabUp) -> None:
    """Setting ip_forward, as container programs do, sets it on every interface."""
    lab = lab_up(hosts=4, mode=Mode.HUB)
    apply_all(lab)
    for host in lab.hosts:
        shell(lab, host, "sysctl -qw net.ipv4.ip_forward=1")
    shell(lab, "router", "ping -c1 192.0.2.2")
    with Wire(lab, "segment", "router", keep=True) as wire:
        shell(lab, "router", "ping -c1 -W10 -t 8 192.0.2.2")
        shell(lab, "router", "ping -c3 -i0.2 192.0.2.3")
    assert len([f for f in wire.frames if f.dst == "192.0.2.2"]) <= 2


def test_a_vip_that_leaves_a_hub_host_is_never_there_without_rules(lab_up: LabUp) -> None:
    """Two hub hosts, one of which drops and regains a second VIP under fast pings."""
    lab = lab_up(hosts=2, mode=Mode.HUB)
    small = lab.config.read_text()
    large = small.replace('["192.0.2.100",', '["192.0.2.100", "192.0.2.101",')
    lab.config.write_text(large)
    apply_all(lab)
    other = next(
        c for c, h in which(lab, [f"10.64.9.{n}" for n in range(1, 20)]).items() if h == "web2"
    )
    ping = lab.popen("clients", ["ping", "-i0.001", "-q", "-I", other, "192.0.2.101"], stdout=-1)
    for text in (small, large) * 4:
        lab.config.write_text(text)
        shell(lab, "web1", "vipnft apply --hub")
    ping.send_signal(2)
    said = ping.communicate()[0]
    assert " 0 received" not in said
    assert "duplicates" not in said, said
