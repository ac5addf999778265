"""What the network does with the listen MAC: announced, probed, and missed by agents."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import clients_of, pinging, serving
from tests.netns.conftest import LabUp
from tests.netns.scenarios import with_weights
from tests.netns.support import LISTEN, STRAY, VIP, VIP6, apply, apply_all, shell, until
from tests.netns.test_failover import LONG_S, even, with_lease
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ARP_REPLY
from vipnft.lab.lab import Lab
from vipnft.model import Mode

STALE = "02:00:00:00:99:99"


@pytest.mark.parametrize("mode", Mode)
def test_a_router_that_knew_another_mac_learns_at_once(lab_up: LabUp, mode: Mode) -> None:
    """By `apply`, and by `announce` whenever somebody asks for it."""
    lab = lab_up(hosts=2, mode=mode)
    listen = lab.cluster.nics("web1")[0].listen_mac(mode)

    def forget() -> None:
        for vip in (VIP, VIP6):
            entry = f"{vip} lladdr {STALE} dev eth0 nud reachable"
            shell(lab, "router", f"ip neigh replace {entry}")

    def knows() -> bool:
        found = shell(lab, "router", f"ip neigh show {VIP}; ip neigh show {VIP6}")
        return found.count(listen) == 2

    forget()
    with Wire(lab, "segment", "web1", keep=True) as wire:
        apply(lab, "web1", mode)
        until(knows, what="the router to learn")
        forget()
        assert "2 addresses announced, in 3 frames" in shell(lab, "web1", "vipnft announce")
        until(knows, what="the router to learn again")
    replies = [f for f in wire.frames if f.arp and f.arp.operation == ARP_REPLY]
    assert {f.src_mac == listen for f in replies if f.arp and f.arp.sender == VIP} == {
        mode is Mode.HUB
    }


def test_a_router_learns_when_agents_start(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    for vip in (VIP, VIP6):
        shell(lab, "router", f"ip neigh replace {vip} lladdr {STALE} dev eth0 nud reachable")
    with serving(lab, tmp_path):
        both = f"ip neigh show {VIP}; ip neigh show {VIP6}"
        until(lambda: shell(lab, "router", both).count(LISTEN) == 2, what="the router to learn")


def test_an_announcement_is_no_question(lab_up: LabUp) -> None:
    """Nobody answers it, not even the owner of the VIP's own bucket."""
    lab = lab_up(hosts=3)
    apply_all(lab)
    with Wire(lab, "router", keep=True) as wire:
        for host in lab.hosts:
            shell(lab, host, "vipnft announce")
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.1")
    about = [f for f in wire.frames if f.arp and f.arp.target == f.arp.sender == VIP]
    assert len(about) == 6
    assert lab.run("router", ["vipnft", "announce"]).returncode == 2


@contextmanager
def listening(lab: Lab, *hosts: str, more: str = "--switch") -> Iterator[None]:
    words, pipe = ["vipnft", "probe", "--listen", more], subprocess.PIPE
    running = [lab.popen(host, words, stdout=pipe) for host in hosts]
    for one in running:
        assert one.stdout
        assert "listens on eth0" in one.stdout.readline()
    yield
    for one in running:
        one.send_signal(2)
        assert one.wait(10) == 0


PROBES = {
    "it floods": ("true", 0, "every host that answered receives"),
    "learned at a host": (
        f"bridge fdb add {LISTEN} dev web2 master static",
        1,
        "the switch has learned the listen MAC at web2: web3 received none of it",
    ),
    "learned elsewhere": (
        f"bridge fdb add {LISTEN} dev router master static",
        1,
        "at this host's own port (web1) or where none of these hosts is",
    ),
    "it does not flood": (
        "for p in web1 web2 web3; do bridge link set dev $p flood off; done",
        1,
        "the network does not flood",
    ),
}


@pytest.mark.parametrize("case", PROBES)
def test_probe_tells_what_the_network_does(lab_up: LabUp, case: str) -> None:
    script, code, named = PROBES[case]
    lab = lab_up(hosts=3)
    shell(lab, "segment", script)
    with listening(lab, "web2", "web3"):
        said = lab.run("web1", ["vipnft", "probe"])
    assert (said.returncode, said.stderr) == (code, "")
    assert named in said.stdout
    assert ("fix: " in said.stdout) is bool(code)


_FORGER = """
import json, socket
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
port.bind(("eth0", 0x88B5))
print("ready", flush=True)
while True:
    frame = port.recv(2000)
    said = json.loads(frame[16:16 + int.from_bytes(frame[14:16], "big")])
    if said["kind"] != "end":
        continue
    for host in ("web2", "web3"):
        text = json.dumps({**said, "kind": "heard", "host": host, "listen": 5, "control": 5})
        body = len(text).to_bytes(2, "big") + text.encode()
        port.send(frame[6:12] + bytes.fromhex("020000009999") + frame[12:14] + body)
"""


