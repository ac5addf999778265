"""Buckets that move: what is established stays, what is new goes over, the rest never notices.

The scenarios run small here; `make bench-moves` runs them whole.
"""

import json
import socket
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns import scenarios
from tests.netns.conftest import LabUp
from tests.netns.support import (
    FLOOD,
    HUB_AND_SWITCH,
    VIP,
    apply_all,
    configure,
    nginx,
    shell,
    until,
)
from vipnft.buckets.phases import owners_of
from vipnft.config import reader
from vipnft.lab.capture import Wire
from vipnft.lab.lab import Lab
from vipnft.model import Mode, Protocol, Service


def test_other_buckets_never_notice(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    apply_all(lab)
    found = scenarios.quiet_buckets(lab, tmp_path, times=40, pause=0.02, pace=FLOOD)
    assert found["rebalances"] == 80
    # A full CPU queue, which may be another test's doing, drops before any rule sees a frame.
    assert 0 <= found["lost or twice"] <= found["backlog drops"]
    assert found["seen"] == found["taken"]


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_busy_connections_survive_every_change(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    lab = lab_up(hosts=5, mode=mode)
    found = scenarios.busy_connections(lab, tmp_path, count=60, kilobytes=1000)
    assert found == {"connections": 60, "whole": 60, "broken": 0, "moves": 4}


def test_orphans_of_a_dead_host_are_reset_and_served(lab_up: LabUp, tmp_path: Path) -> None:
    found = scenarios.takeover(lab_up(hosts=4), tmp_path, count=60)
    assert found["reset"] == found["served again"] == 60
    # Who is not answered asks again after ever longer pauses.
    assert found["worst seconds"] < 10 + 2 * found["takeover seconds"]


def test_a_killed_apply_leaves_the_old_or_the_new_state(lab_up: LabUp) -> None:
    found = scenarios.interrupted(lab_up(hosts=4), points=8)
    assert found["old"] + found["new"] == found["points"]
    assert found["old"], "every kill came too late"
    assert found["new"], "every kill came too early"


class Talker:
    """One connection that a test keeps open, asking the same host again and again."""

    def __init__(self, lab: Lab, client: str) -> None:
        self._socket = lab.socket("clients", socket.AF_INET, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        self._socket.bind((client, 0))
        self._socket.connect((VIP, 80))

    def ask(self, *, seconds: float = 10) -> str:
        self._socket.settimeout(seconds)
        self._socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = b""
        while b"\r\n\r\nweb" not in reply:
            more = self._socket.recv(4096)
            assert more, "closed"
            reply += more
        return reply.rsplit(b"\r\n\r\n", 1)[1].decode()

    def close(self) -> None:
        self._socket.close()


def give(lab: Lab, bucket: int | str, source: str, to: str, drain: str = "5m") -> None:
    shell(lab, source, f"vipnft release {bucket} --to {to} --drain {drain}")
    shell(lab, to, f"vipnft take {bucket} --from {source} --drain {drain}")


def test_a_bucket_that_moves_on_while_it_drains(lab_up: LabUp, tmp_path: Path) -> None:
    """A to B to C and back to A: every host keeps its own connections, new ones follow."""
    lab = lab_up(hosts=3)
    apply_all(lab)
    bucket = owners_of(lab.cluster).index("web1")
    clients = [scenarios.client_in(bucket, lab.cluster, skip=n) for n in range(4)]
    talkers: list[tuple[Talker, str]] = []
    path = ["web1", "web2", "web3", "web1"]
    servers = [nginx(lab, host, tmp_path) for host in lab.hosts]
    for server in servers:
        server.__enter__()
    try:
        for number, (client, owner) in enumerate(zip(clients, path, strict=True)):
            if number:
                give(lab, bucket, path[number - 1], owner)
            talkers.append((Talker(lab, client), owner))
            assert [talker.ask() for talker, _ in talkers] == [host for _, host in talkers]
        for host in lab.hosts:
            assert lab.run(host, ["vipnft", "status"]).returncode == 0
    finally:
        for talker, _ in talkers:
            talker.close()
        for server in reversed(servers):
            server.__exit__(None, None, None)


def test_the_kernel_ends_the_drain_by_itself(lab_up: LabUp, tmp_path: Path) -> None:
    """No process of ours runs: the old owner falls silent, the new one resets what is left."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    bucket = owners_of(lab.cluster).index("web1")
    client = scenarios.client_in(bucket, lab.cluster)
    with nginx(lab, "web1", tmp_path), nginx(lab, "web2", tmp_path):
        talker = Talker(lab, client)
        listing = "nft list set netdev vipnft leaving; nft list set inet vipnft joined"
        shell(lab, "web1", f"vipnft release {bucket} --to web2 --drain 3s")
        assert talker.ask() == "web1"
        assert f"0x{bucket:08x}" in shell(lab, "web1", listing)
        shell(lab, "web2", f"vipnft take {bucket} --from web1 --drain 3s")
        until(lambda: f"0x{bucket:08x}" not in shell(lab, "web1", listing), what="the drain's end")
        until(lambda: f"0x{bucket:08x}" not in shell(lab, "web2", listing), what="joining's end")
        with pytest.raises(ConnectionResetError):
            talker.ask()
        talker.close()
    for host in lab.hosts:
        assert lab.run(host, ["vipnft", "status"]).returncode == 0
    # What the kernel ended is no change of its own: apply has nothing to say about it.
    shell(lab, "web2", f"vipnft release {bucket} --to web1 --drain 0")
    shell(lab, "web1", f"vipnft take {bucket} --from web2 --drain 0")
    assert "nothing to do" in shell(lab, "web1", "vipnft apply --switch")


COUNT_FLAGGED = (
    "nft 'table inet seen { counter flagged { }; chain c { type filter hook prerouting"
    ' priority -160; iifname "eth0" meta mark and 0x20000 != 0 counter name flagged; }; }\''
)


def test_a_join_that_is_over_is_at_rest(lab_up: LabUp) -> None:
    """Only QUIC on the move is looked at behind conntrack: its mark has a flag behind ingress."""
    lab = lab_up(hosts=2)
    configure(lab, services=(Service(protocol=Protocol.UDP, ports=((443, 443),), quic=True),))
    shell(lab, "web1", COUNT_FLAGGED)

    def flagged() -> int:
        with lab.socket("clients", socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((client, 0))
            one.sendto(b"\x40", (VIP, 443))
        shell(lab, "clients", f"ping -c1 -W5 -I {client} {VIP}")
        said = shell(lab, "web1", "nft list counter inet seen flagged")
        return int(said.split("packets ")[1].split()[0])

    bucket = owners_of(lab.cluster).index("web1")
    client = scenarios.client_in(bucket, lab.cluster)
    for host in reversed(lab.hosts):
        shell(lab, host, "vipnft apply --switch --drain 4")
    assert flagged() == 1
    timers = "nft list set netdev vipnft leaving; nft list set inet vipnft joined"
    until(lambda: "expires" not in shell(lab, "web1", timers), what="joining's end")
    assert flagged() == 1
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0


def test_udp_and_arp_move_at_once(lab_up: LabUp) -> None:
    """An established UDP flow and pings: one answer each, from the new owner."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    bucket = owners_of(lab.cluster).index("web1")
    client = scenarios.client_in(bucket, lab.cluster)
    echo = [sys.executable, "-c", ECHO]
    for host in lab.hosts:
        server = lab.popen(host, echo, stdout=-1)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
    with lab.socket("clients", socket.AF_INET, socket.SOCK_DGRAM) as flow:
        flow.bind((client, 0))
        flow.settimeout(10)
        for _ in range(3):
            flow.sendto(b"?", (VIP, 7))
            assert flow.recv(100) == b"web1"
        give(lab, bucket, "web1", "web2")
        with Wire(lab, "router", keep=True) as wire:
            for _ in range(20):
                flow.sendto(b"?", (VIP, 7))
                assert flow.recv(100) == b"web2"
            shell(lab, "clients", f"ping -c5 -i0.2 -I {client} {VIP}")
        answers = [f for f in wire.frames if f.src == VIP]
        assert len(answers) == 25
        assert {f.src_mac for f in answers} == {"02:00:00:00:00:02"}


ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.0.2.100", 7))
print("ready", flush=True)
while True:
    _, who = s.recvfrom(100)
    s.sendto(socket.gethostname().encode(), who)
"""


def test_a_new_deal_is_refused_without_a_word(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    apply_all(lab)
    text = lab.config.read_text()
    for other in (
        text.replace("buckets = 256", "buckets = 128"),
        text.replace("seed = ", "seed = 1 #"),
    ):
        assert other != text
        lab.config.write_text(other)
        said = lab.run("web1", ["vipnft", "apply", "--switch"])
        assert said.returncode == 2
        assert "every client would be dealt anew" in said.stderr
        assert "--reshuffle" in said.stderr
        assert lab.run("web1", ["vipnft", "status"]).returncode == 0
    done = shell(lab, "web1", "vipnft apply --switch --reshuffle")
    assert "the whole ruleset was replaced" in done
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0


def test_only_elements_change_when_only_owners_do(lab_up: LabUp) -> None:
    """Every rule keeps its handle; a new VIP replaces them all."""
    lab = lab_up(hosts=3)
    apply_all(lab)
    handles = "nft -a list ruleset | grep -E 'handle [0-9]+$' | grep -v elements"
    before = shell(lab, "web1", handles)
    text = lab.config.read_text()
    lab.config.write_text(scenarios.with_weights(text, {"web2": 3}))
    said = shell(lab, "web1", "vipnft apply --switch")
    assert "changed hands" in said
    assert "replaced" not in said
    assert shell(lab, "web1", handles) == before
    lab.config.write_text(
        lab.config.read_text().replace('["192.0.2.100",', '["192.0.2.100", "192.0.2.9",')
    )
    assert "the whole ruleset was replaced" in shell(lab, "web1", "vipnft apply --switch")
    assert shell(lab, "web1", handles) != before


def test_a_host_that_comes_does_not_reset_others_connections(lab_up: LabUp, tmp_path: Path) -> None:
    """Its first apply joins: nobody told it whose connections there are."""
    lab = lab_up(hosts=2)
    text = lab.config.read_text()
    lab.config.write_text(scenarios.with_weights(text, {"web2": 0}))
    shell(lab, "web1", "vipnft apply --switch")
    bucket = owners_of(reader.parse(text, "lab")).index("web2")
    client = scenarios.client_in(bucket, lab.cluster)
    with nginx(lab, "web1", tmp_path), nginx(lab, "web2", tmp_path):
        talker = Talker(lab, client)
        assert talker.ask() == "web1"
        scenarios.rebalance(lab, text, fresh="web2")
        assert talker.ask() == "web1"
        assert scenarios.fresh_connections(lab, 60)["elsewhere"] == 0
        talker.close()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("release 0-3 --to web9", "web9"),
        ("release 0-3 --to web1", "web1 is this host itself"),
        ("release 0-255 --to web2", "does not own"),
        ("release 7-3 --to web2", "7-3"),
        ("release 0-256 --to web2", "256"),
        ("release x --to web2", "x"),
        ("take 0-255 --from web2", "already"),
        ("take 0 --from web9", "web9"),
        ("apply --switch --drain -1s", "-1s"),
        ("apply --switch --drain 5d", "5d"),
        ("apply --switch --drain 31000000000", "31000000000"),
        ("apply --switch --takeover web1", "web1 is this host itself"),
        ("apply --switch --takeover web9", "web9"),
    ],
)
def test_bad_moves_are_refused(lab_up: LabUp, words: str, named: str) -> None:
    lab = lab_up(hosts=2)
    apply_all(lab)
    before = shell(lab, "web1", "nft -s list ruleset")
    said = lab.run("web1", ["vipnft", *words.split()])
    assert (said.returncode, said.stdout) == (2, "")
    assert named in said.stderr
    assert shell(lab, "web1", "nft -s list ruleset") == before
    assert lab.run("web1", ["vipnft", "status"]).returncode == 0


def test_moves_need_an_apply_first(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    for words in ("release 0 --to web2", "take 0 --from web2"):
        said = lab.run("web1", ["vipnft", *words.split()])
        assert said.returncode == 2
        assert "nothing is applied here" in said.stderr


def test_plan_tells_what_would_move(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=4)
    apply_all(lab)
    assert shell(lab, "web1", "vipnft plan").strip() == "nothing would move"
    new = tmp_path / "new.toml"
    new.write_text(scenarios.with_weights(lab.config.read_text(), {"web4": 0}))
    plan = json.loads(shell(lab, "web1", f"vipnft plan --json --config {new}"))
    after = owners_of(reader.parse(new.read_text(), "new"))
    before = owners_of(lab.cluster)
    assert plan["moves"] == sum(a != b for a, b in zip(after, before, strict=True))
    assert plan["least"] == 64 <= plan["moves"]
    moved = {b: (p["from"], p["to"]) for p in plan["pairs"] for b in p["buckets"]}
    assert moved == {b: (before[b], after[b]) for b in range(256) if before[b] != after[b]}
    assert {h["name"]: h["after"] for h in plan["hosts"]} == {
        name: after.count(name) for name in ("web1", "web2", "web3", "web4")
    }
    text = shell(lab, "web1", f"vipnft plan --config {new}")
    assert f"{plan['moves']} of 256 buckets would move (the least possible is 64)" in text
    assert "web4: 64 -> 0 buckets (0.0%)" in text
    dead = json.loads(shell(lab, "web1", "vipnft plan --json --takeover web4"))
    assert dead["moves"] == dead["least"] == 64, "of a dead host nothing but its own moves"


def test_a_new_secret_gives_buckets_other_owners_as_weights_do(lab_up: LabUp) -> None:
    """Whoever aimed at one host's buckets meets all; who asks is answered by whom `which` names."""
    lab = lab_up(hosts=4)
    apply_all(lab)
    before = owners_of(lab.cluster)
    secret = "5a0c2d1be8f94c3785d6a1e03f7b9c42"
    configure(lab, secret=secret)
    after = owners_of(replace(lab.cluster, secret=secret))
    aimed = Counter(new for old, new in zip(before, after, strict=True) if old == "web1")
    assert set(aimed) == set(lab.hosts)
    for host in lab.hosts:
        assert "changed hands" in shell(lab, host, "vipnft apply --switch --drain 0")
        found = json.loads(shell(lab, host, "vipnft status --json"))
        assert found["owned"] == [b for b, owner in enumerate(after) if owner == host]
        assert not found["drift"]
