"""Each machine boots in turn, while clients ask: it serves again, and nobody had to do anything."""

from pathlib import Path

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen
from tests.netns.cast import clients_of, pinging

# m2's boot came after its power cut.

_SOON = "/etc/systemd/system/systemd-networkd-wait-online.service.d/soon.conf"
_GIVES_UP = """
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --timeout=15
"""
"""Else network-online.target waits two minutes for the cable; the agent never gives up."""


def test_with_agents(machines: Bed, tmp_path: Path, seen: Seen) -> None:
    """What it owns is given away before it goes, and it has its share again afterwards."""
    steps.agents(machines)
    machine = machines.machines[0]
    clients = clients_of(machines.lab, steps.owned(machines)[machine.name], 20)
    with pinging(machines.lab, tmp_path, clients, 0.05) as heard:
        machine.reboot()
        steps.settle(machines)
    assert heard.double == 0
    steps.answered_once(machines)
    seen(f"{machine.name}: {heard.gaps()[-1]:.2f} s of silence at most")


def test_an_agent_whose_cable_is_out_at_boot_waits_for_it(
    machines: Bed, tmp_path: Path, seen: Seen
) -> None:
    steps.agents(machines)
    machine = machines.machines[2]
    clients = clients_of(machines.lab, steps.owned(machines)[machine.name], 20)
    with pinging(machines.lab, tmp_path, clients, 0.05) as heard:
        machine.write(_SOON, _GIVES_UP)
        machine.cable(plugged=False)
        try:
            machine.reboot(settled=False)
            machine.until(
                'journalctl -b -u vipnft-agent -o cat | grep -q "can\'t serve yet: .*carrier"',
                seconds=300,
            )
            restarts = machine.run("systemctl show -P NRestarts vipnft-agent").strip()
            assert restarts == "0", machine.run("journalctl -b -u vipnft-agent -o cat")
        finally:
            machine.cable(plugged=True)
            machine.run(f"rm -r $(dirname {_SOON})")
        steps.settle(machines)
    assert heard.double == 0
    steps.answered_once(machines)
    seen(f"{machine.name}: {heard.gaps()[-1]:.2f} s of silence at most")