def test_probe_believes_nobody_who_did_not_get_its_frames(lab_up: LabUp) -> None:
    """Somebody on the segment whom they don't reach answers in the names of two that all came."""
    lab = lab_up(hosts=3)
    shell(lab, "segment", PROBES["it does not flood"][0])
    forger = lab.popen("web3", [sys.executable, "-c", _FORGER], stdout=subprocess.PIPE)
    assert forger.stdout
    assert forger.stdout.readline() == "ready\n"
    with listening(lab, "web2"):
        said = lab.run("web1", ["vipnft", "probe"])
    forger.kill()
    assert said.returncode == 1
    assert "the network does not flood" in said.stdout
    assert "web3: no answer" in said.stdout


def test_probe_without_anybody_who_listens(lab_up: LabUp) -> None:
    said = lab_up(hosts=2).run("web1", ["vipnft", "probe", "--count", "1"])
    assert said.returncode == 1
    assert "web2: no answer" in said.stdout
    assert "fix: run `vipnft probe --listen` on the other hosts" in said.stdout


def test_probe_where_a_switch_snoops(lab_up: LabUp) -> None:
    """Who listens for --igmp joins the group; who does not receives nothing, unless applied."""
    lab = lab_up(hosts=3, mode=Mode.IGMP)
    with listening(lab, "web2", "web3"):
        said = lab.run("web1", ["vipnft", "probe", "--igmp"])
        assert "web2, web3 received none of it" in said.stdout
        apply(lab, "web2", Mode.IGMP)
        said = lab.run("web1", ["vipnft", "probe", "--igmp"])
        assert "web3 received none of it" in said.stdout
    with listening(lab, "web2", "web3", more="--igmp"):
        assert lab.run("web1", ["vipnft", "probe", "--igmp"]).returncode == 0


def test_probe_with_one_host_mute(lab_up: LabUp) -> None:
    lab = lab_up(hosts=3)
    with listening(lab, "web2"):
        said = lab.run("web1", ["vipnft", "probe", "--count", "1"])
    assert said.returncode == 1
    assert "on the other hosts: web3" in said.stdout


@pytest.mark.parametrize("words", [["probe"], ["probe", "--listen"], ["announce"]])
def test_an_interface_that_is_down_is_named(lab_up: LabUp, words: list[str]) -> None:
    lab = lab_up(hosts=1)
    apply_all(lab)
    shell(lab, "web1", "ip link set eth0 down")
    said = lab.run("web1", ["vipnft", *words])
    assert said.returncode == 2
    assert "eth0: Network is down" in said.stderr
    assert "fix: ip link set eth0 up" in said.stderr


def test_an_agent_warns_when_it_alone_takes_nothing(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with_lease(lab, LONG_S)
    with serving(lab, tmp_path) as cast:
        even(cast)
        clients = clients_of(lab, cast.look()["web2"]["owned"], 2)
        with pinging(lab, tmp_path, clients, every=0.005):
            shell(lab, "segment", f"bridge fdb add {LISTEN} dev web2 master static")
            until(lambda: "a switch may have learned" in cast.log("web1"))
            shell(lab, "segment", f"bridge fdb del {LISTEN} dev web2 master")
            mine = clients_of(lab, cast.look()["web1"]["owned"], 1)
            shell(lab, "clients", f"ping -c3 -i0.2 -I {mine[0]} {VIP}")
            until(lambda: "arrive here again" in cast.log("web1"))
    assert "WARNING" not in cast.log("web2")


def test_check_tells_what_costs_nobody_expects(lab_up: LabUp) -> None:
    """A weight too small for one bucket, and addresses that arp_ignore will silence."""
    lab = lab_up(hosts=2)
    shell(
        lab,
        "web1",
        "ip addr add 192.0.2.77/32 dev lo; ip link add any type bridge; ip link set any up;"
        "ip addr add 192.0.2.78/32 dev any; ip addr add 192.0.2.79/32 dev any",
    )
    lab.config.write_text(with_weights(lab.config.read_text(), {"web2": 1000}))
    shell(lab, "web1", f"chmod 644 {lab.config}")
    said = lab.run("web1", ["vipnft", "check"]).stdout
    assert "can be read by others, and holds the seed" in said
    assert "warn  web1 has weight 1 of 1001, which is less than one of 256 buckets" in said
    silenced = (
        "warn  192.0.2.77 on lo: where routers find it by ARP on the segment",
        "warn  192.0.2.78, 192.0.2.79 on any: where routers find it by ARP on the segment",
    )
    assert all(line in said for line in silenced)
    shell(lab, "router", "ping -c1 -W5 192.0.2.78; ip neigh flush all")
    lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    assert lab.run("router", ["ping", "-c1", "-W1", "192.0.2.78"]).returncode != 0
    assert all(line in lab.run("web1", ["vipnft", "check"]).stdout for line in silenced)
    lab.run("web1", ["vipnft", "down"], check=True)
    shell(lab, "web1", "sysctl -qw net.ipv4.conf.all.arp_ignore=1")
    assert "by ARP" not in lab.run("web1", ["vipnft", "check"]).stdout, "it is the user's own wish"


def test_agents_warn_when_all_of_them_take_nothing_at_once(lab_up: LabUp, tmp_path: Path) -> None:
    """The switch has the listen MAC at somebody else's port, and no host saw by which frame."""
    lab = lab_up(hosts=2)
    with_lease(lab, LONG_S)
    with serving(lab, tmp_path) as cast:
        even(cast)
        owned = cast.look()
        clients = [c for h in lab.hosts for c in clients_of(lab, owned[h]["owned"], 1)]
        with pinging(lab, tmp_path, clients, every=0.002) as heard:
            heard.more(2000)
            assert "WARNING" not in cast.log("web1") + cast.log("web2")
            shell(lab, "segment", f"bridge fdb add {LISTEN} dev router master static")
            for host in lab.hosts:
                until(partial(cast.says, host, "all at once"), what=f"{host} to warn")
            shell(lab, "segment", f"bridge fdb del {LISTEN} dev router master")
            for host in lab.hosts:
                until(partial(cast.says, host, "arrive again"), what=f"{host} to be well")


def test_a_frame_from_the_listen_mac_is_counted_and_told(lab_up: LabUp, tmp_path: Path) -> None:
    """By anybody on the segment: the switch learns it, and the sender gets everything."""
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as agents:
        assert "WARNING" not in shell(lab, "web1", "vipnft status")
        shell(lab, "router", f'{sys.executable} -c "{STRAY}"')
        status = shell(lab, "web1", "vipnft status")
        assert "WARNING     1 frames came from the listen MAC" in status
        assert '"strays": 1' in shell(lab, "web2", "vipnft status --json")
        until(
            lambda: all("1 on eth0" in agents.log(host) for host in lab.hosts),
            what="the agents to tell",
        )


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.SWITCH])
def test_only_in_switch_mode_nobody_may_send_from_the_listen_mac(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=1, mode=mode)
    apply(lab, "web1", mode)
    assert "strays" not in shell(lab, "web1", "nft list ruleset")
    assert "WARNING" not in shell(lab, "web1", "vipnft status")


