"""What administrators do to a machine whose agent runs: it is mended, or serves again."""

import pytest

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen

_LOG = "journalctl -b -u vipnft-agent -o cat"


@pytest.mark.parametrize(
    "what",
    [
        "systemctl restart nftables",
        "systemctl restart systemd-networkd",
        "modprobe -r virtio_net; sleep 1; modprobe virtio_net",
    ],
)
def test_it_serves_again(machines: Bed, what: str, seen: Seen) -> None:
    steps.agents(machines)
    machine = machines.machines[0]
    before = machine.run("systemctl show -P MainPID vipnft-agent")
    lines = machine.run(f"{_LOG} | wc -l")
    machine.run(what)
    machine.until("vipnft status")
    steps.settle(machines)
    steps.serves(machines)
    assert machine.run("systemctl show -P MainPID vipnft-agent") == before
    said = machine.run(f"{_LOG} | tail -n +{int(lines) + 1} | tail -n 3").splitlines()
    seen("; ".join(said) or "nothing to mend")
