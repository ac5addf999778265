"""Buckets that follow CPU: real agents, and real servers in the kernel's control groups, of which
one is asked for more work by as many packets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.netns.cast import Agents, asking_for_work, bucket_of, clients_of, serving
from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, VIP, until
from tests.netns.test_balance import table
from vipnft.lab.lab import Lab
from vipnft.model import Balance

CGROUP = Path("/sys/fs/cgroup")
UNIT = "worker.service"
CLIENTS = 24  # of each host, each in a bucket of its own
RATE = 4.0  # questions a second of each
DEAR_US, CHEAP_US = 2500, 100


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Path]:
    """A control group of this test's own, in the v2 tree wherever that is mounted."""
    tree = CGROUP if (CGROUP / "cgroup.controllers").exists() else CGROUP / "unified"
    if not (tree / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 is mounted at /sys/fs/cgroup")
    own = tree / f"vipnft-{tmp_path.parent.name}-{tmp_path.name}"
    try:
        own.mkdir()
    except OSError as error:
        pytest.skip(f"cgroup v2 can't be written here: {error.strerror}")
    yield own
    for group, _, _ in os.walk(own, topdown=False):
        Path(group).rmdir()


def serve_groups(lab: Lab, host: str, groups: Path) -> Path:
    """Have a host see a part of the tree as all of it, with a unit in it; return the unit's."""
    unit = groups / host / "system.slice" / UNIT
    unit.mkdir(parents=True)
    place = next(
        str(groups.relative_to(tree))
        for tree in (CGROUP / "unified", CGROUP)
        if groups.is_relative_to(tree)
    )
    mounting = f"mount -t cgroup2 none {CGROUP} && mount --bind {CGROUP}/{place}/{host} {CGROUP}"
    lab.run(host, ["sh", "-c", mounting], check=True)
    return unit


@contextmanager
def working(lab: Lab, host: str, group: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a server in a host's unit."""
    inside = f"{CGROUP}/system.slice/{UNIT}/cgroup.procs"
    words = ["sh", "-c", 'echo 0 > "$0" && exec "$@"', inside]
    server = lab.popen(host, [*words, sys.executable, str(PROGRAMS / "working_server.py"), VIP])
    try:
        until(
            lambda: lab.run(host, ["ss", "-lunH", "sport = :4000"]).stdout,
            seconds=60,
            what="a server",
        )
        yield server
    finally:
        server.kill()
        server.wait()
        until(lambda: not group.exists() or _is_empty(group), what="its end")


def busiest(cast: Agents, works: dict[str, int]) -> float:
    """Return the busiest host's work over the mean, by what the clients ask for."""
    owners, sums = table(cast).owners, dict.fromkeys(cast.lab.hosts, 0)
    for client, work in works.items():
        sums[owners[bucket_of(cast.lab, client)]] += work
    return max(sums.values()) * len(sums) / sum(sums.values())


def test_buckets_follow_cpu_where_packets_are_even(
    lab_up: LabUp, tmp_path: Path, groups: Path
) -> None:
    lab = lab_up(hosts=3)
    with ExitStack() as stack:
        units = {host: serve_groups(lab, host, groups) for host in lab.hosts}
        servers = {h: stack.enter_context(working(lab, h, unit)) for h, unit in units.items()}
        by_cpu: dict[str, Any] = {
            "balance": Balance.LOAD,
            "balance_every": 3.0,
            "balance_cpu": UNIT,
        }
        cast = stack.enter_context(serving(lab, tmp_path, **by_cpu))
        until(lambda: sorted(cast.owned()) == [85, 85, 86], what="an even table")
        owners = table(cast).owners
        works = {
            client: DEAR_US if host == "web1" else CHEAP_US
            for host in lab.hosts
            for client in clients_of(
                lab, [b for b, owner in enumerate(owners) if owner == host], CLIENTS
            )
        }
        assert busiest(cast, works) > 2.5
        stack.enter_context(asking_for_work(lab, VIP, works, RATE))
        until(lambda: _planned(cast) == ("cpu", ["web1"]), what="a plan for who has most")
        until(lambda: busiest(cast, works) < 1.3, what="even CPU")
        assert " of its share of CPU, then " in cast.log("web1")
        assert "of its fair share of CPU" in lab.run("web2", _plan(cast), check=True).stdout
        assert not any(cast.says(host, "not CPU") for host in lab.hosts)
        servers["web2"].kill()
        servers["web2"].wait()
        until(lambda: _is_empty(units["web2"]), what="an empty group")
        units["web2"].rmdir()
        missing = "buckets follow packets, not CPU, of which web2 does not tell"
        until(lambda: all(cast.says(host, missing) for host in lab.hosts), what="a word of it")
        assert cast.says("web2", f"has a group {UNIT}: that unit does not run")
        by, _ = _planned(cast)
        assert by == "packets"
        units["web2"].mkdir()
        stack.enter_context(working(lab, "web2", units["web2"]))
        again = "buckets follow hosts' CPU: all tell of it"
        until(lambda: all(cast.says(host, again) for host in lab.hosts), what="CPU again")


def _plan(cast: Agents, *more: str) -> list[str]:
    return ["vipnft", "plan", "--by-load", "--store", cast.url, *more]


def _planned(cast: Agents) -> tuple[str, list[str]]:
    """Return what the plan goes by, and who has far more than its share; nothing until there is
    one."""
    done = cast.lab.run("web1", _plan(cast, "--json"))
    if done.returncode:
        return "", []
    plan = json.loads(done.stdout)
    return plan["by"], [host["name"] for host in plan["hosts"] if host["share"] > 1.2]


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()
