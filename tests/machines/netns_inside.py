"""The network tests inside a machine, on its kernel, its libnftables and its Python.

Emulated this takes an hour and more for each kernel, so it is asked for by name:
`make machines-netns`. Tests that measure time are left out: an emulated machine has none.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.machines.bed import Segment
from tests.machines.conftest import KERNELS, Seen
from tests.machines.image import SYSTEMS, cache, image_for_tests, locked
from tests.machines.machine import Machine

_ROOT = Path(__file__).parents[2]
_MODULES = (
    "nf_tables nf_conntrack nfnetlink bridge veth macvlan bonding 8021q vrf dummy sctp "
    "inet_diag tcp_diag udp_diag raw_diag sctp_diag"
)
_TIMED = ("test_failover.py", "test_etcd_faults.py", "test_lease.py")
_HOURS = 3


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"linux-{kernel}")
def test_the_network_tests_pass(kernel: str, seen: Seen) -> None:
    project, packages = _ROOT / "pyproject.toml", os.environ["TESTS"]
    ready = image_for_tests(SYSTEMS[kernel], packages, project)
    with (
        locked(cache() / "bed.lock"),
        tempfile.TemporaryDirectory(prefix="machines-") as home,
        Segment.up("machines-netns", hosts=1) as lab,
    ):
        lab.plug("m1")
        machine = Machine(lab, ready, 1, Path(home))
        machine.memory, machine.cpus = 3072, 2
        machine.start()
        machine.up()
        archive = ["git", "archive", "--format=tar", "-o", str(machine.share / "tree.tar"), "HEAD"]
        subprocess.run(archive, cwd=_ROOT, check=True)
        chosen = os.environ.get("ONLY", "")
        left_out = " ".join(f"--ignore=tests/netns/{name}" for name in _TIMED)
        ended = machine.ended(
            f"set -e; mkdir /srv/vipnft; cd /srv/vipnft; tar xf /share/tree.tar\n"
            f"modprobe -a {_MODULES}\n"
            f"/srv/venv/bin/pytest tests/netns -n 2 --dist loadgroup -k '{chosen}' {left_out} "
            "-m 'not long' > /share/said 2>&1",
            timeout=_HOURS * 3600,
        )
        said = (machine.share / "said").read_text()
    kept = cache() / "logs" / f"netns-{kernel}.log"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(said)
    seen(said.strip().rpartition("\n")[2])
    assert ended.returncode == 0, f"{said[-3000:]}\nall of it: {kept}"
