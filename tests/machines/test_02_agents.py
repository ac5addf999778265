"""Agents under systemd, as shipped: every client is answered, once."""

import pytest

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen


@pytest.fixture(autouse=True)
def _agents(machines: Bed) -> None:
    steps.agents(machines)


def test_each_client_is_answered_once_and_the_listen_mac_is_never_learned(
    machines: Bed, seen: Seen
) -> None:
    found = steps.answered_once(machines)
    assert sum(found.values()) == 2 * steps.CLIENTS
    seen(", ".join(f"{host} {count}" for host, count in found.items()))


def test_the_units_are_tight(machines: Bed) -> None:
    said = machines.machines[0].run(
        "systemd-analyze security --no-pager vipnft-agent.service | tail -n 1"
    )
    assert float(said.split(":")[1].split()[0]) <= 2.5
