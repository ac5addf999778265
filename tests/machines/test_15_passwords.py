"""Etcd wants passwords: a user a host, as docs/agents.md has it, with systemd's credentials."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import steps
from tests.machines.bed import CLUSTER, Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine

_PAGE = (Path(__file__).parents[2] / "docs/agents.md").read_text().split("user a host each")[1]
_USER, _DROP_IN, _ENABLE = re.findall(r"^```\w*\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)[:3]
_SERVER = "192.0.2.11"
_STORE = re.compile("^store = .*", re.MULTILINE)
_FILE = _STORE.sub('password_file = "etcd-password"', CLUSTER)
_PASSWORD = "/etc/vipnft/etcd-password"
_NEW = "a-word-that-no-log-has\n"
_EDITED = "/etc/systemd/system/vipnft-agent.service.d"
_SAYS = "journalctl -b -u vipnft-agent -o cat | grep -q '{}'"


def _here(page: str, machine: Machine) -> str:
    """Return what the page gives web1, of the cluster web, as one of these machines needs it."""
    members = re.sub(r"10\.0\.0\.1(\S*?),.*", rf"{_SERVER}\1", page)
    return members.replace("/web/", "/machines/").replace("web1", machine.name)


@pytest.fixture(autouse=True)
def _etcd(machines: Bed) -> Iterator[None]:
    """Have the distribution's own etcd run on m1; who looks from outside is its root."""
    steps.by_hand(machines)
    first = machines.machines[0]
    machines.each(lambda m: m.run("apt-get install -y etcd-client", timeout=1800))
    first.run("apt-get install -y etcd-server; systemctl stop etcd", timeout=1800)
    first.write(steps.FILE, _STORE.sub(f'store = "etcd://{_SERVER}"', CLUSTER))
    first.run(
        f"set -e; vipnft store-setup {_SERVER} > /etc/default/etcd; rm -rf /var/lib/etcd/machines; "
        "systemctl enable --now etcd"
    )
    machines.each(lambda m: m.write(steps.FILE, _FILE))
    machines.lab.config.write_text(_STORE.sub(f'store = "etcd://root:toor@{_SERVER}"', CLUSTER))
    yield
    steps.by_hand(machines)
    first.run("systemctl disable --now etcd")
    undo = f"rm -rf {_EDITED} {_PASSWORD}; systemctl daemon-reload"
    machines.each(lambda m: m.run(undo))
    machines.each(lambda m: m.write(steps.FILE, CLUSTER))
    machines.lab.config.write_text(CLUSTER)


def test_agents_have_a_user_each(machines: Bed, seen: Seen) -> None:
    first, second, third = machines.machines

    def enter(machine: Machine) -> None:
        machine.run(_here(_USER, machine))
        machine.write(f"{_EDITED}/override.conf", _here(_DROP_IN, machine))
        machine.run("systemctl daemon-reload")

    machines.each(enter)
    steps.agents(machines)
    etcd = f"export ETCDCTL_ENDPOINTS={_SERVER}:2379 ETCDCTL_USER=root:toor\n"
    first.run(f"{etcd}{_ENABLE}".replace("add root", "add root --interactive=false"), given="toor")
    stranger = first.ended(f"ETCDCTL_ENDPOINTS={_SERVER}:2379 etcdctl get /")
    assert "user name is empty" in stranger.stderr
    third.run("systemctl stop vipnft-agent", timeout=600)
    steps.settle(machines, ("m1", "m2"))  # who takes what it had writes the table
    steps.agents(machines)
    steps.answered_once(machines)
    by_hand = f"CREDENTIALS_DIRECTORY=/etc/vipnft VIPNFT_STORE=etcd://{first.name}@{_SERVER}"
    assert first.run(f"{by_hand} vipnft status --cluster").count(" serving ") == 3

    second.write(_PASSWORD, _NEW)
    first.run(f"{etcd}etcdctl user passwd {second.name} --interactive=false", given=_NEW)
    second.until(_SAYS.format("invalid user ID or password"), seconds=300)
    steps.answered_once(machines)  # by the others' promises
    second.run("systemctl restart vipnft-agent", timeout=600)
    steps.settle(machines)
    for machine in machines.machines:
        machine.run(f"! journalctl -b | grep -qF -f {_PASSWORD}")
    seen(first.run("etcd --version | head -1").strip())
