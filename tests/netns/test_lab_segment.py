"""The lab's segment: who reaches whom, what a switch learns, and what is seen on the wire."""

import socket

import pytest

from tests.netns.labs import ROUTER, name, ping, seen_last
from vipnft.errors import VipnftError
from vipnft.lab import demo, plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch, learned
from vipnft.lab.frames import ICMP
from vipnft.lab.lab import Lab
from vipnft.lab.tally import Asked
from vipnft.model import Mode


def test_everybody_reaches_the_router_and_a_client(switch: Lab, hub: Lab) -> None:
    for lab in switch, hub:
        for host in lab.hosts:
            assert ping(lab, host, ROUTER)
            assert ping(lab, host, str(plan.client_address(999)))
        assert ping(lab, "clients", str(plan.host_address(2)))


def test_the_segment_itself_has_no_address(switch: Lab) -> None:
    said = switch.run("segment", ["ip", "-o", "addr", "show", "scope", "global"]).stdout
    assert said == ""
    assert switch.run("segment", ["ip", "-o", "addr", "show", "dev", "br0"]).stdout == ""


def test_hosts_have_the_addresses_the_plan_gives_them(switch: Lab) -> None:
    shown = switch.run("web3", ["ip", "-o", "addr", "show", "dev", "eth0"]).stdout
    assert "192.0.2.3/24" in shown
    assert "tentative" not in shown
    assert "02:00:00:00:00:03" in switch.run("web3", ["ip", "link", "show", "eth0"]).stdout


def test_hosts_past_99_live_in_the_other_network() -> None:
    with Lab.up(name("wide"), 101) as lab:
        assert ping(lab, "web101", str(plan.FAR_ROUTER))
        assert ping(lab, "web101", str(plan.host_address(1)))
        assert ping(lab, "clients", str(plan.host_address(101)))


def test_a_switch_learns_and_then_sends_to_one_port(switch: Lab) -> None:
    assert ping(switch, "web1", ROUTER)
    table = learned(switch)
    assert table[plan.host_mac(1)] == "web1"
    assert table[plan.ROUTER_MAC] == "router"
    with Wire(switch, "web2", keep=True) as wire:
        assert ping(switch, "web1", ROUTER)
        seen_last(switch, "web1", wire)
    assert not [frame for frame in wire.frames if frame.protocol == ICMP]


def test_a_hub_learns_nothing_and_floods(hub: Lab) -> None:
    assert ping(hub, "web1", ROUTER)
    with Wire(hub, "web2", keep=True) as wire:
        assert ping(hub, "web1", ROUTER)
        seen_last(hub, "web1", wire)
    heard = [frame for frame in wire.frames if frame.protocol == ICMP]
    assert {frame.dst_mac for frame in heard} == {plan.host_mac(1), plan.ROUTER_MAC}
    assert not any(frame.outgoing for frame in heard)
    assert learned(hub) == {}


def test_a_segment_that_snoops_lets_through_what_no_group_has() -> None:
    """Frames to a group's MAC with a VIP in them: the bridge knows groups by IP address, and once
    it believes in its querier, some 10 s later, only its routers' ports get what has none."""
    with Lab.up(name("igmp"), 2, Mode.IGMP) as lab:
        ports = lab.run("segment", ["bridge", "-d", "link"], check=True).stdout
    assert ports.count("mcast_router 2") == 3


def test_a_watch_sees_all_that_was_ever_learned(switch: Lab) -> None:
    forged = "02:bf:c0:00:02:64"
    with FdbWatch(switch) as watch, Wire(switch, "router") as wire:
        assert ping(switch, "web1", ROUTER)
        for sender in "web1", "web2":
            with switch.socket(sender, socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("eth0", 0))
                raw.send(bytes.fromhex("ffffffffffff" + forged.replace(":", "") + "88b5"))
        seen_last(switch, "web1", wire)
        switch.run("segment", ["bridge", "fdb", "del", forged, "dev", "web2", "master"], check=True)
    assert watch.seen[forged] == {"web1", "web2"}
    assert watch.seen[plan.host_mac(1)] == {"web1"}
    assert forged not in learned(switch)


