"""SCTP associations, from a client on the segment: what is open goes on, what is new moves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import until
from tests.netns.support import VIP

_FILE = CLUSTER.replace('[[host]]\nname = "m3"\n', "")
_CLIENTS = [f"192.0.2.{number}" for number in range(130, 150)]
_RUN = "systemd-run --quiet --unit sctp /usr/bin/python3 /run/sctp.py"


@pytest.fixture(autouse=True)
def _both_listen(machines: Bed) -> Iterator[None]:
    """Have m1 and m2 serve SCTP, and m3 be a client with many addresses."""
    steps.by_hand(machines)
    *pair, client = machines.machines
    program = (steps.HERE / "programs/sctp_server.py").read_text()
    addresses = "; ".join(f"ip addr add {address}/24 dev eth0" for address in _CLIENTS)
    try:
        for machine in pair:
            machine.write("/run/sctp.py", program)
            machine.write(steps.FILE, _FILE)
            machine.run(f"modprobe sctp; {_RUN}; vipnft apply --drain 0")
        client.write("/run/sctp.py", (steps.HERE / "programs/sctp_client.py").read_text())
        client.run(f"modprobe sctp; {addresses}")
        yield
    finally:
        back = "systemctl stop sctp; systemctl reset-failed sctp"
        machines.each(lambda machine: machine.run(back, check=False))
        for address in _CLIENTS:
            client.run(f"ip addr del {address}/24 dev eth0", check=False)
        for machine in pair:
            machine.run("vipnft down")
            machine.write(steps.FILE, CLUSTER)


def _read(path: Path) -> Any:
    until(path.exists, what=path.name, seconds=300)
    return json.loads(path.read_text())


def test_open_associations_go_on_and_new_ones_move(machines: Bed, seen: Seen) -> None:
    *pair, client = machines.machines
    client.run(f"{_RUN} /share {VIP} {' '.join(_CLIENTS)}")
    before = _read(client.share / "open")
    assert set(before.values()) == {"m1", "m2"}
    for machine in pair:
        machine.write(steps.FILE, _FILE.replace('name = "m1"', 'name = "m1"\nweight = 0'))
        machine.run("vipnft apply")
    (client.share / "moved").touch()
    found = _read(client.share / "over")
    assert found["same"] == before
    assert set(found["new"].values()) == {"m2"}
    stayed = list(before.values()).count("m1")
    seen(f"{stayed} of {len(before)} stayed with the former owner")
