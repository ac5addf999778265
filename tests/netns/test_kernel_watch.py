"""What the kernel tells a host unasked, and what must not wake an agent up."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, apply_all, shell, until
from vipnft.lab.lab import Lab

OURS = (
    "nft add rule netdev vipnft ingress accept",
    "nft add chain inet vipnft some",
    "nft add set inet vipnft those '{ type mark; }'",
    "nft delete set inet vipnft those",
    "nft add table ip vipnft",  # of that name: a look too many
    "nft delete table netdev vipnft",
    "nft flush ruleset",
    "ip link add spare type veth peer name other; ip addr add 192.0.2.100/32 dev spare",
    "ip addr del 192.0.2.100/32 dev spare",
    "ip addr add 2001:db8::100/128 dev spare nodad",
    "ip link add link eth0 name eth0.7 type macvlan mode bridge",
    "ip link del eth0.7",
    "ip link set eth0 promisc on",
    "ip link set eth0 down",
    "ip link set eth0 name eth9",
    "ip link set eth9 mtu 1400",
    "ip link set eth9 name eth0",
    "ip link del eth0",
    "ip link add eth0 type veth peer name third",
    "ip link set lo down",
)
THEIRS = (
    "nft add table inet other",
    "nft add set inet other those '{ type mark; }'",
    "nft add element inet other those '{ 1, 2, 3 }'",
    "nft add chain inet other vipnft",
    "nft add rule inet other vipnft accept comment vipnft",
    "nft flush chain inet other vipnft",
    "nft delete table inet other",
    "ip link add spare type veth peer name other",
    "ip link set spare up",
    "ip addr add 203.0.113.1/32 dev spare",
    "ip addr del 203.0.113.1/32 dev spare",
    "ip addr add 203.0.113.2/24 dev eth0",
    "ip addr add 2001:db8::1/128 dev spare nodad",
    "ip link add link spare name spare.7 type macvlan mode bridge",
    "ip link set spare down",
    "ip link set spare address 02:00:00:00:aa:01",
    "ip link del spare",
)
# So few that they all fit into the socket's buffer, whoever runs first.
RENEWING = """
from vipnft.kernel.lease import Lease
lease = Lease()
for turn in range(20):
    lease.arm(turn % 2, 1000)
    lease.grant(turn % 2)
"""


class Probe:
    """A watch_probe.py in web1, and the file in which it writes."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process, self._output = process, output

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def said(self, line: str, before: int) -> bool:
        """Tell whether it has printed a line since there were so many."""
        return line in self.lines()[before:]

    def quiet(self) -> int:
        """Wait until nothing goes on; return how many lines there are by then."""
        until(lambda: self.lines()[-1:] == ["quiet"], what="the kernel to be quiet")
        return len(self.lines())


@contextmanager
def probe(lab: Lab, where: Path) -> Iterator[Probe]:
    output = where / "heard"
    with output.open("w") as file:
        words = [sys.executable, str(PROGRAMS / "watch_probe.py")]
        process = lab.popen("web1", words, stdout=file)
    try:
        yield Probe(process, output)
    finally:
        process.kill()
        process.wait()


def test_every_change_of_what_is_ours_is_heard(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=1)
    apply_all(lab)
    shell(lab, "web1", "sysctl -qw net.ipv6.conf.default.addr_gen_mode=1")
    with probe(lab, tmp_path) as heard:
        for change in OURS:
            before = heard.quiet()
            shell(lab, "web1", change)
            until(partial(heard.said, "heard", before), what=change)


def test_what_others_do_to_theirs_is_not(lab_up: LabUp, tmp_path: Path) -> None:
    """It wakes the process up; only what comes behind it, by each of its two sockets, counts."""
    lab = lab_up(hosts=1)
    apply_all(lab)
    shell(lab, "web1", "sysctl -qw net.ipv6.conf.default.addr_gen_mode=1")
    with probe(lab, tmp_path) as heard:
        before = heard.quiet()
        for change in THEIRS:
            shell(lab, "web1", change)
        heard.quiet()
        assert "woken" in heard.lines()[before:]
        assert "heard" not in heard.lines()[before:]
        for change in ("nft add chain inet vipnft some", "ip link set eth0 promisc on"):
            before = heard.quiet()
            shell(lab, "web1", change)
            until(partial(heard.said, "heard", before), what=change)


def test_elements_are_not_heard(lab_up: LabUp, tmp_path: Path) -> None:
    """A lease that is renewed wakes the process up; only the rule that comes behind it counts."""
    lab = lab_up(hosts=1)
    apply_all(lab)
    with probe(lab, tmp_path) as heard:
        before = heard.quiet()
        lab.run("web1", [sys.executable, "-c", RENEWING], check=True)
        until(partial(heard.said, "woken", before), what="elements to be told")
        shell(lab, "web1", "nft add rule netdev vipnft ingress accept")
        until(partial(heard.said, "heard", before), what="the rule to be heard")
        heard.quiet()
        # The kernel tells in order: all elements were told by then.
        assert heard.lines()[before:].count("heard") == 1


def test_what_was_lost_counts_as_heard(lab_up: LabUp, tmp_path: Path) -> None:
    """The process stands still while more elements change than the socket has room for."""
    lab = lab_up(hosts=1)
    shell(lab, "web1", "nft 'add table inet other; add set inet other those { type mark; }'")
    many = f"add element inet other those {{ {', '.join(map(str, range(50_000)))} }}"
    with probe(lab, tmp_path) as heard:
        before = heard.quiet()
        heard.process.send_signal(signal.SIGSTOP)
        lab.run("web1", ["nft", "-f", "-"], input=many, check=True)
        heard.process.send_signal(signal.SIGCONT)
        until(partial(heard.said, "heard", before), what="the loss to be heard")
