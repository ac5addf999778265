"""Several service addresses, and two segments, in one cluster."""

import json
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import arp, membership_query, send, solicitation
from tests.netns.support import (
    HUB_AND_SWITCH,
    LISTEN,
    VIP,
    VIP6,
    apply_all,
    asked,
    configure,
    nginx,
    nsd,
    on_hosts,
    plug_in,
    shell,
    snapshot,
    until,
    which,
)
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.lab import Lab
from vipnft.model import Mode, Protocol, Segment, Service

NEAR = (VIP, "192.0.2.101", VIP6)
FAR = ("203.0.113.100", "2001:db8:1::100")
FAR_LISTEN = "02:bf:cb:00:71:64"


def second_segment(lab: Lab) -> None:
    """Join the router and all hosts by another bridge, and serve two more addresses there."""
    shell(lab, "segment", "ip link add br1 type bridge; ip link set br1 up")
    plug_in(lab, "router", "eth2", "router2", "br1")
    shell(lab, "router", "ip addr add 203.0.113.254/24 dev eth2")
    shell(lab, "router", "ip addr add 2001:db8:1::fe/64 dev eth2 nodad")
    for number, host in enumerate(lab.hosts, 1):
        plug_in(lab, host, "eth1", f"{host}b", "br1")
        shell(lab, host, f"ip addr add 203.0.113.{number}/24 dev eth1")
        shell(lab, host, f"ip addr add 2001:db8:1::{number}/64 dev eth1 nodad")
    near, far = (tuple(ip_address(vip) for vip in vips) for vips in (NEAR, FAR))
    (segment,) = lab.cluster.segments
    configure(
        lab,
        segments=(
            replace(segment, vips=near),
            Segment(interface="eth1", vips=far, listen_mac=FAR_LISTEN),
        ),
    )


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_five_addresses_on_two_segments(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    """Counted on the router's way to the clients, which all have to take."""
    lab = lab_up(hosts=3, mode=mode)
    second_segment(lab)
    before = snapshot(lab, "web1")
    apply_all(lab)
    four = [str(plan.client_address(n)) for n in range(200)]
    six = [str(plan.client_address6(n)) for n in range(200)]
    expected = which(lab, four + six)
    askers = [str(IPv4Address("203.0.113.0") + n) for n in range(110, 250)]
    neighbours = [str(IPv6Address("2001:db8:1::2:0") + n) for n in range(140)]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        watch = stack.enter_context(FdbWatch(lab))
        clients = stack.enter_context(Wire(lab, "router", "eth1"))
        far = stack.enter_context(Wire(lab, "router", "eth2"))
        for vip in NEAR + FAR:
            some = six if ":" in vip else four
            assert asked(lab, "http_client.py", some, vip) == {c: expected[c] for c in some}
        send(lab, "router", *(arp(a, FAR[0]) for a in askers), interface="eth2")
        send(lab, "router", *(solicitation(a, FAR[1]) for a in neighbours), interface="eth2")
        far.until(lambda t: sum(a.asker in set(askers) for a in t.arp_replies) >= len(askers))
        far.until(lambda t: sum(a.asker in set(neighbours) for a in t.adverts) >= len(neighbours))
        for vip in NEAR + FAR:
            shell(lab, "clients", f"ping -c2 -i0.2 {vip}")
        for one in (clients, far, watch):
            one.stop()
    tally = clients.tally
    assert len(tally.syns) == sum(map(len, tally.answers.values())) == 5 * 200
    assert (tally.doubles, tally.unanswered, tally.refused) == ([], [], [])
    assert all(n == 1 for a, n in far.tally.arp_replies.items() if a.asker in askers)
    assert all(n == 1 for a, n in far.tally.adverts.items() if a.asker in neighbours)
    assert set(far.tally.arp_macs[FAR[0]]) == set(far.tally.nd_macs[FAR[1]]) == {FAR_LISTEN}
    assert mode is Mode.HUB or not {LISTEN, FAR_LISTEN} & set(watch.seen)
    status = json.loads(shell(lab, "web1", "vipnft status --json"))
    assert [nic["interface"] for nic in status["nics"]] == ["eth0", "eth1"]
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before


def test_an_address_is_served_on_its_own_segment_alone(lab_up: LabUp) -> None:
    """Asked for on the other one, nobody has it there."""
    lab = lab_up(hosts=2)
    second_segment(lab)
    apply_all(lab)
    with Wire(lab, "router", "eth2") as wire:
        send(lab, "router", arp("203.0.113.200", VIP), interface="eth2")
        send(lab, "router", solicitation("2001:db8:1::3:1", VIP6), interface="eth2")
        send(lab, "router", arp("203.0.113.200", FAR[0]), interface="eth2")
        wire.until(lambda t: bool(t.arp_replies))
        shell(lab, "router", f"ping -c2 -i0.2 {FAR[0]}; ping -c2 -i0.2 {FAR[1]}")
    assert not wire.tally.arp_macs[VIP]
    assert not wire.tally.nd_macs[VIP6]


def test_both_segments_are_probed(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    second_segment(lab)
    listener = lab.popen("web2", ["vipnft", "probe", "--listen"], stdout=subprocess.PIPE)
    assert listener.stdout
    assert "listens on eth0, eth1" in listener.stdout.readline()
    said = lab.run("web1", ["vipnft", "probe"])
    listener.send_signal(2)
    assert listener.wait(10) == 0
    assert said.returncode == 0, said.stdout
    assert said.stdout.count("web2: received 5") == 2


def test_what_is_not_tracked_is_not_by_whatever_interface_it_leaves(
    lab_up: LabUp, tmp_path: Path
) -> None:
    """Answers from a VIP of the second segment leave by the first, where the default route is."""
    lab = lab_up(hosts=1)
    second_segment(lab)
    dns = Service(protocol=Protocol.UDP, ports=((53, 53),))
    near, far = lab.cluster.segments
    # NSD answers the lab's own VIP: that has to be on the second segment, then.
    configure(
        lab,
        services=(dns,),
        segments=(
            replace(near, vips=far.vips[:1], listen_mac=FAR_LISTEN),
            replace(far, vips=near.vips, listen_mac=LISTEN),
        ),
    )
    shell(lab, "router", f"ip route add {VIP}/32 dev eth2")
    apply_all(lab)
    count = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    with nsd(lab, "web1", tmp_path):
        before = int(shell(lab, "web1", count))
        asked(lab, "dns_client.py", [str(plan.client_address(n)) for n in range(100)])
        assert int(shell(lab, "web1", count)) - before < 10


def test_a_segment_comes_live_and_goes_by_way_of_down(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    one = lab.cluster.segments
    apply_all(lab)
    second_segment(lab)
    apply_all(lab)
    for vip in NEAR + FAR:
        shell(lab, "clients", f"ping -c1 -W5 {vip}")
    configure(lab, segments=one)
    before = snapshot(lab, "web1")
    refused = lab.run("web1", ["vipnft", "apply", "--switch"])
    assert refused.returncode == 2
    assert "this host runs on eth1, which the cluster file no longer names" in refused.stderr
    assert "fix: run `vipnft down` first" in refused.stderr
    assert snapshot(lab, "web1") == before
    for host in lab.hosts:
        shell(lab, host, "vipnft down")
    apply_all(lab)
    assert FAR[0] not in shell(lab, "web1", "ip addr; nft list ruleset")
    shell(lab, "clients", f"ping -c1 -W5 {VIP}; ping -c1 -W5 {VIP6}")


def test_members_of_a_group_alone_get_its_frames(lab_up: LabUp, tmp_path: Path) -> None:
    """Not one frame to the listen MAC where nobody has joined; all of them where somebody has."""
    lab = lab_up(hosts=3, mode=Mode.IGMP)
    hosts = [replace(h, weight=int(h.name != "web3")) for h in lab.cluster.hosts]
    configure(lab, hosts=tuple(hosts))
    for host in ("web1", "web2"):
        shell(lab, host, "vipnft apply --igmp")
    listen = lab.cluster.nics("web1")[0].listen_mac(Mode.IGMP)
    four = [str(plan.client_address(n)) for n in range(200)]
    six = [str(plan.client_address6(n)) for n in range(200)]
    with ExitStack() as stack:
        for host in ("web1", "web2"):
            stack.enter_context(nginx(lab, host, tmp_path))
        ports = {h: stack.enter_context(Wire(lab, "segment", h, keep=True)) for h in lab.hosts}
        assert asked(lab, "http_client.py", four) == which(lab, four)
        assert asked(lab, "http_client.py", six, VIP6) == which(lab, six)
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.3")
        for port in ports.values():
            port.stop()
    got = {h: sum(f.dst_mac == listen for f in port.frames) for h, port in ports.items()}
    assert got["web3"] == 0
    assert min(got["web1"], got["web2"]) > 400, "not all of 400 connections' frames"
    assert ports["web3"].frames, "its port was not heard at all"

    # A switch that forgets asks again, and every member says that it still is one.
    forget = "nft flush set bridge snooping members"
    members = "nft list set bridge snooping members"
    assert "web3" not in shell(lab, "segment", members)
    shell(lab, "segment", forget)
    send(lab, "router", membership_query(tenths=5))
    until(lambda: shell(lab, "segment", members).count(listen) == 2, what="reports")
    shell(lab, "web3", "vipnft apply --igmp")
    until(lambda: "web3" in shell(lab, "segment", members), what="web3 to join")
