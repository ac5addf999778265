"""`down` and failures give the host back exactly as it was."""

import random
import subprocess
import time

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, apply, shell, snapshot
from vipnft.model import Mode


@pytest.mark.parametrize("mode", Mode)
def test_after_down_the_host_is_as_before_apply(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=1, mode=mode)
    shell(
        lab, "web1", "nft add table inet mine; nft add chain inet mine c; nft add table ip vipnft2"
    )
    shell(lab, "web1", "sysctl -qw net.ipv4.conf.eth0.forwarding=1")
    before = snapshot(lab, "web1")
    apply(lab, "web1", mode)
    during = snapshot(lab, "web1")
    assert during != before
    assert [line for line in during if "table inet mine" in line]
    apply(lab, "web1", mode)
    assert snapshot(lab, "web1") == during, "applying again must change nothing"
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_down_needs_no_cluster_file(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=1, mode=mode)
    before = snapshot(lab, "web1")
    apply(lab, "web1", mode)
    lab.config.unlink()
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before
    assert "nothing is applied" in lab.run("web1", ["vipnft", "down"], check=True).stdout


def test_what_was_there_already_stays(lab_up: LabUp) -> None:
    """The VIP on lo, the listen MAC in the filter and a setting, put there by somebody else."""
    lab = lab_up(hosts=1)
    shell(lab, "web1", "ip addr add 192.0.2.100/32 dev lo scope host")
    shell(lab, "web1", "bridge fdb add 02:bf:c0:00:02:64 dev eth0 self permanent")
    shell(lab, "web1", "sysctl -qw net.ipv4.conf.eth0.arp_ignore=2")
    before = snapshot(lab, "web1")
    apply(lab, "web1", Mode.SWITCH)
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_a_failure_half_way_leaves_the_host_as_it_was(lab_up: LabUp, mode: Mode) -> None:
    """With the loopback down the last step, the address, fails on a real kernel."""
    lab = lab_up(hosts=1, mode=mode)
    shell(lab, "web1", "ip link set lo down")
    before = snapshot(lab, "web1")
    failed = lab.run("web1", ["vipnft", "apply", f"--{mode}"])
    assert failed.returncode == 1
    assert "loopback interface is down" in failed.stderr
    assert "fix: ip link set lo up" in failed.stderr
    assert snapshot(lab, "web1") == before


def test_a_driver_that_refuses_the_mac_leaves_the_host_as_it_was(lab_up: LabUp) -> None:
    """An ifb interface takes no other MAC at all, up or down."""
    lab = lab_up(hosts=1, mode=Mode.HUB)
    shell(lab, "web1", "ip link add ifb7 type ifb; ip link set ifb7 up")
    file = lab.config
    file.write_text(file.read_text().replace('"eth0"', '"ifb7"'))
    before = snapshot(lab, "web1")
    failed = lab.run("web1", ["vipnft", "apply", "--hub"])
    assert failed.returncode == 1
    assert "ifb7 does not take 02:bf:c0:00:02:64" in failed.stderr
    assert snapshot(lab, "web1") == before


def test_a_failed_change_brings_the_old_state_back(lab_up: LabUp) -> None:
    """A second VIP that can't be added: what was applied before still is."""
    lab = lab_up(hosts=2)
    file = lab.config  # lo that goes down loses its IPv6 addresses
    file.write_text(file.read_text().replace('"2001:db8::100"', '"192.0.2.99"'))
    apply(lab, "web1", Mode.SWITCH)
    before = snapshot(lab, "web1")
    file.write_text(file.read_text().replace('["192.0.2.100",', '["192.0.2.101", "192.0.2.100",'))
    shell(lab, "web1", "ip link set lo down")
    broken = snapshot(lab, "web1")
    assert lab.run("web1", ["vipnft", "apply", "--switch"]).returncode == 1
    assert snapshot(lab, "web1") == broken
    shell(lab, "web1", "ip link set lo up")
    assert snapshot(lab, "web1") == before
    apply(lab, "web1", Mode.SWITCH)
    assert "192.0.2.101/32" in shell(lab, "web1", "ip -4 addr show dev lo")


