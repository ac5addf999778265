"""Interfaces of every kind that this kernel offers, in place of a plain one."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import (
    ASK_TCP,
    LISTEN,
    STRAY,
    VIP,
    VIP6,
    apply,
    apply_all,
    asked,
    guest,
    nginx,
    on_hosts,
    shell,
    snapshot,
    until,
    which,
)
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.lab import Lab
from vipnft.model import Mode

KINDS = {
    "bridge": "ip link add lan address 02:00:00:00:07:01 type bridge; ip link set eth0 master lan",
    "macvlan": "ip link add lan link eth0 address 02:00:00:00:07:01 type macvlan mode bridge",
}


def behind(lab: Lab, kind: str) -> None:
    """Give web1 an interface on top of its own, and all of its addresses there."""
    shell(
        lab,
        "web1",
        f"{KINDS[kind]}; ip link set lan up; ip addr flush dev eth0;"
        "ip addr add 192.0.2.1/24 dev lan; ip addr add 2001:db8::1:1/64 dev lan nodad;"
        "ip route replace default via 192.0.2.254;"
        "ip -6 route flush default; ip -6 route add default via 2001:db8::fe dev lan",
    )
    text = lab.config.read_text()
    lab.config.write_text(text.replace('name = "web1"', 'name = "web1"\ninterface = "lan"'))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("bridge", Mode.SWITCH),
        ("bridge", Mode.MULTICAST),
        ("macvlan", Mode.HUB),
        ("macvlan", Mode.MULTICAST),
    ],
)
def test_an_interface_upon_another(lab_up: LabUp, tmp_path: Path, kind: str, mode: Mode) -> None:
    lab = lab_up(hosts=3, mode=mode)
    behind(lab, kind)
    before = snapshot(lab, "web1")
    apply_all(lab)
    four = [str(plan.client_address(n)) for n in range(60)]
    six = [str(plan.client_address6(n)) for n in range(60)]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        wire = stack.enter_context(Wire(lab, "router"))
        watch = stack.enter_context(FdbWatch(lab))
        answered = asked(lab, "http_client.py", four) | asked(lab, "http_client.py", six, VIP6)
        wire.stop()
        watch.stop()
    assert answered == which(lab, four + six)
    assert set(answered.values()) == set(lab.hosts)
    assert (wire.tally.doubles, wire.tally.unanswered) == ([], [])
    assert mode is Mode.HUB or LISTEN not in watch.seen
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0
    lab.run("web1", ["vipnft", "down"], check=True)
    assert settled(snapshot(lab, "web1")) == settled(before)


def settled(lines: list[str]) -> list[str]:
    """Leave out what a bridge learns and times by itself."""
    kept = [line for line in lines if not re.search(r"master lan *$|master lan permanent", line)]
    return [re.sub(r"timer +[\d.]+", "timer", line) for line in kept]


def test_a_macvlan_in_switch_mode_is_refused(lab_up: LabUp) -> None:
    """It passes on what goes to its own MAC or to a group, and nothing else."""
    lab = lab_up(hosts=2)
    behind(lab, "macvlan")
    before = snapshot(lab, "web1")
    failed = lab.run("web1", ["vipnft", "apply", "--switch"])
    assert failed.returncode == 2
    assert "lan is a macvlan, which listens for no second MAC" in failed.stderr
    assert "fix: use --hub or --multicast" in failed.stderr
    assert snapshot(lab, "web1") == before
    assert (
        "warn  not with --switch: lan is a macvlan" in lab.run("web1", ["vipnft", "check"]).stdout
    )
    apply(lab, "web1", Mode.HUB)


GUESTS = [f"192.0.2.{n}" for n in range(120, 151)]


def test_a_guest_of_a_bridge_reaches_every_host(lab_up: LabUp, tmp_path: Path) -> None:
    """Hypervisors, and a router in a guest: frames for the listen MAC leave the bridge, too."""
    lab = lab_up(hosts=3)
    behind(lab, "bridge")
    before = snapshot(lab, "web1")
    apply_all(lab)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        enter = stack.enter_context(guest(lab, "web1", GUESTS))
        shell(lab, "web1", "ip link set guests master lan")
        ask = [*enter, sys.executable, "-c", ASK_TCP, VIP, *GUESTS]
        said = lab.run("web1", ask, check=True, timeout=600).stdout.split()
        assert dict(zip(GUESTS, said, strict=True)) == which(lab, GUESTS)
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0
    shell(lab, "web1", "ip link set lan promisc off")
    assert "is not promiscuous" in lab.run("web1", ["vipnft", "status"]).stdout
    lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    lab.run("web1", ["vipnft", "down"], check=True)
    assert settled(snapshot(lab, "web1")) == settled(before)


def test_a_guest_that_sends_from_the_listen_mac_is_named_by_its_port(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    behind(lab, "bridge")
    apply_all(lab)
    with guest(lab, "web1", GUESTS[:1]) as enter:
        shell(lab, "web1", "ip link set guests master lan")
        lab.run(
            "web1", [*enter, sys.executable, "-c", STRAY.replace("'eth0'", "'out'")], check=True
        )
        until(
            lambda: (
                "1 frames came by port guests from the listen MAC"
                in shell(lab, "web1", "vipnft status")
            ),
            what="status to tell",
        )


def test_a_bridge_in_hub_mode_is_refused(lab_up: LabUp) -> None:
    """With the listen MAC as its own it keeps what guests send there from the other hosts."""
    lab = lab_up(hosts=2, mode=Mode.HUB)
    behind(lab, "bridge")
    before = snapshot(lab, "web1")
    failed = lab.run("web1", ["vipnft", "apply", "--hub"])
    assert failed.returncode == 2
    assert "lan is a bridge" in failed.stderr
    assert settled(snapshot(lab, "web1")) == settled(before)


def test_a_port_of_a_bridge_is_named_by_check(lab_up: LabUp) -> None:
    """What comes in there is the bridge's; the file should name the bridge."""
    lab = lab_up(hosts=1)
    shell(lab, "web1", KINDS["bridge"])
    checked = lab.run("web1", ["vipnft", "check"])
    assert checked.returncode != 0
    assert "eth0 is a port of a bridge or bond" in checked.stdout
