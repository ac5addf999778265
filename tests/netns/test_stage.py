"""The XDP stage: it drops what the rules would drop, and nothing else, whatever happens."""

import ast
import json
import re
import sys
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import stage as fuzz
from tests.netns import scenarios
from tests.netns.conftest import LabUp
from tests.netns.packets import IPV4, ROUTER, send, udp
from tests.netns.support import (
    FLOOD,
    LISTEN,
    PROGRAMS,
    VIP,
    apply_all,
    configure,
    plug_in,
    shell,
    snapshot,
    until,
)
from vipnft.buckets.phases import owners_of
from vipnft.lab.lab import Lab
from vipnft.model import Affinity, Protocol, Segment, Service, Xdp
from vipnft.ruleset.ndp import mac

FRAMES, SEED = 100_000, 18
VLAN = "ip link add link eth0 name eth0.9 type vlan id 9"
TAMPER = f"{sys.executable} {PROGRAMS}/tamper_stage.py"
FAR, FAR_LISTEN = "203.0.113.100", "02:bf:cb:00:71:64"
DNS = Service(protocol=Protocol.UDP, ports=((53, 53),), affinity=Affinity.FLOW)


def test_whatever_it_drops_its_twin_and_the_rules_drop() -> None:
    found = ast.literal_eval(fuzz.alone(FRAMES, SEED))
    assert found["dropped"] + found["passed"] == found["frames"] > FRAMES - 10
    assert min(found["dropped"], found["passed and taken"]) > FRAMES / 20


def staged(lab: Lab, xdp: Xdp = Xdp.AUTO, **more: Any) -> Lab:
    configure(lab, xdp=xdp, **more)
    return lab


def watched(lab: Lab, host: str, words: str) -> str:
    """Run a command, looking at each step; return what it said."""
    done = lab.run(host, [sys.executable, str(PROGRAMS / "watched.py"), *words.split()])
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def standing(lab: Lab, host: str) -> str:
    """Return where a host's stage runs, or why it doesn't."""
    (nic,) = json.loads(lab.run(host, ["vipnft", "status", "--json"]).stdout)["nics"]
    stage = nic["stage"]
    return str(stage and (stage["where"] or stage["why"]))


def on_eth0(lab: Lab, host: str) -> str:
    """Return the name of the program on eth0."""
    found = re.search(r"prog/xdp.* name (\w+)", shell(lab, host, "ip -d link show dev eth0"))
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("xdp", "where"), [(Xdp.AUTO, "native"), (Xdp.NATIVE, "native"), (Xdp.GENERIC, "generic")]
)
def test_others_packets_end_there_and_own_ones_are_taken(
    lab_up: LabUp, xdp: Xdp, where: str
) -> None:
    lab = staged(lab_up(hosts=2), xdp)
    before = snapshot(lab, "web1")
    apply_all(lab)
    owners = owners_of(lab.cluster)
    clients = [scenarios.client_in(b, lab.cluster) for b in range(256)]
    head = mac(LISTEN) + mac(ROUTER) + IPV4
    send(lab, "router", *(head + udp(client, VIP, 9) for client in clients))

    def seen(host: str) -> tuple[list[int], list[int]]:
        found = json.loads(shell(lab, host, "vipnft status --json"))
        assert not found["drift"]
        assert found["nics"][0]["stage"]["where"] == where
        taken, dropped = found["bucket_packets"], found["nics"][0]["stage"]["dropped"]
        return [b for b in range(256) if taken[b]], [b for b in range(256) if dropped[b]]

    def is_split(host: str, mine: list[int]) -> bool:
        return seen(host) == (mine, sorted({*range(256)} - {*mine}))

    for host in lab.hosts:
        mine = [b for b in range(256) if owners[b] == host]
        # What may still be another's, as it joins, passes; nothing here drains.
        until(partial(is_split, host, mine))
    assert f"XDP stage   {where}, 1" in shell(lab, "web1", "vipnft status")
    shell(lab, "web1", "vipnft down")
    assert snapshot(lab, "web1") == before