def test_vips_that_leave_the_file_leave_the_host(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    before = snapshot(lab, "web1")
    text = lab.config.read_text()
    lab.config.write_text(text.replace('["192.0.2.100",', '["192.0.2.101", "192.0.2.100",'))
    apply(lab, "web1", Mode.SWITCH)
    lab.config.write_text(text)
    apply(lab, "web1", Mode.SWITCH)
    assert "192.0.2.101" not in "\n".join(snapshot(lab, "web1"))
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before


def test_a_lost_terminal_stops_nothing(lab_up: LabUp) -> None:
    """SIGHUP at any moment of an apply: all of it, or nothing, is in place."""
    lab = lab_up(hosts=1)
    before = snapshot(lab, "web1")
    apply(lab, "web1", Mode.SWITCH)
    complete = snapshot(lab, "web1")
    lab.run("web1", ["vipnft", "down"], check=True)
    for delay in range(0, 400, 25):
        script = (
            f"vipnft apply --switch >/dev/null & sleep {delay / 1000}; kill -HUP $!; wait $!; true"
        )
        shell(lab, "web1", script)
        found = snapshot(lab, "web1")
        assert found in (before, complete)
        lab.run("web1", ["vipnft", "down"], check=True)


MORE = '["192.0.2.100", "192.0.2.101", "2001:db8::101",'


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_a_killed_change_of_the_file_leaves_nothing_behind(lab_up: LabUp, mode: Mode) -> None:
    """A VIP and a listen MAC that go, and kill -9 anywhere: the next apply and down end clean."""
    lab = lab_up(hosts=1, mode=mode)
    before = snapshot(lab, "web1")
    small = lab.config.read_text()
    large = small.replace('["192.0.2.100",', MORE).replace("02:bf:c0:00:02:64", "02:bf:0:0:0:9")
    large = large.replace("02:bf:0:0:0:9", "02:bf:00:00:00:09")
    draw = random.Random(4)
    for _ in range(12):
        lab.config.write_text(large)
        apply(lab, "web1", mode)
        lab.config.write_text(small)
        process = lab.popen("web1", ["vipnft", "apply", f"--{mode}"], stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.1, 0.5))
        process.kill()
        process.wait()
        apply(lab, "web1", mode)
        assert "192.0.2.101" not in "\n".join(snapshot(lab, "web1"))
        lab.run("web1", ["vipnft", "down"], check=True)
        assert snapshot(lab, "web1") == before


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_an_interface_that_was_renamed_is_given_back(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=1, mode=mode)
    name = "ip link set {0} down; ip link set {0} name {1}; ip link set {1} up"
    back = "; ip route replace default via 192.0.2.254"
    for old, new in (("eth0", "lan0"), ("lan0", "eth0")):  # what a rename itself changes
        shell(lab, "web1", name.format(old, new) + back)
    before = snapshot(lab, "web1")
    apply(lab, "web1", mode)
    shell(lab, "web1", name.format("eth0", "lan0") + back)
    lab.run("web1", ["vipnft", "down"], check=True)
    shell(lab, "web1", name.format("lan0", "eth0") + back)
    assert snapshot(lab, "web1") == before


def test_a_filter_entry_that_was_there_stays(lab_up: LabUp) -> None:
    """Also where the listen MAC becomes that one only later."""
    lab = lab_up(hosts=1)
    shell(lab, "web1", "bridge fdb add 02:bf:00:00:00:0b dev eth0 self permanent")
    before = snapshot(lab, "web1")
    apply(lab, "web1", Mode.SWITCH)
    text = lab.config.read_text()
    lab.config.write_text(text.replace("02:bf:c0:00:02:64", "02:bf:00:00:00:0b"))
    apply(lab, "web1", Mode.SWITCH)
    lab.run("web1", ["vipnft", "down"], check=True)
    assert snapshot(lab, "web1") == before


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b'{"version": 99}'])
def test_a_record_that_can_not_be_read_is_named(lab_up: LabUp, garbage: bytes) -> None:
    lab = lab_up(hosts=1)
    apply(lab, "web1", Mode.SWITCH)
    octal = "".join(f"\\{byte:03o}" for byte in garbage)
    shell(lab, "web1", f"printf '{octal}' > $(ls /run/vipnft/*.json)")
    before = snapshot(lab, "web1")
    for words in (["apply", "--switch"], ["down"], ["status"]):
        said = lab.run("web1", ["vipnft", *words])
        assert said.returncode == 1
        assert "is not what this version wrote" in said.stderr
        assert "by hand" in said.stderr
    assert snapshot(lab, "web1") == before


def test_tables_without_a_record_are_removed_and_the_rest_is_named(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    apply(lab, "web1", Mode.SWITCH)
    shell(lab, "web1", "rm /run/vipnft/*.json")
    said = lab.run("web1", ["vipnft", "down"])
    assert said.returncode == 1
    assert "without a record" in said.stderr
    assert "as it was" not in said.stdout
    assert "vipnft" not in shell(lab, "web1", "nft list tables")


def test_hub_mode_without_a_record_does_not_take_the_listen_mac_for_its_own(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1, mode=Mode.HUB)
    apply(lab, "web1", Mode.HUB)
    shell(lab, "web1", "rm /run/vipnft/*.json; nft flush ruleset")
    said = lab.run("web1", ["vipnft", "apply", "--hub"])
    assert said.returncode == 2
    assert "has the listen MAC" in said.stderr
