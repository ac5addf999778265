"""The package goes, from a machine whose agent runs, and leaves nothing."""

from tests.machines import steps
from tests.machines.bed import Bed


def test_removed_the_network_is_as_before(machines: Bed) -> None:
    machine = machines.machines[2]
    steps.by_hand(machines)
    steps.agents(machines)
    machine.run("apt-get remove -y vipnft", timeout=1800)
    assert steps.changed(machine, "network") == []


_FORGET = "apt-get -o APT::AutoRemove::RecommendsImportant=false autoremove --purge -y"
"""Debian 12's perl recommends netbase: apt would keep what it then has."""


def test_purged_the_files_are_as_before(machines: Bed) -> None:
    """What came with it as a dependency goes, too, once apt is told so."""
    machine = machines.machines[2]
    machines.prepared = False
    machine.run("rm /etc/systemd/system/multi-user.target.wants/web.service", check=False)
    machine.run("rm /etc/systemd/system/web.service /usr/local/bin/web")
    machine.run(f"apt-get purge -y vipnft && {_FORGET}", timeout=1800)
    assert steps.changed(machine, "files") == []
