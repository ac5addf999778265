"""What this machine can't be is refused with exit code 2, and nothing is touched.

What `apply` refuses, `check` has said before, with the same words and the same fix.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, apply, configure, shell, snapshot
from vipnft.lab.lab import Lab
from vipnft.model import Mode

LISTEN_ON_ETH0 = "ip link set eth0 address 02:bf:c0:00:02:64"
RENAMED = "ip link set eth0 down; ip link set eth0 name"
"""Not in one command: Debian 12's kernel renames nothing that is up, and does that first."""
LAN = """
    ip link add lan link eth0 address 02:00:00:00:07:01 type macvlan mode bridge
    ip link set eth0 down; ip link set eth0 name other; ip link set other up
    ip link set lan name eth0 up
"""
BAD = {
    "interface missing": (f"{RENAMED} eth9", "eth0 is not on this machine"),
    "interface down": ("ip link set eth0 down", "eth0 is down"),
    "VIP on the host's interface": (
        "ip addr add 192.0.2.100/24 dev eth0",
        "192.0.2.100 is an address of this host's eth0",
    ),
    "VIP is the host's own address": (
        "ip addr flush dev eth0; ip addr add 192.0.2.100/32 dev eth0",
        "192.0.2.100 is an address of this host's eth0",
    ),
    "VIP is the gateway": (
        "ip route replace default via 192.0.2.100",
        "192.0.2.100 is the gateway of a route",
    ),
    "VIP is a broadcast address": (
        "ip addr add 192.0.2.97/30 dev eth0 brd 192.0.2.100",
        "192.0.2.100 is the broadcast address",
    ),
    "VIP is a network's address": (
        "ip route add 192.0.2.100/30 dev eth0",
        "192.0.2.100 is the address of a network",
    ),
    "VIP on lo with a network": (
        "ip addr add 192.0.2.100/24 dev lo scope host",
        "192.0.2.100 is an address of this host's lo (/24)",
    ),
    "the interface is a bridge's port": (
        "ip link add br0 type bridge; ip link set eth0 master br0",
        "eth0 is a port of a bridge",
    ),
    "the interface is the loopback": (
        f"{RENAMED} eth9; ip link set lo down; ip link set lo name eth0; ip link set eth0 up",
        "eth0 is the loopback interface",
    ),
    "another name of the interface": (
        f"{RENAMED} eth9;ip link property add dev eth9 altname eth0; ip link set eth9 up",
        "eth0 is another name of eth9",
    ),
    "another interface has the listen MAC": (
        "ip link add v0 type veth peer name v1; ip link set v0 address 02:bf:c0:00:02:64",
        "v0 has the listen MAC",
    ),
    "no Ethernet": (
        f"{RENAMED} away; ip tuntap add eth0 mode tun; ip link set eth0 up",
        "eth0 has no Ethernet addresses",
    ),
    "IPv6 is off": (
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        "IPv6 is off on eth0",
    ),
    "IPv6 is off everywhere": (
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
        "IPv6 is off on eth0",
    ),
    "another host's send MAC": (
        "ip link set eth0 address 02:00:00:00:00:99",
        "eth0's own MAC 02:00:00:00:00:99 is the send_mac of web2",
    ),
    "several at once": (
        f"ip link set eth0 down; {LISTEN_ON_ETH0}; ip addr add 192.0.2.100/24 dev eth0",
        "eth0 is down",
    ),
}
IN_A_MODE = {
    "own MAC is the listen MAC": (Mode.SWITCH, LISTEN_ON_ETH0, "own MAC is the listen MAC"),
    "own MAC is unknown": (Mode.HUB, LISTEN_ON_ETH0, "eth0 has the listen MAC"),
    "macvlan": (Mode.SWITCH, LAN, "eth0 is a macvlan"),
}
CASES = [
    *((mode, *case) for mode in HUB_AND_SWITCH for case in BAD.values()),
    *IN_A_MODE.values(),
]
IDS = [*(f"{name}-{mode}" for mode in HUB_AND_SWITCH for name in BAD), *IN_A_MODE]