def test_at_each_step_of_each_command_it_drops_only_what_the_rules_drop(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=3), Xdp.NATIVE)
    text = lab.config.read_text()
    bucket = owners_of(lab.cluster).index("web1")
    apply = "apply --switch --drain 0"
    assert "looked 0" not in watched(lab, "web1", apply)
    assert "nothing to do" in watched(lab, "web1", apply)
    for weights in ({"web1": 3}, {"web1": 0}, {"web2": 2}):
        lab.config.write_text(scenarios.with_weights(text, weights))
        assert "looked 0" not in watched(lab, "web1", apply)
    lab.config.write_text(text)
    watched(lab, "web1", "apply --switch --drain 1h")
    for drain in ("0", "1h"):
        watched(lab, "web1", f"release {bucket} --to web2 --drain {drain}")
        watched(lab, "web1", f"take {bucket} --from web2 --drain {drain}")
    lab.config.write_text(text.replace("seed = ", "seed = 1 #"))
    assert "replaced" in watched(lab, "web1", f"{apply} --reshuffle")
    more = lab.config.read_text().replace('["192.0.2.100",', '["192.0.2.100", "192.0.2.9",')
    lab.config.write_text(more)
    assert "replaced" in watched(lab, "web1", apply)
    shell(lab, "web1", "nft delete table netdev vipnft; vipnft apply --switch")
    assert standing(lab, "web1") == "native"
    lab.config.write_text(more.replace('xdp = "native"', 'xdp = "generic"'))
    watched(lab, "web1", apply)
    assert standing(lab, "web1") == "generic"
    lab.config.write_text(more.replace('xdp = "native"', ""))
    watched(lab, "web1", apply)
    assert on_eth0(lab, "web1") == ""
    watched(lab, "web1", "down")


def test_where_the_last_step_fails_it_lets_through_what_the_old_rules_take(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=3), Xdp.NATIVE)
    shell(lab, "web1", "vipnft apply --switch")
    fewer = scenarios.with_weights(lab.config.read_text(), {"web1": 0})
    lab.config.write_text(fewer.replace('["192.0.2.100",', '["192.0.2.100", "192.0.2.9",'))
    words = [sys.executable, str(PROGRAMS / "watched.py"), "spoiled", "apply", "--switch"]
    words += ["--drain", "0"]
    done = lab.run("web1", words)
    assert (done.returncode != 0, "WRONG" in done.stderr) == (True, False), done.stderr
    assert "no space is left" in done.stderr
    assert "undoing it failed" not in done.stderr
    watched(lab, "web1", "")


def test_a_killed_apply_leaves_a_stage_that_drops_nothing_of_ours(lab_up: LabUp) -> None:
    found = scenarios.interrupted(staged(lab_up(hosts=3)), points=8)
    assert found["old"] + found["new"] == found["points"]


def test_other_buckets_never_notice(lab_up: LabUp, tmp_path: Path) -> None:
    lab = staged(lab_up(hosts=2))
    apply_all(lab)
    found = scenarios.quiet_buckets(lab, tmp_path, times=40, pause=0.02, pace=FLOOD)
    assert found["rebalances"] == 80
    # A full CPU queue, which may be another test's doing, drops before any rule sees a frame.
    assert 0 <= found["lost or twice"] <= found["backlog drops"]
    assert found["seen"] == found["taken"]


def test_what_somebody_changed_is_told_and_mended(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=2))
    apply_all(lab)
    shell(lab, "web1", "ip link set eth0 xdp off")
    done = lab.run("web1", ["vipnft", "status"])
    assert done.returncode == 3
    assert "the XDP stage on eth0 is not there" in done.stdout
    shell(lab, "web1", "vipnft apply --switch")
    assert shell(lab, "web1", "vipnft status").count("native") == 1
    shell(lab, "web1", TAMPER)
    assert "the XDP stage on eth0 drops " in lab.run("web1", ["vipnft", "status"]).stdout
    shell(lab, "web1", "vipnft apply --switch")
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0


