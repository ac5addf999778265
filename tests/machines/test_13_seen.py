"""What can be seen, as shipped: a page, events in the journal, a hook; without an agent too."""

from collections.abc import Iterator

import pytest

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine
from vipnft.observe.events import KINDS

_ASK = """python3 -c 'import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9877" + sys.argv[1]).read().decode())' """
_HOOK, _TOLD = "/etc/vipnft/hooks.d/tell", "/run/vipnft/told"
_AS_NOBODY = "runuser -u nobody -- vipnft status --check"


@pytest.fixture(scope="module", autouse=True)
def _served(machines: Bed) -> Iterator[None]:
    steps.prepare(machines)
    steps.agents(machines)
    machines.machines[0].run("systemctl enable --now --quiet vipnft-serve")
    yield
    machines.machines[0].run(
        "systemctl disable --now --quiet vipnft-serve.socket vipnft-serve vipnft-snapshot"
    )
    steps.by_hand(machines)


def _exposure(machine: Machine, unit: str) -> float:
    said = machine.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    return float(said.split(":")[1].split()[0])


def _ready(machine: Machine) -> None:
    """Wait until it is; fail with what it says instead."""
    try:
        machine.until(f"{_ASK} /readyz")
    except AssertionError as error:
        words = f"{_AS_NOBODY}; cat /run/vipnft/status.json /proc/uptime"
        raise AssertionError(machine.run(words, check=False)) from error


def test_a_host_is_shown_by_a_process_without_privilege(machines: Bed, seen: Seen) -> None:
    machine = machines.machines[0]
    _ready(machine)
    assert "<title>" in machine.run(f"{_ASK} /")
    metrics = machine.run(f"{_ASK} /metrics")
    assert "\nvipnft_ready 1\n" in metrics
    assert "\nvipnft_cluster_buckets 256\n" in metrics
    assert machine.run("stat -c %u /proc/$(systemctl show -P MainPID vipnft-serve)").strip() != "0"
    exposure = _exposure(machine, "vipnft-serve.service")
    assert exposure <= 1
    machine.run(_AS_NOBODY)
    seen(f"exposure {exposure:g}")


def test_the_journal_has_events_and_explains_them(machines: Bed) -> None:
    machine = machines.machines[1]
    machine.run("systemctl restart vipnft-agent", timeout=1800)
    steps.settle(machines)
    words = f"journalctl --no-pager -x MESSAGE_ID={KINDS['started'].message_id}"
    machine.until(f"{words} | grep -q 'Subject: The agent of a vipnft host has started'")
    machine.run('vipnft events --json | grep -q \'"kind": *"started"\'')


def test_a_hook_is_called(machines: Bed) -> None:
    machine = machines.machines[2]
    machine.write(_HOOK, f"#!/bin/sh\ncat >>{_TOLD}\n")
    machine.run(f"chmod 755 {_HOOK}; systemctl restart vipnft-agent", timeout=1800)
    steps.settle(machines)
    machine.until(f"""grep -q '"kind": *"share"' {_TOLD}""")
    machine.run(f"rm {_HOOK} {_TOLD}; ! vipnft events | grep 'hook tell'")


def test_a_host_without_an_agent_is_seen(machines: Bed, seen: Seen) -> None:
    machine = machines.machines[0]
    steps.by_hand(machines)
    machine.run("systemctl enable --now --quiet vipnft vipnft-snapshot")
    machine.until(_AS_NOBODY)
    _ready(machine)
    seen(machine.run(_AS_NOBODY).partition("|")[0].strip())
    machine.run("systemctl disable --now --quiet vipnft vipnft-snapshot")
