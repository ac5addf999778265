"""The kernel lease: it holds while it is renewed, and ends by itself, in the kernel."""

import json
import re
import statistics
import subprocess
import sys
import time

from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, VIP, apply_all, shell, until
from vipnft.lab.lab import Lab


def probe(lab: Lab, milliseconds: int, times: int, pause: float) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        str(PROGRAMS / "lease_probe.py"),
        *map(str, (milliseconds, times, pause)),
    ]
    return lab.popen("web1", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def answers(lab: Lab) -> bool:
    return lab.run("clients", ["ping", "-c1", "-W1", VIP]).returncode == 0


def test_nothing_is_refused_while_the_lease_is_renewed(lab_up: LabUp) -> None:
    """A lease of 2 s, renewed every 50 ms: 5 s of pings every 2 ms, all answered."""
    lab = lab_up(hosts=1)
    apply_all(lab)
    renewing = probe(lab, 2000, 0, 0.05)
    # The second slot is armed once the first is granted.
    until(lambda: "timeout 2s" in shell(lab, "web1", "nft list set netdev vipnft armed1"))
    said = shell(lab, "clients", f"ping -q -i0.002 -c2500 {VIP}")
    assert " 0% packet loss" in said, said
    taken = json.loads(renewing.communicate()[0])
    assert statistics.median(taken["arm"]) < 50
    assert statistics.median(taken["grant"]) < 50


def test_a_lease_under_a_second_ends_in_the_kernel(lab_up: LabUp) -> None:
    """Nobody renews it, nobody takes it back: neither ping nor ARP is answered any more."""
    lab = lab_up(hosts=1)
    apply_all(lab)
    assert answers(lab)
    renewing = probe(lab, 500, 1, 0)
    assert renewing.wait() == 0
    began = time.monotonic()
    until(lambda: not answers(lab), what="the lease to end")
    assert time.monotonic() - began < 5 + 1  # ten times its length, and a ping's patience
    elements = shell(lab, "web1", "nft list set netdev vipnft armed0")
    assert not re.search(r"elements", elements), "the kernel removed the slot by itself"
    assert not answers(lab)


def test_a_stopped_process_can_not_grant_what_is_over(lab_up: LabUp) -> None:
    """Armed, then nothing for longer than the lease, then granted: it counts for nothing."""
    lab = lab_up(hosts=1)
    apply_all(lab)
    code = (
        "import time; from vipnft.kernel.lease import Lease; lease = Lease();"
        "lease.flush(); lease.arm(0, 200); time.sleep(0.6); lease.grant(0)"
    )
    lab.run("web1", [sys.executable, "-c", code], check=True)
    assert not answers(lab)
