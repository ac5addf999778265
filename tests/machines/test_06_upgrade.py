"""A newer package comes, machine by machine: 100 open connections and 50 new ones a second."""

import subprocess
from pathlib import Path

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen

_OPEN, _RATE = 100, 50


def _newer(package: Path, home: Path) -> Path:
    """Return the same package with a higher version."""
    tree, made = home / "tree", home / "vipnft_newer.deb"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    newer = [f"{line}+newer" if line.startswith("Version: ") else line for line in lines]
    control.write_text("\n".join(newer) + "\n")
    words = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(tree), str(made)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return made


def test_an_upgrade_breaks_no_connection(machines: Bed, tmp_path: Path, seen: Seen) -> None:
    steps.agents(machines)
    newer = _newer(machines.package, tmp_path)
    before = machines.each(lambda machine: machine.run("systemctl show -P MainPID vipnft-agent"))
    with steps.flowing(machines, _OPEN, _RATE) as found:
        for machine in machines.machines:
            steps.install(machine, newer)
    assert found["failed"] == {}
    assert found["open"] == _OPEN
    seen(f"{_OPEN} open, {found['new']} new, none failed")
    for machine, pid in zip(machines.machines, before, strict=True):
        assert machine.run("dpkg-query -W -f '${Version}' vipnft").endswith("+newer")
        assert machine.run("systemctl show -P MainPID vipnft-agent") == pid
        machine.until("journalctl -b -u vipnft-agent -o cat | grep -q Reloaded")
        machine.run("/etc/needrestart/restart.d/vipnft-agent.service")
        assert machine.run("systemctl show -P MainPID vipnft-agent") == pid
        deleted = machine.run(
            f"grep /usr/lib/vipnft /proc/{pid.strip()}/maps | grep -c deleted || true"
        )
        assert deleted == "0\n", f"{machine.name}: the agent runs on in what is no longer there"