def test_the_wire_counts_arp_and_knows_directions(switch: Lab) -> None:
    switch.run("router", ["ip", "neigh", "flush", "dev", "eth0"])
    with Wire(switch, "router", keep=True) as wire:
        assert ping(switch, "router", "192.0.2.2")
    question = Asked(ROUTER, "192.0.2.2")  # hosts may ask, too, whether the router is still there
    assert wire.tally.arp_replies[question] == wire.tally.arp_requests[question] > 0
    assert wire.tally.arp_macs["192.0.2.2"].keys() == {plan.host_mac(2)}
    arps = [(frame, frame.arp) for frame in wire.frames if frame.arp]
    asked = next(frame for frame, arp in arps if (arp.sender, arp.target) == question)
    told = next(frame for frame, arp in arps if (arp.target, arp.sender) == question)
    assert (asked.outgoing, told.outgoing) == (True, False)


def test_a_wire_that_lost_frames_gives_no_figures(
    switch: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vipnft.lab.capture.BUFFER_BYTES", 4096)
    with (
        Wire(switch, "router") as wire,
        wire._news,  # it can't read on while we hold this
        switch.socket("web1", socket.AF_PACKET, socket.SOCK_RAW) as raw,
    ):
        raw.bind(("eth0", 0))
        for _ in range(2000):
            raw.send(bytes.fromhex("ffffffffffff 02000000bbbb 88b5") + bytes(1000))
    assert wire.dropped > 0
    with pytest.raises(VipnftError, match="frames were not counted"):
        _ = wire.tally


def test_a_wire_says_when_what_is_waited_for_does_not_come(switch: Lab) -> None:
    with (
        Wire(switch, "router") as wire,
        pytest.raises(VipnftError, match=r"eth0 of router: not seen within 0\.05 s"),
    ):
        wire.until(lambda tally: len(tally.syns) > 10**9, 0.05)


def test_clients_have_addresses_of_their_own_and_the_wire_sees_them(switch: Lab) -> None:
    host = "web2"
    switch.run(host, ["ip", "addr", "add", f"{switch.vip}/32", "dev", "eth0"], check=True)
    demo.serve_everywhere(switch, 8080)
    with Wire(switch, "router") as wire:
        said = demo.connect(switch, 50, 8080)
    switch.run(host, ["ip", "addr", "del", f"{switch.vip}/32", "dev", "eth0"], check=True)
    assert set(said["answers"].values()) == {host}
    assert set(said["answers"]) == {f"10.64.0.{number}" for number in range(1, 51)}
    assert len(wire.tally.syns) == 50
    assert wire.tally.syn_acks_by_mac() == {plan.host_mac(2): 50}
    assert wire.tally.doubles == []
    assert wire.tally.unanswered == []


def test_two_hosts_that_both_answer_are_found_out(hub: Lab) -> None:
    """Without vipnft: the VIP and one MAC on two hosts of a hub."""
    for host in "web1", "web2":
        hub.run(host, ["ip", "link", "set", "eth0", "address", "02:bf:c0:00:02:64"], check=True)
        hub.run(host, ["ip", "addr", "add", f"{hub.vip}/32", "dev", "eth0"], check=True)
    demo.serve_everywhere(hub, 8081)
    with Wire(hub, "router") as wire:
        demo.connect(hub, 20, 8081)
    assert len(wire.tally.doubles) == 20
    asked = Asked(ROUTER, str(hub.vip))
    assert wire.tally.arp_replies[asked] == 2 * wire.tally.arp_requests[asked] > 0


def test_the_mtu_towards_clients_draws_icmp_errors() -> None:
    with (
        Lab.up(name("mtu"), 1, mtu=1280) as lab,
        Wire(lab, "web1", keep=True) as wire,
        lab.socket("web1", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
    ):
        raw.sendto(b"\x08\0\xf7\xff" + bytes(1396), ("10.64.0.1", 0))
        wire.until(lambda _: any(frame.icmp.type == 3 for frame in wire.frames))
    (error,) = [frame for frame in wire.frames if frame.icmp.type == 3]
    assert (error.icmp.code, error.src) == (4, ROUTER)  # fragmentation needed
