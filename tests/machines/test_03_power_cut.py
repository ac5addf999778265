"""A machine loses its power: the others take over, and it comes back by itself."""

from pathlib import Path

from tests.machines import steps
from tests.machines.bed import LEASE, Bed
from tests.machines.conftest import Seen
from tests.netns.cast import clients_of, pinging

_LIMIT = LEASE * 1.1 + 0.05 + 0.5


def test_a_machine_without_power_is_taken_over_in_time(
    machines: Bed, tmp_path: Path, seen: Seen
) -> None:
    steps.agents(machines)
    dead = machines.machines[1]
    clients = clients_of(machines.lab, steps.owned(machines)[dead.name], 20)
    with pinging(machines.lab, tmp_path, clients, 0.05) as heard:
        dead.kill()
        steps.settle(machines, ("m1", "m3"))
    seen(f"{heard.gaps()[-1]:.2f} s of silence, {_LIMIT:.2f} allowed")
    assert heard.double == 0
    assert heard.gaps()[-1] < _LIMIT


def test_its_boot_brings_it_back(machines: Bed) -> None:
    dead = machines.machines[1]
    dead.start()
    dead.up()
    steps.settle(machines)
    steps.answered_once(machines)
