"""The network tests inside a machine, on its kernel, its libnftables and its Python.

Emulated this takes hours for each kernel, so it is asked for by name: `make machines-netns`, with
FILES="network odd" for some of them, in that order. Each CPU has a machine, which boots once for a
kernel; each file is a test, and what it said is kept as soon as it ends: a run that is cut short
says what it has seen.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
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
_LEFT_OUT = {"failover", "etcd_faults", "lease"}
"""They measure time, and an emulated machine has none."""
_FILES = sorted({path.stem[5:] for path in _ROOT.glob("tests/netns/test_*.py")} - _LEFT_OUT)
_MINUTES = 60
"""In which any file ends."""
_PACE = 5.0
"""How many times longer than usual agents' times are: a beat of 0.2 s is the whole of an emulated
CPU for two of them."""


@pytest.fixture(scope="module", params=KERNELS, ids=lambda kernel: f"linux-{kernel}")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine of one kernel, booted, with this tree in /srv/vipnft."""
    packages, project = os.environ["TESTS"], _ROOT / "pyproject.toml"
    ready = image_for_tests(SYSTEMS[request.param], packages, project)
    with (
        locked(cache() / "bed.lock", shared=True),
        tempfile.TemporaryDirectory(prefix="machines-") as home,
        Segment.up(f"machines-{os.getpid()}", hosts=1) as lab,
    ):
        lab.plug("m1")
        made = Machine(lab, ready, 1, Path(home))
        made.memory, made.cpus = 4096, 2
        made.start()
        made.up()
        archive = ["git", "archive", "--format=tar", "-o", str(made.share / "tree.tar"), "HEAD"]
        subprocess.run(archive, cwd=_ROOT, check=True)
        made.run(
            "set -e; mkdir /srv/vipnft; cd /srv/vipnft; tar xf /share/tree.tar\n"
            f"modprobe -a {_MODULES}"
        )
        yield made


@pytest.mark.parametrize("file", os.environ.get("FILES", "").split() or _FILES)
def test_inside(machine: Machine, file: str, seen: Seen) -> None:
    ended = machine.ended(
        f"cd /srv/vipnft; VIPNFT_TESTS_PACE={_PACE:g} timeout -k 10 {_MINUTES}m "
        "/srv/venv/bin/pytest -m 'not long' --durations=5 "
        f"tests/netns/test_{file}.py > /share/said 2>&1",
        timeout=_MINUTES * 60 + 60,
    )
    said = (machine.share / "said").read_text()
    kept = cache() / "logs" / f"netns-{machine.system.kernel}" / f"{file}.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(said)
    seen(said.strip().rpartition("\n")[2].partition(" in ")[0])
    assert ended.returncode == 0, f"{said[-3000:]}\nall of it: {kept}"
