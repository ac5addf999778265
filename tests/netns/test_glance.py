"""What a glance at the kernel must not overlook, and what need not be looked at closely."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, configure, shell
from vipnft.lab.lab import Lab
from vipnft.model import Xdp

RULES = (
    "nft delete element netdev vipnft buckets '{ 100 }'",
    "nft delete element netdev vipnft buckets '{ 102 }';"
    " nft add element netdev vipnft buckets '{ 102 : drop }'",
    "nft add element inet vipnft mine '{ 11 }' || nft add element inet vipnft mine '{ 12 }';"
    " nft add element inet vipnft mine '{ 9, 10, 11, 12 }'",
    "nft add element netdev vipnft leaving '{ 60 timeout 1h }'",
    "nft delete element netdev vipnft load '{ 3 }'",
    "nft insert rule netdev vipnft ours accept",
    "nft flush chain inet vipnft output",
    "nft add chain arp vipnft more",
    "nft add set inet vipnft more '{ type mark; }'",
    "nft flush table arp vipnft",
)
LINKS = (
    "ip addr add 192.0.2.100/32 dev peer",
    "ip addr del 192.0.2.100/32 dev lo",
    "bridge fdb del 02:bf:c0:00:02:64 dev eth0 self",
    "ip link set eth0 promisc on",
    "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0",
    "ip -6 neigh del proxy 100::100 dev eth0",
)
STAGE = {
    "ip link set eth0 xdp off": "links",
    f"{sys.executable} {PROGRAMS}/tamper_stage.py": "rules",
}
NOTHING = (
    "true",
    "nft delete element netdev vipnft buckets '{ 100 }';"
    " nft add element netdev vipnft buckets '{ 100 : jump leave }'",  # of a move that is over
    "nft add table inet other; nft add chain inet other some; nft add rule inet other some accept",
    "nft add table arp other; nft add set netdev vipnft2 x '{ type mark; }' || true",
    "ip link add spare type veth peer name sparse; ip addr add 203.0.113.7/24 dev spare",
    "ip addr add 192.0.2.77/24 dev eth0",
    "nft add element inet vipnft given '{ 200 timeout 1m }'",
    "nft add element netdev vipnft granted0 '{ ether }'",
    "ping -c1 -W1 192.0.2.254",
)


class Eye:
    """A glance_probe.py in web1."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def says(self, command: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{{ {command}; }} >/dev/null 2>&1\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said, "it ended"
        return said


@contextmanager
def looking(lab: Lab) -> Iterator[Eye]:
    words = [sys.executable, str(PROGRAMS / "glance_probe.py"), str(lab.config), "web1"]
    with lab.popen("web1", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Eye(process)
        finally:
            process.kill()


@pytest.mark.parametrize("buckets", [256, 4096])
def test_a_glance_sees_all_that_matters_and_nothing_else(lab_up: LabUp, buckets: int) -> None:
    """Each bucket's phase among it, of many datagrams full of them."""
    lab = lab_up(hosts=3)
    configure(lab, buckets=buckets)
    shell(lab, "web1", "ip link add peer type veth peer name other")
    with looking(lab) as eye:
        for command in NOTHING:
            assert eye.says(command) == "same", command
        for command in RULES:
            assert eye.says(command) == "rules", command
            assert eye.says("true") == "same", command
        for command in LINKS[: None if buckets == 256 else 1]:
            assert eye.says(command) == "links", command
            shell(lab, "web1", "ip link set eth0 promisc off; ip addr flush dev peer")
            assert eye.says("true") == "same", command


def test_it_sees_the_xdp_stage_where_it_is_and_what_it_drops(lab_up: LabUp) -> None:
    """The probe has moved buckets by then: own changes are none."""
    lab = lab_up(hosts=3)
    configure(lab, xdp=Xdp.NATIVE)
    with looking(lab) as eye:
        assert eye.says("true") == "same"
        for command, part in STAGE.items():
            assert eye.says(command) == part, command
            assert eye.says("true") == "same", command
