"""An XDP stage on virtio_net, with the drop-in of the package: it is on, and leaves nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine, until

_FILE = CLUSTER.replace("\nstore = ", '\nxdp = "auto"\nstore = ')
_FOLDER = "/etc/systemd/system/vipnft-agent.service.d"
_DROP_IN = f"""
mkdir -p {_FOLDER}; cp /usr/share/doc/vipnft/examples/xdp.conf {_FOLDER}; systemctl daemon-reload
"""
_PID = "systemctl show -P MainPID vipnft-agent"
_NONE = "! ip -d link show dev eth0 | grep -q xdp"


@pytest.fixture(scope="module", autouse=True)
def _staged(machines: Bed) -> Iterator[None]:
    steps.prepare(machines)
    steps.by_hand(machines)
    try:
        machines.each(lambda machine: machine.write(steps.FILE, _FILE))
        machines.each(lambda machine: machine.run(f"set -e; {_DROP_IN}"))
        yield
    finally:
        steps.by_hand(machines)
        machines.each(lambda machine: machine.run(f"rm -r {_FOLDER}; systemctl daemon-reload"))
        machines.each(lambda machine: machine.write(steps.FILE, CLUSTER))


def _stage(machine: Machine) -> dict[str, Any]:
    """Return what a machine's status says of its stage, once nothing is amiss."""
    machine.until("vipnft status")
    (nic,) = json.loads(machine.run("vipnft status --json"))["nics"]
    return dict(nic["stage"])


def _where(machine: Machine) -> str:
    stage = _stage(machine)
    return str(stage["where"] or stage["why"])


def _dropped(machine: Machine) -> int:
    return sum(_stage(machine)["dropped"])


def test_check_tells_the_truth_of_the_driver(machines: Bed, seen: Seen) -> None:
    machine = machines.machines[0]
    said = machine.run("vipnft check")
    assert "the kernel takes the XDP program" in said
    (line,) = (one for one in said.splitlines() if "XDP stage on eth0: virtio_net runs it" in one)
    machine.run("vipnft apply")
    assert _where(machine) == "native"
    machine.run("vipnft down")
    machine.run(_NONE)
    seen(line.strip())


def test_others_packets_end_in_the_driver_and_each_client_is_answered_once(
    machines: Bed, seen: Seen
) -> None:
    steps.agents(machines)
    assert machines.each(_where) == ["native"] * 3
    before = machines.each(_dropped)
    found = steps.answered_once(machines)
    assert sum(found.values()) == 2 * steps.CLIENTS
    more = [now - had for had, now in zip(before, machines.each(_dropped), strict=True)]
    # A connection is at least a SYN, a request and an end, of which two of three are another's.
    assert all(one >= steps.CLIENTS for one in more)
    seen(
        "native; "
        + ", ".join(
            f"{name} {count}, {drops} of others' packets dropped"
            for (name, count), drops in zip(found.items(), more, strict=True)
        )
    )


def test_an_agent_that_restarts_has_it_again(machines: Bed) -> None:
    steps.agents(machines)
    machine = machines.machines[0]
    machine.run("systemctl restart vipnft-agent", timeout=1800)
    steps.settle(machines)
    assert _where(machine) == "native"
    steps.serves(machines)


def test_an_agent_that_is_killed_has_it_again(machines: Bed) -> None:
    steps.agents(machines)
    machine = machines.machines[1]
    before = machine.run(_PID)
    machine.run("systemctl kill -s KILL vipnft-agent")
    until(lambda: machine.run(_PID) not in {before, "0\n"}, what="a new life")
    steps.settle(machines)
    assert _where(machine) == "native"
    steps.serves(machines)


def test_stopped_the_machines_are_as_before(machines: Bed) -> None:
    steps.agents(machines)
    steps.by_hand(machines)
    machines.each(lambda machine: machine.run(_NONE))
    assert steps.changed(machines.machines[2], "network") == []