def same_words(lab: Lab, mode: Mode) -> str:
    """Let `check`, then `apply` say what they find; return apply's error, which is to be the
    first that check found for this mode."""
    before = snapshot(lab, "web1")
    checked = lab.run("web1", ["vipnft", "check"]).stdout
    applied = lab.run("web1", ["vipnft", "apply", f"--{mode}"])
    assert (applied.returncode, applied.stdout) == (2, "")
    assert snapshot(lab, "web1") == before
    found = re.findall(r"^(?:FAIL |warn  not with (.*?):) (.*)\n +fix: (.*)$", checked, re.M)
    ours = [rest for modes, *rest in found if not modes or f"--{mode}" in modes.split()]
    assert applied.stderr == "vipnft: {}\n  fix: {}\n".format(*ours[0])
    return applied.stderr


@pytest.mark.parametrize(("mode", "script", "named"), CASES, ids=IDS)
def test_a_machine_that_does_not_fit(lab_up: LabUp, mode: Mode, script: str, named: str) -> None:
    lab = lab_up(hosts=2, mode=mode)
    one, two = lab.cluster.hosts
    configure(lab, hosts=(one, replace(two, send_macs={"eth0": "02:00:00:00:00:99"})))
    shell(lab, "web1", script)
    assert named in same_words(lab, mode)


def test_an_interface_without_carrier(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    shell(lab, "segment", "ip link set web1 down")
    assert "eth0 has no carrier" in same_words(lab, Mode.SWITCH)


def test_another_seed_than_what_is_applied(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    apply(lab, "web1", Mode.SWITCH)
    configure(lab, seed=lab.cluster.seed + 1)
    assert "the seed is not the one that is applied" in same_words(lab, Mode.SWITCH)


def test_a_loopback_that_is_down(lab_up: LabUp) -> None:
    """The kernel is asked first, at the last step; see test_restore."""
    lab = lab_up(hosts=1)
    shell(lab, "web1", "ip link set lo down")
    checked = lab.run("web1", ["vipnft", "check"]).stdout
    said = "the loopback interface is down", "ip link set lo up"
    assert "FAIL  {}\n      fix: {}\n".format(*said) in checked
    applied = lab.run("web1", ["vipnft", "apply", "--switch"]).stderr
    assert applied == "vipnft: {}\n  fix: {}\n".format(*said)


@pytest.mark.parametrize(("first", "second"), [("hub", "switch"), ("switch", "hub")])
def test_another_mode_without_down(lab_up: LabUp, first: str, second: str) -> None:
    lab = lab_up(hosts=1, mode=Mode(first))
    apply(lab, "web1", Mode(first))
    before = snapshot(lab, "web1")
    said = lab.run("web1", ["vipnft", "apply", f"--{second}"])
    assert said.returncode == 2
    assert "fix: run `vipnft down` first" in said.stderr
    assert snapshot(lab, "web1") == before


def test_a_hostname_that_is_no_host(lab_up: LabUp) -> None:
    said = lab_up(hosts=1).run("router", ["vipnft", "apply", "--switch"])
    assert said.returncode == 2
    assert "host 'router' is not in cluster 'lab' (it has web1)" in said.stderr


@pytest.mark.parametrize("verb", ["apply --switch --host web1", "down"])
def test_not_root(lab_up: LabUp, verb: str) -> None:
    lab = lab_up(hosts=1)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    file = lab.config
    before = snapshot(lab, "web1")
    with tempfile.TemporaryDirectory() as place:  # tmp_path is root's alone
        Path(place).chmod(0o755)
        readable = Path(place, "cluster.toml")
        readable.write_text(file.read_text())
        readable.chmod(0o644)
        said = lab.run("web1", [*nobody, "vipnft", *verb.split(), "--config", str(readable)])
        dry = lab.run(
            "web1",
            [*nobody, *f"vipnft apply --switch --dry-run --host web1 --config {readable}".split()],
        )
    assert said.returncode == 2
    assert "needs root" in said.stderr
    assert dry.returncode == 0, dry.stderr
    assert "table netdev vipnft" in dry.stdout
    assert snapshot(lab, "web1") == before


def test_a_dry_run_changes_nothing(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    before = snapshot(lab, "web1")
    for form in ("nft", "json"):
        for mode in Mode:
            words = ["vipnft", "apply", f"--{mode}", "--dry-run", "--format", form]
            lab.run("web1", words, check=True)
    assert snapshot(lab, "web1") == before
