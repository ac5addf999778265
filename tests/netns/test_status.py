"""`status` compares contents with the real kernel, and `apply` mends what it finds."""

import json
from pathlib import Path

import pytest

from tests.netns.cast import serving
from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, LISTEN, apply, shell, until
from vipnft.lab.lab import Lab
from vipnft.model import Mode

TAMPERED = {
    "a rule is missing": (
        "h=$(nft -a list chain netdev vipnft rest4 | sed -n 's/.*drop # handle //p');"
        "nft delete rule netdev vipnft rest4 handle $h",
        "- chain rest4: drop",
    ),
    "a rule too many": ("nft insert rule inet vipnft output accept", "+ chain output"),
    "another seed": (
        "nft flush chain netdev vipnft whohas;"
        "nft add rule netdev vipnft whohas"
        " meta mark set jhash arp saddr ip mod 256 seed 0x1 meta mark vmap @buckets;"
        "nft add rule netdev vipnft whohas drop",
        "seed 0x1 ",
    ),
    "a bucket of somebody else's": (
        "nft delete element netdev vipnft buckets '{ 0 }';"
        "nft add element netdev vipnft buckets '{ 0 : drop }';"
        "nft delete element netdev vipnft buckets '{ 1 }';"
        "nft add element netdev vipnft buckets '{ 1 : jump take }'",
        "in the kernel, not",
    ),
    "not granted": ("nft flush set netdev vipnft granted0", "- set granted0"),
    "a table is gone": ("nft delete table arp vipnft", "nft table arp vipnft is gone"),
    "all flushed": ("nft flush ruleset", "nft table netdev vipnft is gone"),
    "the address is gone": ("ip addr del 192.0.2.100/32 dev lo", "192.0.2.100 is gone from lo"),
    "the address is on the interface": ("ip addr add 192.0.2.100/24 dev eth0", "is on eth0"),
    "a bucket that is not mine any more": (
        "nft flush set inet vipnft mine",
        "broken in the kernel, not",
    ),
    "the IPv6 address is gone": (
        "ip addr del 2001:db8::100/128 dev lo",
        "2001:db8::100 is gone from lo",
    ),
    "IPv6 is off": ("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1", "IPv6 is off on eth0"),
    "IPv6 is off on lo": ("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1", "IPv6 is off on lo"),
    "a setting": ("sysctl -qw net.ipv4.conf.eth0.arp_ignore=0", "arp_ignore is 0"),
}
SWITCH_TAMPERED = {
    "the listen MAC as own": (f"ip link set eth0 address {LISTEN}", "itself has the listen MAC"),
    "another own MAC": ("ip link set eth0 address 02:00:00:00:00:77", "02:00:00:00:00:77"),
    "not listened for": (f"bridge fdb del {LISTEN} dev eth0 self", "unicast filter does not have"),
}
HUB_TAMPERED = {
    "a foreign MAC": ("ip link set eth0 address 02:00:00:00:00:77", "not the listen MAC"),
    "it redirects": ("sysctl -qw net.ipv4.conf.eth0.send_redirects=1", "send_redirects is 1"),
    "link-local addresses": ("sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=0", "addr_gen_mode"),
    "it forwards": ("sysctl -qw net.ipv4.conf.eth0.forwarding=1", "forwarding is 1"),
}


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_every_difference_is_named_and_mended(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=3, mode=mode)
    apply(lab, "web1", mode)
    cases = {**TAMPERED, **(SWITCH_TAMPERED if mode is Mode.SWITCH else HUB_TAMPERED)}
    mend = {
        "the address is on the interface": "ip addr del 192.0.2.100/24 dev eth0",
        "IPv6 is off": "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
        "IPv6 is off on lo": "sysctl -qw net.ipv6.conf.lo.disable_ipv6=0",
        "the listen MAC as own": "ip link set eth0 address 02:00:00:00:00:01",
    }
    for case, (script, named) in cases.items():
        assert status(lab)["drift"] == []
        shell(lab, "web1", script)
        found = status(lab, code=3)["drift"]
        assert named in "\n".join(found), case
        shell(lab, "web1", mend.get(case, "true"))  # what apply refuses to decide
        apply(lab, "web1", mode)


def status(lab: Lab, code: int = 0) -> dict[str, list[str]]:
    said = lab.run("web1", ["vipnft", "status", "--json"])
    assert said.returncode == code, said.stderr
    report: dict[str, list[str]] = json.loads(said.stdout)
    return report


def test_status_of_a_host_with_nothing_applied(lab_up: LabUp) -> None:
    said = lab_up(hosts=1).run("web1", ["vipnft", "status"])
    assert said.returncode == 3
    assert "nothing is applied here" in said.stderr


def test_status_says_that_the_file_has_changed(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    apply(lab, "web1", Mode.SWITCH)
    lab.config.write_text(lab.config.read_text().replace("weight = 1", "weight = 2", 1))
    assert "has changed since" in lab.run("web1", ["vipnft", "status"], check=True).stdout


def test_check_finds_nothing_wrong_in_the_lab(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    for _ in range(2):  # before and after apply
        said = lab.run("web1", ["vipnft", "check"], check=True).stdout
        assert "FAIL" not in said
        assert all(line.startswith(("ok ", "warn", "      fix:")) for line in said.splitlines())
        apply(lab, "web1", Mode.SWITCH)


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("ip link set eth0 down", "FAIL  eth0 is down"),
        (
            "ip link set eth0 down; ip link set eth0 name eth9",
            "FAIL  interface eth0 is not on this machine",
        ),
        (
            "ip addr add 192.0.2.100/24 dev eth0",
            "FAIL  192.0.2.100 is an address of this host's eth0",
        ),
        ("sysctl -qw net.ipv4.conf.eth0.rp_filter=1", "warn  rp_filter is strict"),
        ("nft add table inet filter", "warn  other tables are loaded (inet filter)"),
        ("ip link add br0 type bridge; ip link set eth0 master br0", "FAIL  eth0 is a port"),
    ],
)
def test_check_names_what_is_in_the_way(lab_up: LabUp, script: str, named: str) -> None:
    lab = lab_up(hosts=1)
    shell(lab, "web1", script)
    said = lab.run("web1", ["vipnft", "check"])
    assert named in said.stdout
    assert said.returncode == ("FAIL" in named)
    assert "fix: " in said.stdout[said.stdout.index(named) :]


def test_a_host_whose_agent_is_gone_is_silent_and_says_so(lab_up: LabUp, tmp_path: Path) -> None:
    """The kernel holds what was applied, and no lease: with or without the agent's last words."""
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast:
        until(lambda: all(cast.owned()), what="both to serve")
        assert "holds what was applied" in shell(lab, "web1", "vipnft status")
        cast.running["web1"].kill()
        cast.running["web1"].wait()
        until(lambda: lab.run("web1", ["vipnft", "status"]).returncode == 3, what="its lease's end")
        said = lab.run("web1", ["vipnft", "status"])
        assert "no agent runs here, and its lease is over: this host answers nobody" in said.stdout
        assert "fix: systemctl status vipnft-agent" in said.stderr
        shell(lab, "web1", "rm /run/vipnft/status.json")
        checked = lab.run("web1", ["vipnft", "status", "--check"])
        assert (checked.returncode, "answers nobody" in checked.stdout) == (2, True)
