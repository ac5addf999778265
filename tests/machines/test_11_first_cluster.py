"""docs/first-cluster.md: its commands are run, in their order, on bare machines' packages."""

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, LEASE, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine, until

_PAGE = (Path(__file__).parents[2] / "docs/first-cluster.md").read_text().replace("web", "m")
_COMMANDS = re.findall(r"^(all#|m\d#|client\$) (.*)$", _PAGE, re.MULTILINE)
_LOOP = next(said for who, said in _COMMANDS if said.startswith("while "))
_SLOW = f'lease = "{LEASE:g}s"'
"""Of etcd inside emulated machines no more can be asked."""


def _file() -> str:
    (file,) = re.findall(r"^```toml\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
    assert 'lease = "1s"' in file
    return str(file).replace('lease = "1s"', _SLOW)


@pytest.fixture
def _afterwards(machines: Bed) -> Iterator[None]:
    """Leave the machines to other scenarios as they were."""
    steps.by_hand(machines)
    yield
    for machine in machines.machines:
        if not machine.runs:
            machine.start()
            machine.up()
    steps.by_hand(machines)
    undo = "systemctl disable --now etcd; rm -r /etc/systemd/system/etcd.service.d"
    machines.each(lambda m: m.run(undo, check=False))
    machines.each(lambda m: m.write(steps.FILE, CLUSTER))


def _shared(machine: Machine, hosts: set[str]) -> bool:
    """Tell whether these hosts, and no others, own all buckets."""
    said = machine.ended("vipnft status --cluster --json")
    if said.returncode:
        return False
    owned = {name: len(one["owned"]) for name, one in json.loads(said.stdout)["hosts"].items()}
    return {name for name, count in owned.items() if count} == hosts and sum(owned.values()) == 256


def _give(machines: Bed, who: str, command: str) -> str:
    """Give a command where the page says; return what it said."""
    if who == "client$":
        return machines.lab.run("clients", ["sh", "-c", command], check=True).stdout
    named = [m for m in machines.machines if who in {"all#", f"{m.name}#"}]
    said = machines.each(lambda m: m.run(f"cd /share; {command}", timeout=1800), named)
    return "".join(said)


@contextlib.contextmanager
def _asking(machines: Bed, log: Path) -> Iterator[None]:
    """Run the page's endless loop meanwhile."""
    with log.open("w") as out:
        client = machines.lab.popen(
            "clients", ["sh", "-c", _LOOP], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()


@pytest.mark.usefixtures("_afterwards")
def test_its_commands_do_what_it_says(machines: Bed, tmp_path: Path, seen: Seen) -> None:
    machines.each(lambda m: m.write(steps.FILE, _file()))
    first = machines.machines[0]
    at_loop = _COMMANDS.index(("client$", _LOOP))
    for who, command in _COMMANDS[:at_loop]:
        if who == "client$":
            until(lambda: _shared(first, {"m1", "m2", "m3"}), seconds=300, what="all to share")
        answer = _give(machines, who, command)
        if who == "client$":
            assert answer in steps.ALL
    log = tmp_path / "loop"
    with _asking(machines, log):
        until(lambda: re.search(r"m\d", log.read_text()), what="an answer")
        (name,) = set(re.findall(r"m\d", log.read_text()))
        dead = next(m for m in machines.machines if m.name == name)
        others = [m for m in machines.machines if m is not dead]
        dead.kill()
        until(lambda: len(set(re.findall(r"m\d", log.read_text()))) == 2, what="another's answer")
        left = {m.name for m in others}
        until(lambda: _shared(others[0], left), seconds=300, what="the others to share all")
    dead.start()
    dead.up()
    until(lambda: _shared(first, {"m1", "m2", "m3"}), seconds=300, what="all to share again")
    dead.until("vipnft store-setup --check", seconds=300)  # its etcd is back, too
    for who, command in _COMMANDS[at_loop + 1 :]:
        _give(machines, who, command)
        if "drain" in command:
            until(lambda: _shared(first, {"m1", "m3"}), seconds=300, what="m2 to give all")
    until(lambda: _shared(first, {"m1", "m2", "m3"}), seconds=300, what="m2 to be back")
    seen(f"{len(_COMMANDS)} commands, lease {LEASE:g} s")