_CALL = """
import sys, time
from pathlib import Path
from vipnft.agent.hearing import Calls
from vipnft.cli.options import DEFAULT_CONFIG, load
from vipnft.model import Mode
calls = Calls(load(Path(sys.argv[1])), sys.argv[2], Mode(sys.argv[3]))
calls.heard(set())
print("called", flush=True)
sys.stdin.read()  # until the other has called, too
for _ in range(50):
    found = calls.heard({"web1", "web2", "web3"})
    if found or found is None:
        break
    time.sleep(0.1)
print(*(sorted(found) if found is not None else ["unknown"]), flush=True)
"""


@pytest.mark.parametrize(
    ("mode", "script", "heard"),
    [
        (Mode.SWITCH, "true", "web2"),
        (Mode.IGMP, "true", "web2"),
        (Mode.SWITCH, f"bridge fdb add {LISTEN} dev router master static", ""),
        (Mode.HUB, "true", "unknown"),
    ],
)
def test_a_call_is_heard_where_the_network_brings_it(
    lab_up: LabUp, mode: Mode, script: str, heard: str
) -> None:
    lab = lab_up(hosts=2, mode=mode)
    apply_all(lab)
    shell(lab, "segment", script)
    config = shell(lab, "web1", "echo $VIPNFT_CONFIG").strip()

    def calling(host: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", _CALL, config, host, mode]
        called = lab.popen(host, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert called.stdout
        assert called.stdout.readline() == "called\n"
        return called

    first, second = calling("web1"), calling("web2")
    assert first.communicate()[0].strip() == heard
    second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)


SWITCH_SIDE = {
    "nothing": ("true", True),
    "no learning": (
        "for p in router web1 web2; do bridge link set dev $p learning off; done",
        False,
    ),
    "known MACs only": (
        "bridge link set dev router locked on learning off;"
        " bridge fdb replace $ROUTER dev router master static",
        False,
    ),
    "drop by source": (
        "nft 'add table bridge x; add chain bridge x c { type filter hook prerouting priority 0; };"
        f" add rule bridge x c ether saddr {LISTEN} drop'",
        False,
    ),
}


@pytest.mark.parametrize("case", SWITCH_SIDE)
def test_a_linux_bridge_can_be_kept_from_learning_it(lab_up: LabUp, case: str) -> None:
    """As docs/operating.md has it, "The switch's side"."""
    script, learned = SWITCH_SIDE[case]
    lab = lab_up(hosts=2)
    apply_all(lab)
    router = shell(lab, "router", "cat /sys/class/net/eth0/address").strip()
    shell(lab, "segment", f"ROUTER={router}; {script}")
    shell(lab, "router", f'{sys.executable} -c "{STRAY}"')
    with listening(lab, "web2"):
        said = lab.run("web1", ["vipnft", "probe"])
    assert said.returncode == learned, said.stdout
    assert (LISTEN in shell(lab, "segment", "bridge fdb show")) == learned
