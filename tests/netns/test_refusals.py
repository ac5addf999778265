"""What this machine can't be is refused with exit code 2, and nothing is touched."""

import tempfile
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, apply, shell, snapshot
from vipnft.model import Mode

BAD = {
    "interface missing": ("ip link set eth0 name eth9", "eth0 is not on this machine"),
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
    "VIP on lo with a network": (
        "ip addr add 192.0.2.100/24 dev lo scope host",
        "192.0.2.100 is an address of this host's lo (/24)",
    ),
    "the interface is a bridge's port": (
        "ip link add br0 type bridge; ip link set eth0 master br0",
        "eth0 is a port of a bridge",
    ),
    "another name of the interface": (
        "ip link set eth0 down; ip link set eth0 name eth9;"
        "ip link property add dev eth9 altname eth0; ip link set eth9 up",
        "eth0 is another name of eth9",
    ),
    "another interface has the listen MAC": (
        "ip link add v0 type veth peer name v1; ip link set v0 address 02:bf:c0:00:02:64",
        "v0 has the listen MAC",
    ),
}


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
@pytest.mark.parametrize("case", BAD)
def test_a_machine_that_does_not_fit(lab_up: LabUp, mode: Mode, case: str) -> None:
    script, named = BAD[case]
    lab = lab_up(hosts=1, mode=mode)
    shell(lab, "web1", script)
    before = snapshot(lab, "web1")
    said = lab.run("web1", ["vipnft", "apply", f"--{mode}"])
    assert (said.returncode, said.stdout) == (2, "")
    assert named in said.stderr
    assert "fix: " in said.stderr
    assert snapshot(lab, "web1") == before


def test_an_interface_without_carrier(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    shell(lab, "segment", "ip link set web1 down")
    before = snapshot(lab, "web1")
    said = lab.run("web1", ["vipnft", "apply", "--switch"])
    assert said.returncode == 2
    assert "eth0 has no carrier" in said.stderr
    assert snapshot(lab, "web1") == before


def test_the_interface_has_the_listen_mac(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    shell(lab, "web1", "ip link set eth0 address 02:bf:c0:00:02:64")
    before = snapshot(lab, "web1")
    said = lab.run("web1", ["vipnft", "apply", "--switch"])
    assert said.returncode == 2
    assert "own MAC is the listen MAC" in said.stderr
    assert snapshot(lab, "web1") == before


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
