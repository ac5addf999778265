"""Another machine on the segment has a VIP: found before, and noticed while hosts serve."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import serving
from tests.netns.conftest import LabUp
from tests.netns.support import VIP, VIP6, apply_all, guest, shell, until
from vipnft.lab.lab import Lab
from vipnft.model import Mode

TAKES = {
    VIP: f"ip addr add {VIP}/32 dev out",
    VIP6: f"ip addr add {VIP6}/128 dev out nodad",
}
GIVES = {vip: take.replace(" add ", " del ").removesuffix(" nodad") for vip, take in TAKES.items()}


@contextmanager
def stranger(lab: Lab) -> Iterator[tuple[Callable[[str], object], str]]:
    """Have a machine on the segment that is none of the cluster's: how to run a script there, and
    its MAC."""
    with guest(lab, "segment", ["192.0.2.66"]) as enter:
        shell(lab, "segment", "ip link set guests master br0")

        def run(script: str) -> str:
            return lab.run("segment", [*enter, "sh", "-c", script], check=True).stdout

        yield run, run("ip -br link show out").split()[2]


def found(vip: str, mac: str) -> str:
    return f"another machine on eth0 has {vip}: {mac}"


@pytest.mark.parametrize("mode", Mode)
def test_check_and_status_say_so(lab_up: LabUp, mode: Mode) -> None:
    """Before anything is applied, and while all hosts serve: they are no others."""
    lab = lab_up(hosts=3, mode=mode)
    with stranger(lab) as (run, mac):
        for applied in (False, True):
            if applied:
                apply_all(lab)
                assert lab.run("web1", ["vipnft", "status"]).returncode == 0
            checked = lab.run("web1", ["vipnft", "check"])
            assert checked.returncode == 0, checked.stdout
            assert "was not asked" not in checked.stdout
            for vip in (VIP, VIP6):
                run(TAKES[vip])
                for host in lab.hosts[:2]:
                    checked = lab.run(host, ["vipnft", "check"])
                    assert checked.returncode == 1
                    assert f"FAIL  {found(vip, mac)}" in checked.stdout
                    if applied:
                        said = lab.run(host, ["vipnft", "status"])
                        assert said.returncode == 3
                        assert f"duplicate   {found(vip, mac)}" in said.stdout
                        assert "kernel      holds what was applied" in said.stdout
                        assert "vipnft: another machine has a VIP" in said.stderr
                        report = lab.run(host, ["vipnft", "status", "--json"]).stdout
                        assert json.loads(report)["duplicates"] == [found(vip, mac)]
                run(GIVES[vip])


def test_nobody_learns_anything_by_the_question(lab_up: LabUp) -> None:
    """The router stays with the cluster, and no host's interface hears more than before."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    with stranger(lab) as (run, mac):
        shell(lab, "router", f"ping -c1 -W5 {VIP}; ping -c1 -W5 {VIP6}")
        before = shell(lab, "router", f"ip neigh show {VIP}; ip neigh show {VIP6}")
        assert before.count("02:bf:c0:00:02:64") == 2
        run(f"{TAKES[VIP]}; {TAKES[VIP6]}")
        with lab.socket("web1", socket.AF_NETLINK, socket.SOCK_RAW, 0) as links:
            links.bind((0, 1))  # linux/rtnetlink.h: RTMGRP_LINK
            for host in lab.hosts:
                assert lab.run(host, ["vipnft", "status"]).stdout.count(mac) == 2
            with pytest.raises(BlockingIOError):
                links.recv(9999, socket.MSG_DONTWAIT)
        known = shell(lab, "router", f"ip neigh show {VIP}; ip neigh show {VIP6}")
        assert known.count("02:bf:c0:00:02:64") == 2


def test_status_goes_on_where_nobody_can_be_asked(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    apply_all(lab)
    shell(lab, "web1", "ip addr flush dev eth0 scope link; ip -6 addr flush dev eth0")
    checked = lab.run("web1", ["vipnft", "check"]).stdout
    assert f"warn  who else has {VIP6} was not asked: eth0 has no IPv6 address" in checked
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0
    shell(lab, "web1", "ip link set eth0 down")
    said = lab.run("web1", ["vipnft", "status"])
    assert "eth0 is down" in said.stdout
    without = ["setpriv", "--bounding-set=-net_raw", "vipnft", "status"]
    assert lab.run("web1", without).returncode == 3


def test_agents_notice_it_and_its_end(lab_up: LabUp, tmp_path: Path) -> None:
    """It has the one VIP when they start, and takes the other later."""
    lab = lab_up(hosts=2)
    with ExitStack() as stack:
        run, mac = stack.enter_context(stranger(lab))
        run(TAKES[VIP])
        cast = stack.enter_context(serving(lab, tmp_path))
        run(TAKES[VIP6])
        warnings = [f"WARNING: {found(vip, mac)}" for vip in (VIP, VIP6)]
        ends = [f"s: {found(vip, mac)}" for vip in (VIP, VIP6)]

        def say(host: str, lines: list[str]) -> bool:
            return all(cast.says(host, line) for line in lines)

        for host in lab.hosts:
            until(partial(say, host, warnings), what="it to be noticed")
        run(f"{GIVES[VIP]}; {GIVES[VIP6]}")
        for host in lab.hosts:
            until(partial(say, host, ends), what="its end to be noticed")
            assert cast.log(host).count(mac) == 4, "each once, and its end"