def test_another_version_replaces_it(lab_up: LabUp) -> None:
    """At one moment, and with nothing else to do."""
    lab = staged(lab_up(hosts=2))
    apply_all(lab)
    number = re.findall(r"prog/xdp id (\d+)", shell(lab, "web1", "ip -d link show dev eth0"))
    newer = f"{sys.executable} {PROGRAMS}/newer_stage.py"
    done = lab.run("web1", [*newer.split(), "status"])
    assert done.returncode == 3
    assert "the XDP stage on eth0 is another version's" in done.stdout
    shell(lab, "web1", f"{newer} apply --switch")
    shell(lab, "web1", f"{newer} status")
    assert scenarios.stage_is_right(lab, "web1")
    now = re.findall(r"prog/xdp id (\d+)", shell(lab, "web1", "ip -d link show dev eth0"))
    assert len(now) == 1
    assert now != number
    assert "another version's" in lab.run("web1", ["vipnft", "status"]).stdout
    shell(lab, "web1", "vipnft down")
    assert on_eth0(lab, "web1") == ""


def test_a_kernel_without_bpf_serves_by_the_rules_alone(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=2))
    before = snapshot(lab, "web1")
    without = [sys.executable, f"{PROGRAMS}/no_bpf.py"]
    assert "Function not implemented" in lab.run("web1", [*without, "check"]).stdout
    done = lab.run("web1", [*without, "apply", "--switch"], check=True)
    assert "no XDP stage on eth0: the XDP program can't " in done.stderr
    assert lab.run("web1", [*without, "status"]).returncode == 0
    apply_all(lab)
    assert standing(lab, "web1") == "native"
    lab.run("web1", [*without, "down"], check=True)
    assert snapshot(lab, "web1") == before


def test_each_of_two_segments_has_its_own(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    shell(lab, "segment", "ip link add br1 type bridge; ip link set br1 up")
    plug_in(lab, "web1", "eth1", "web1b", "br1")
    plug_in(lab, "router", "eth2", "router2", "br1")
    shell(lab, "web1", "ip addr add 203.0.113.1/24 dev eth1")
    (segment,) = lab.cluster.segments
    far = Segment(interface="eth1", vips=(IPv4Address(FAR),), listen_mac=FAR_LISTEN)
    staged(lab, Xdp.NATIVE, segments=(segment, far))
    before = snapshot(lab, "web1")
    shell(lab, "web1", "vipnft apply --switch")
    owners = owners_of(lab.cluster)
    others = [b for b in range(256) if owners[b] != "web1"]
    head = mac(FAR_LISTEN) + mac(ROUTER) + IPV4
    clients = [scenarios.client_in(b, lab.cluster) for b in others]
    for vip in (FAR, VIP):  # the second one stands elsewhere: no business of this program
        send(lab, "router", *(head + udp(one, vip, 9) for one in clients), interface="eth2")

    def dropped() -> list[list[int]]:
        nics = json.loads(shell(lab, "web1", "vipnft status --json"))["nics"]
        return [[b for b in range(256) if nic["stage"]["dropped"][b]] for nic in nics]

    until(lambda: dropped() == [[], others], what="the far segment's stage alone to drop")
    shell(lab, "web1", "ip link set eth1 xdp off")
    assert "the XDP stage on eth1 is not there" in lab.run("web1", ["vipnft", "status"]).stdout
    shell(lab, "web1", "vipnft apply --switch")
    shell(lab, "web1", "vipnft down")
    assert snapshot(lab, "web1") == before


def make(lab: Lab, words: str) -> None:
    """Make an interface; skip the test where this kernel has no such kind."""
    done = lab.run("web1", words.split())
    if "Unknown device type" in done.stderr:
        pytest.skip(f"this kernel can't: {words}")
    assert done.returncode == 0, done.stderr


def test_another_program_is_left_alone(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=2))
    shell(lab, "web1", f"{sys.executable} {PROGRAMS}/other_xdp.py")
    assert "another XDP program is there" in lab.run("web1", ["vipnft", "check"]).stdout
    done = lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    assert "no XDP stage on eth0: another XDP program is on it" in done.stderr
    assert on_eth0(lab, "web1") == "somebody"
    assert "off (another program is there" in shell(lab, "web1", "vipnft status")
    shell(lab, "web1", "vipnft down")
    assert on_eth0(lab, "web1") == "somebody"


