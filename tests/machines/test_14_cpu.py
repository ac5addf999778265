"""Buckets follow the CPU time of a unit, which agents read as theirs lets them."""

from collections.abc import Iterator, Mapping

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import until
from tests.netns.cast import asking_for_work, bucket_of, clients_of
from tests.netns.support import PROGRAMS, VIP

_UNIT = "work.service"
_FILE = CLUSTER.replace(
    "[[host]]",
    f'balance = "load"\nbalance_every = "10s"\nbalance_cpu = "{_UNIT}"\n\n[[host]]',
    1,
)
_SERVER = "/usr/local/bin/working_server.py"
_WORK = f"[Service]\nExecStart=/usr/bin/python3 {_SERVER} {VIP}\n"
_SAYS = "journalctl -b -u vipnft-agent -o cat | grep -q '{}'"
_CLIENTS, _RATE, _DEAR_US, _CHEAP_US = 10, 1.0, 30_000, 100
"""Of each machine, each in a bucket of its own, so often a second."""


@pytest.fixture(autouse=True)
def _balanced(machines: Bed) -> Iterator[None]:
    """Have agents with such a file, and a server in a unit on each machine."""
    steps.by_hand(machines)
    for machine in machines.machines:
        machine.write(_SERVER, (PROGRAMS / "working_server.py").read_text())
        machine.write(f"/etc/systemd/system/{_UNIT}", _WORK)
        machine.write(steps.FILE, _FILE)
    machines.each(lambda m: m.run(f"systemctl daemon-reload; systemctl start {_UNIT}"))
    steps.agents(machines)
    yield
    steps.by_hand(machines)
    for machine in machines.machines:
        machine.run(f"systemctl stop {_UNIT}; rm /etc/systemd/system/{_UNIT} {_SERVER}")
        machine.write(steps.FILE, CLUSTER)


def _shares(bed: Bed, works: Mapping[str, int]) -> list[float]:
    """Return each machine's part of the work that is asked for."""
    buckets = {client: bucket_of(bed.lab, client) for client in works}
    return [
        sum(work for client, work in works.items() if buckets[client] in owned)
        / sum(works.values())
        for owned in steps.owned(bed).values()
    ]


def test_a_busy_machine_gives_buckets_away(machines: Bed, seen: Seen) -> None:
    first, second, _ = machines.machines
    works = {
        client: _DEAR_US if name == first.name else _CHEAP_US
        for name, owned in steps.owned(machines).items()
        for client in clients_of(machines.lab, owned, _CLIENTS)
    }
    before = max(_shares(machines, works))
    assert before > 0.9
    with asking_for_work(machines.lab, VIP, works, _RATE):
        until(lambda: max(_shares(machines, works)) < 0.5, seconds=900, what="an even load")
        seen(f"the busiest had {before:.0%} of the work, then {max(_shares(machines, works)):.0%}")
        first.until(_SAYS.format("of its share of CPU, then"))
        second.run(f"systemctl stop {_UNIT}")
        second.until(_SAYS.format(f"has a group {_UNIT}: that unit does not run"), seconds=600)
        first.until(_SAYS.format(f"not CPU, of which {second.name} does not tell"), seconds=600)
        second.run(f"systemctl start {_UNIT}")
        for machine in machines.machines:
            machine.until(_SAYS.format("buckets follow hosts. CPU: all tell of it"), seconds=600)
