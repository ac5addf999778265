"""ocf:vipnft:host: by ocf-tester, and under a real Pacemaker on two hosts of a lab."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import configure, shell, until
from vipnft.lab.lab import Lab
from vipnft.model import Mode

AGENT = Path(__file__).parents[2] / "packaging/ocf/vipnft/host"

COROSYNC = """totem {{
  version: 2
  cluster_name: dns
  transport: udpu
  crypto_cipher: none
  crypto_hash: none
}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}}
logging {{
  to_stderr: yes
  to_syslog: no
}}
uidgid {{
  uid: hacluster
  gid: haclient
}}
nodelist {{
{nodes}}}
"""
NODE = "node {{\n ring0_addr: {address}\n name: {host}\n nodeid: {number}\n}}\n"
# What each node has for itself of a machine: Pacemaker's files, its agents, and shared memory.
OWN = """set -e
cp -a /var/lib/pacemaker {home}/pacemaker
cp -a /usr/lib/ocf/resource.d {home}/agents
mkdir {home}/agents/vipnft
cp {agent} {home}/agents/vipnft/host
for path in /dev/shm /var/lib/corosync /var/log; do mount -t tmpfs none $path; done
chmod 1777 /dev/shm
mkdir -p /run/lock /var/log/corosync
install -d -o hacluster -g haclient /var/log/pacemaker
mount --bind {home}/pacemaker /var/lib/pacemaker
mount --bind {home}/agents /usr/lib/ocf/resource.d
mount --bind {home} /etc/corosync
mount --bind {home}/fence /usr/sbin/fence_legacy
"""
# The power switch: it asks the test for it, and waits until a node is off.
FENCE = """#!/bin/sh
while read -r line; do export "${{line%%=*}}=${{line#*=}}" 2>/dev/null; done
node=${{plug:-$nodename}}
case "$action" in
metadata) cat <<END
<?xml version="1.0"?>
<resource-agent name="fence_legacy" shortdesc="x"><longdesc>x</longdesc><parameters>
<parameter name="plug"><content type="string"/></parameter></parameters>
<actions><action name="off"/><action name="reboot"/><action name="monitor"/>
<action name="metadata"/><action name="list"/><action name="status"/></actions></resource-agent>
END
;;
off | reboot) touch "{home}/wanted"; while [ ! -e "{home}/off" ]; do sleep 0.1; done ;;
esac
exit 0
"""
RESOURCES = """<resources>
<primitive id="power" class="stonith" type="fence_legacy"><instance_attributes id="pa">
<nvpair id="p1" name="pcmk_host_list" value="web1 web2"/></instance_attributes></primitive>
<clone id="vips"><meta_attributes id="m"><nvpair id="m1" name="notify" value="true"/>
</meta_attributes><primitive id="vip" class="ocf" provider="vipnft" type="host">
<instance_attributes id="i"><nvpair id="i1" name="config" value="{config}"/></instance_attributes>
<operations><op id="o1" name="monitor" interval="5s" timeout="30s"/></operations>
</primitive></clone></resources>"""


@dataclass
class Shop:
    """Two hosts under Pacemaker."""

    lab: Lab
    home: Path
    corosync: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    pacemaker: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def prepare(self) -> None:
        nodes = "".join(
            NODE.format(
                host=host,
                number=number,
                address=shell(self.lab, host, "ip -4 -br addr show eth0").split()[2].split("/")[0],
            )
            for number, host in enumerate(self.lab.hosts, 1)
        )
        for host in self.lab.hosts:
            own = self.home / host
            own.mkdir()
            (own / "corosync.conf").write_text(COROSYNC.format(nodes=nodes))
            (own / "fence").write_text(FENCE.format(home=self.home))
            (own / "fence").chmod(0o755)
            shell(self.lab, host, OWN.format(home=own, agent=AGENT))

    def start(self, host: str) -> None:
        with (self.home / host / "log").open("a") as log:
            for running, words in (
                (self.corosync, ["corosync", "-f"]),
                (self.pacemaker, ["pacemakerd"]),
            ):
                running[host] = self.lab.popen(host, words, stdout=log, stderr=log)
                until(
                    lambda: self.lab.run(host, ["corosync-quorumtool", "-s"]).returncode == 0,
                    what="corosync",
                )

    def owned(self, host: str) -> int:
        """Return how many buckets a host serves."""
        said = self.lab.run(host, ["vipnft", "status", "--json"]).stdout
        return len(json.loads(said)["owned"]) if said else 0

    def standby(self, host: str, value: str) -> None:
        shell(self.lab, "web1", f"crm_attribute -N {host} -n standby -v {value}")


@contextlib.contextmanager
def shop(lab: Lab, home: Path) -> Iterator[Shop]:
    """Have both hosts run the clone."""
    configure(lab, mode=Mode.SWITCH)
    home.chmod(0o755)
    made = Shop(lab, home)
    made.prepare()
    try:
        for host in lab.hosts:
            made.start(host)
        both = "Online: [ web1 web2 ]"
        until(lambda: both in lab.run("web1", ["crm_mon", "-1"]).stdout, what="the two nodes")
        (home / "resources.xml").write_text(RESOURCES.format(config=lab.config))
        shell(lab, "web1", f"cibadmin --replace -o resources --xml-file {home}/resources.xml")
        until(lambda: [made.owned(h) for h in lab.hosts] == [128, 128], what="both to serve")
        yield made
    finally:
        for one in (*made.pacemaker.values(), *made.corosync.values()):
            one.kill()
            one.wait()


def test_ocf_tester_finds_no_fault(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    options = ["-o", f"config={lab.config}", "-o", "mode=switch"]
    done = lab.run("web1", ["ocf-tester", "-n", "vip", *options, str(AGENT)], timeout=300)
    assert done.returncode == 0, done.stdout
    assert "passed all tests" in done.stdout


@pytest.mark.parametrize(
    ("words", "env", "code"),
    [
        (["monitor"], {}, 7),
        (["validate-all"], {"OCF_RESKEY_mode": "sideways"}, 6),
        (["validate-all"], {"OCF_RESKEY_config": "/no/such"}, 6),
        (["start"], {"OCF_RESKEY_CRM_meta_clone_max": "2"}, 6),
        (["promote"], {}, 3),
        (["monitor"], {"OCF_TESTER_FAIL_HAVE_BINARY": "1"}, 5),
        (["stop"], {"OCF_TESTER_FAIL_HAVE_BINARY": "1"}, 0),
    ],
)
def test_it_ends_with_the_right_code(
    switch: Lab, words: list[str], env: dict[str, str], code: int
) -> None:
    own = {"OCF_RESKEY_config": str(switch.config), "OCF_RESOURCE_INSTANCE": "vip", **env}
    done = switch.run("web1", [str(AGENT), *words], env={**own, "HA_LOGFACILITY": "none"})
    assert done.returncode == code, done.stderr


def test_what_differs_is_a_fault(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    env = {"OCF_RESKEY_config": str(lab.config), "OCF_RESOURCE_INSTANCE": "vip"}
    shell(lab, "web1", "vipnft apply --switch")
    assert lab.run("web1", [str(AGENT), "monitor"], env=env).returncode == 0
    shell(lab, "web1", "nft flush ruleset")
    assert lab.run("web1", [str(AGENT), "monitor"], env=env).returncode == 1


def test_hosts_follow_what_pacemaker_tells_them(lab_up: LabUp) -> None:
    """Of three nodes one stops, and comes back: all is somebody's before and after, and nothing
    two hosts' at any time."""
    lab = lab_up(hosts=3)
    env = {"OCF_RESKEY_config": str(lab.config), "OCF_RESKEY_mode": "switch"}

    def told(host: str, *words: str, **more: str) -> None:
        meta = {f"OCF_RESKEY_CRM_meta_notify_{key}": value for key, value in more.items()}
        own = {**env, "OCF_RESOURCE_INSTANCE": "vip", **meta}
        assert lab.run(host, [str(AGENT), *words], env=own).returncode == 0

    def owned() -> list[int]:
        several: list[int] = []
        for host in lab.hosts:
            said = lab.run(host, ["vipnft", "status", "--json"]).stdout
            several += json.loads(said)["owned"] if said else []
        assert len(several) == len(set(several))
        return several

    everyone = " ".join(lab.hosts)
    for host in lab.hosts:
        told(host, "start")
    assert len(owned()) == 256
    told("web3", "stop")
    for host in ("web1", "web2"):
        told(
            host,
            "notify",
            type="post",
            operation="stop",
            active_uname=everyone,
            stop_uname="web3",
        )
        owned()
    assert len(owned()) == 256
    coming = {"operation": "start", "active_uname": "web1 web2", "start_uname": "web3.example"}
    for host in ("web1", "web2"):
        told(host, "notify", type="pre", **coming)
        owned()
    told("web3", "start", **coming)
    for host in lab.hosts:
        told(host, "notify", type="post", **coming)
        owned()
    assert len(owned()) == 256
    told("web1", "notify", type="pre", operation="stop", active_uname=everyone, stop_uname="web2")
    assert len(owned()) == 256


@pytest.mark.long
def test_pacemaker_deals_among_those_that_run(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with shop(lab, tmp_path) as two:
        two.standby("web2", "on")
        until(lambda: two.owned("web1") == 256, what="web1 to take all")
        assert two.owned("web2") == 0
        two.standby("web2", "off")
        until(lambda: two.owned("web2") == 128, what="web2 to have its share back")
        assert two.owned("web1") == 128

        # It hangs, and its kernel goes on answering: nobody may take over until it is off.
        for one in (two.pacemaker["web2"], two.corosync["web2"]):
            os.kill(one.pid, signal.SIGSTOP)
        until((tmp_path / "wanted").exists, what="fencing")
        assert [two.owned(host) for host in lab.hosts] == [128, 128]
        shell(lab, "segment", "ip link set web2 down")
        (tmp_path / "off").touch()
        until(lambda: two.owned("web1") == 256, what="web1 to take over")
