"""The package goes, from a machine whose agent runs, and leaves nothing."""

from tests.machines import steps
from tests.machines.bed import Bed


def test_removed_the_network_is_as_before(machines: Bed) -> None:
    machine = machines.machines[2]
    steps.by_hand(machines)
    steps.agents(machines)
    machine.run("apt-get remove -y vipnft", timeout=1800)
    assert steps.changed(machine, "network") == []


_NETBASE = "/etc/hosts"
"""Made by netbase, where there is none, and left by it."""


def test_purged_the_files_are_as_before(machines: Bed) -> None:
    """What came with it as a dependency goes, too: by name, for apt keeps what others recommend
    (Debian 12's perl: netbase), suggest, or what is of priority required (Debian 13's tzdata)."""
    machine = machines.machines[2]
    machines.prepared = False
    machine.run("rm /etc/systemd/system/multi-user.target.wants/web.service", check=False)
    machine.run("rm /etc/systemd/system/web.service /usr/local/bin/web")
    machine.run("apt-get purge -y vipnft", timeout=1800)
    came = [line.removeprefix("+ ") for line in steps.changed(machine, "packages")]
    machine.run(f"apt-get purge -y {' '.join(came)}", timeout=1800)
    left = [line for line in steps.changed(machine, "files") if _NETBASE not in line.split()]
    assert left == []
