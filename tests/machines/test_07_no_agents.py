"""A file and a unit are all there is: vipnft.service."""

from collections.abc import Iterator

import pytest

from tests.machines import steps
from tests.machines.bed import Bed


@pytest.fixture(scope="module", autouse=True)
def _units(machines: Bed) -> Iterator[None]:
    steps.prepare(machines)
    steps.by_hand(machines)
    machines.each(lambda m: m.run("systemctl enable --now --quiet vipnft"))
    yield
    machines.each(lambda m: m.run("systemctl disable --now --quiet vipnft"))


def test_each_client_is_answered_once(machines: Bed) -> None:
    steps.answered_once(machines)


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_nftables_starts_again(machines: Bed, verb: str) -> None:
    """Debian's unit flushes all rules when it stops, starts or reloads."""
    machines.machines[0].run("systemctl start nftables")
    machines.machines[0].run(f"systemctl {verb} nftables")
    steps.serves(machines)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_boots(machines: Bed, number: int) -> None:
    machine = machines.machines[number - 1]
    machine.reboot()
    steps.serves(machines)
    machine.run("vipnft check; ! grep ^nf_conntrack /proc/modules")  # no rule asks for it


def test_stopped_the_machine_is_as_before(machines: Bed) -> None:
    machine = machines.machines[2]
    machine.run("systemctl stop vipnft")
    assert steps.changed(machine, "network") == []
    machine.run("systemctl start vipnft")
    steps.serves(machines)


def test_where_both_units_are_enabled_a_boot_starts_the_agent(machines: Bed) -> None:
    machine = machines.machines[2]
    machine.run("systemctl enable --quiet vipnft-agent")
    machine.reboot()
    machine.until("systemctl is-active vipnft-agent", seconds=300)
    assert machine.run("systemctl is-active vipnft", check=False) == "inactive\n"
    machine.run("systemctl disable --quiet vipnft-agent; systemctl start vipnft", timeout=1800)
    assert machine.run("systemctl is-active vipnft-agent", check=False) == "inactive\n"
    steps.serves(machines)
