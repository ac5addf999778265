"""Whether hosts would hear each other's promises: told by `check`, by agents and by
`status --cluster`, before a promise is needed."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import Agents, serving
from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, configure, shell, until
from vipnft.lab.lab import Lab
from vipnft.model import Mode, StoreLoss

TAKE = """
import signal, socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("", 5520))
signal.pause()
"""

OWN = """
from ipaddress import ip_address
from vipnft.kernel import link_glance
vips = {ip_address("192.0.2.100"), ip_address("2001:db8::100")}
print(*link_glance.own(["eth0"], vips))
"""


def checked(lab: Lab, host: str) -> str:
    return lab.run(host, ["vipnft", "check"]).stdout


@contextlib.contextmanager
def blocked(lab: Lab, host: str) -> Iterator[None]:
    """Drop what comes to the port of promises."""
    shell(
        lab,
        host,
        "nft add table inet wall;"
        "nft 'add chain inet wall in { type filter hook input priority 0; }';"
        "nft add rule inet wall in udp dport 5520 drop",
    )
    try:
        yield
    finally:
        shell(lab, host, "nft delete table inet wall")


@contextlib.contextmanager
def agents(lab: Lab, home: Path, *hosts: str) -> Iterator[Agents]:
    """Run agents on some hosts, with the store in the file, so that `check` knows of it."""
    url = f"sqlite://{home}/store.db"
    configure(lab, agents=replace(lab.cluster.agents, store=url, settle=0.0))
    with serving(lab, home, url=url, hosts=hosts) as cast:
        yield cast


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_check_asks_the_others(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    """On a host without an agent, from the very port."""
    lab = lab_up(hosts=3, mode=mode)
    with agents(lab, tmp_path, "web2", "web3"):
        said = checked(lab, "web1")
        assert "ok    UDP port 5520 is free at 192.0.2.1, 2001:db8::1:1" in said
        assert "ok    web2, web3 answer at UDP port 5520" in said
        with blocked(lab, "web3"):
            said = checked(lab, "web1")
            assert "FAIL  web3 does not answer this host at UDP port 5520" in said
            assert "fix: let UDP port 5520 pass between the hosts' own addresses" in said
            assert "ok    web2 answer" in said


def test_agents_know_who_hears_whom(lab_up: LabUp, tmp_path: Path) -> None:
    """And say so: in their logs, by `status --cluster`, by `check` beside an agent."""
    lab = lab_up(hosts=3)
    with agents(lab, tmp_path, *lab.hosts) as cast:

        def shown() -> str:
            return shell(lab, "web1", f"vipnft status --cluster --store {cast.url}")

        well = "without the store: all go on, by each other's promises"
        until(lambda: well in shown(), what="all to hear each other")
        with blocked(lab, "web3"):
            for host in lab.hosts:
                until(partial(cast.says, host, "does not answer at UDP port 5520"), what=host)
            until(lambda: "web1, web2, web3 would be silent" in shown(), what="all to know it")
            assert "does not hear web1 web2" in shown()
            said = checked(lab, "web1")
            assert "FAIL  web3 does not answer this host at UDP port 5520" in said
            assert "ok    web2 answer" in said
        until(lambda: well in shown(), what="all to hear each other again")


def test_a_port_that_is_taken_is_said_and_used_once_it_is_free(
    lab_up: LabUp, tmp_path: Path
) -> None:
    lab = lab_up(hosts=2)
    other = lab.popen("web1", [sys.executable, "-c", TAKE])
    until(lambda: shell(lab, "web1", "ss -lunH sport = :5520"), what="another program")
    with agents(lab, tmp_path, "web2") as cast:
        said = checked(lab, "web1")
        assert "FAIL  UDP port 5520 at 192.0.2.1 can't be had: Address already in use" in said
        assert "fix: end what has it (ss -lunp sport = :5520)" in said
        cast.start("web1")
        until(partial(cast.says, "web1", "buckets here"), what="web1 to serve all the same")
        until(partial(cast.says, "web1", "WARNING: UDP port 5520 at 192.0.2.1"), what="its word")
        other.kill()
        other.wait()
        until(lambda: shell(lab, "web1", "ss -lunH src 192.0.2.1 sport = :5520"), what="the port")


def test_a_host_without_an_address_of_its_own_is_told(lab_up: LabUp, tmp_path: Path) -> None:
    """It serves all the same."""
    lab = lab_up(hosts=2)
    shell(lab, "web1", "ip addr flush dev eth0 scope global; ip route add default dev eth0")
    with agents(lab, tmp_path, *lab.hosts) as cast:
        assert "warn  eth0 has no address of its own: nobody can ask this host for promises" in (
            checked(lab, "web1")
        )
        assert cast.says("web1", "WARNING: this host has no address of its own on the VIPs'")
        until(lambda: cast.owned() == [128, 128], what="an even table")
        until(
            lambda: (
                "(web1 can't be asked for promises)"
                in shell(lab, "web2", f"vipnft status --cluster --store {cast.url}")
            ),
            what="the others to be told",
        )


def test_the_port_is_neither_the_vips_nor_anybodys_under_fence(
    lab_up: LabUp, tmp_path: Path
) -> None:
    lab = lab_up(hosts=2)
    url = f"sqlite://{tmp_path}/store.db"
    with agents(lab, tmp_path, "web1"):
        found = shell(lab, "web1", "ss -lunH sport = :5520")
        assert {line.split()[3] for line in found.splitlines()} == {
            "192.0.2.1:5520",
            "[2001:db8::1:1]:5520",
        }
    fence = replace(lab.cluster.agents, store=url, on_store_loss=StoreLoss.FENCE)
    configure(lab, agents=fence)
    with serving(lab, tmp_path, url=url, hosts=["web2"]):
        assert shell(lab, "web2", "ss -lunH sport = :5520") == ""


def test_only_addresses_that_last_are_a_hosts_own(lab_up: LabUp) -> None:
    """No VIP wherever it stands, no address of a link's alone or of another interface, none that
    is about to go."""
    lab = lab_up(hosts=1)
    before = lab.run("web1", [sys.executable, "-Pc", OWN], check=True).stdout.split()
    assert before[0].startswith("192.0.2.")
    assert [address for address in before if address.startswith("fe80")] == []
    shell(
        lab,
        "web1",
        "ip addr add 192.0.2.100/32 dev eth0; ip addr add 198.51.100.7/24 dev eth0;"
        "ip addr add 203.0.113.7/24 dev lo; ip addr add 169.254.7.7/16 scope link dev eth0;"
        "ip addr add 2001:db8:7::1/64 dev eth0 nodad;"
        "ip addr add 2001:db8:7::2/64 dev eth0 nodad preferred_lft 0",
    )
    after = lab.run("web1", [sys.executable, "-Pc", OWN], check=True).stdout.split()
    assert set(after) - set(before) == {"198.51.100.7", "2001:db8:7::1"}
    assert set(before) <= set(after)