@pytest.mark.parametrize(
    ("interface", "made", "named"),
    [
        ("br9", "ip link add br9 type bridge", "a bridge runs no XDP program natively"),
        ("eth0.9", VLAN, "a vlan runs no XDP"),
        ("eth0", VLAN, "VLANs stand on it"),
        ("bond9", "ip link add bond9 type bond", "if the drivers of all its ports do"),
        ("eth0", "true", "the kernel takes the XDP program"),
    ],
)
def test_check_tells_where_it_can_be(lab_up: LabUp, interface: str, made: str, named: str) -> None:
    lab = lab_up(hosts=1)
    make(lab, made)
    shell(lab, "web1", f"ip link set {interface} up")
    text = lab.config.read_text().replace(
        'interface = "eth0"', f'interface = "{interface}"\nxdp = "auto"'
    )
    lab.config.write_text(text)
    assert named in lab.run("web1", ["vipnft", "check"]).stdout


def test_where_vlans_come_to_stand_it_goes(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=1))
    apply_all(lab)
    assert standing(lab, "web1") == "native"
    make(lab, VLAN)
    assert "the XDP stage on eth0 is to be off" in lab.run("web1", ["vipnft", "status"]).stdout
    done = lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    assert "VLANs stand on it" in done.stderr
    assert on_eth0(lab, "web1") == ""


def test_where_ports_decide_there_is_none(lab_up: LabUp) -> None:
    lab = staged(lab_up(hosts=2), services=(DNS,))
    done = lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    assert "no XDP stage on eth0: ports decide" in done.stderr
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0


def test_what_the_drop_in_grants_is_enough(lab_up: LabUp) -> None:
    """CAP_BPF besides: without it, the rules do alone, and say so."""
    lab = staged(lab_up(hosts=2))
    drop_in = (Path(__file__).parents[2] / "packaging/xdp.conf").read_text()
    assert re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", drop_in) == ["CAP_BPF"]
    alone = "setpriv --bounding-set=-all,+net_admin,+net_raw --no-new-privs"
    more = alone.replace("+net_raw", "+net_raw,+bpf")
    done = lab.run("web1", [*alone.split(), "vipnft", "apply", "--switch"], check=True)
    assert "run it as root, or give the unit CAP_BPF" in done.stderr
    assert on_eth0(lab, "web1") == ""
    for words in ("vipnft apply --switch", "vipnft release {} --to web2 --drain 0"):
        bucket = owners_of(lab.cluster).index("web1")
        lab.run("web1", [*more.split(), *words.format(bucket).split()], check=True)
        assert standing(lab, "web1") == "native"
        assert scenarios.stage_is_right(lab, "web1")
    # Who has no right to load one takes off what he can't change.
    lab.run("web1", [*alone.split(), *f"vipnft take {bucket} --from web2".split()], check=True)
    assert on_eth0(lab, "web1") == ""
    lab.run("web1", [*more.split(), "vipnft", "apply", "--switch"], check=True)
    lab.run("web1", [*alone.split(), "vipnft", "down"], check=True)
    assert on_eth0(lab, "web1") == ""
