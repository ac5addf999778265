"""Agents as an operator meets them: status --cluster, weight, drain, resume, checks, bad starts."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import serving
from tests.netns.conftest import LabUp
from tests.netns.support import PACE, VIP, configure, shell, snapshot, until
from vipnft.agreement.records import Member
from vipnft.config import reader
from vipnft.lab import agents
from vipnft.model import Check, CheckKind
from vipnft.store.opening import open_store

MANY = round(65536 / PACE)
"""Buckets, of which no machine changes the table in a fraction of 0.6 s."""


def test_weight_drain_and_resume(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=3)
    with serving(lab, tmp_path) as cast:
        until(lambda: sorted(cast.owned()) == [85, 85, 86], what="an even table")
        verb = ["--store", cast.url]
        lab.run("web2", ["vipnft", "weight", "web3", "2", *verb], check=True)
        until(lambda: cast.owned() == [64, 64, 128], what="web3's new weight")
        lab.run("web3", ["vipnft", "drain", "web1", *verb], check=True)
        until(lambda: cast.owned() == [0, 85, 171], what="web1's drain")
        until(lambda: cast.look()["web1"]["state"] == "drained", what="web1 to be drained")
        lab.run("web1", ["vipnft", "drain", "web2", *verb], check=True)
        last = lab.run("web1", ["vipnft", "drain", "web3", *verb])
        assert last.returncode == 2
        assert "web3 is the last host that serves" in last.stderr
        for host in ("web1", "web2"):
            lab.run("web1", ["vipnft", "resume", host, *verb], check=True)
        until(lambda: cast.owned() == [64, 64, 128], what="the return of both")
        text = lab.run("web1", ["vipnft", "status", "--cluster", *verb], check=True).stdout
        assert "web3         serving   weight 2      128 buckets" in text
        assert lab.run("web1", ["vipnft", "weight", "web9", "2", *verb]).returncode == 2
        assert lab.run("web1", ["vipnft", "weight", "web1", "1001", *verb]).returncode == 2


def test_the_agent_alone_moves_buckets(lab_up: LabUp, tmp_path: Path) -> None:
    """apply, release, take and down are refused beside an agent, and status holds."""
    lab = lab_up(hosts=1)
    before = snapshot(lab, "web1")
    with serving(lab, tmp_path) as cast:
        for words in ("apply --switch", "release 1 --to web1", "take 1 --from web1", "down"):
            said = lab.run("web1", ["vipnft", *words.split()])
            assert said.returncode == 2, words
            assert "an agent serves on this machine" in said.stderr
        assert lab.run("web1", ["vipnft", "status"]).returncode == 0
        cast.running["web1"].send_signal(signal.SIGTERM)
        assert cast.running["web1"].wait() == 0
        assert snapshot(lab, "web1") == before


def test_a_service_that_fails_gives_its_buckets_away(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    check = Check(kind=CheckKind.HTTP, port=80, interval=1, timeout=1, rise=1, fall=1)
    web = [sys.executable, "-Im", "http.server", "--bind", "::", "-d", str(tmp_path), "80"]
    servers = [
        lab.popen(h, web, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for h in lab.hosts
    ]
    with serving(lab, tmp_path, (check,)) as cast:
        until(lambda: cast.owned() == [128, 128], what="both serving")
        servers[1].kill()
        until(lambda: cast.owned() == [256, 0], what="web2 giving away")
        assert f"failing (http {VIP}:80/: connection refused)" in cast.log("web2")
        servers[0].kill()
        until(lambda: "EVERY host fails: all keep serving" in cast.log("web1"))
        until(lambda: sum(cast.owned()) == 256 and 0 not in cast.owned(), what="all serving on")


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("no store", 2, "agents need a store"),
        ("no such store", 2, "there is no store of such a URL"),
        ("unreachable", None, "asked again until it answers"),
        ("not ours", None, "this is a database of another program"),
        ("newer table", None, "the table in the store has format 99"),
        ("older table", None, "the table in the store has format 1, this is 2"),
        ("corrupt table", None, "the table in the store is corrupt"),
        ("other seed", None, "deal clients by another seed"),
        ("no interface", None, "can't serve yet: interface eth7 is not on this machine"),
        ("another name", 2, "altname7 is another name of eth0"),
        ("too many buckets", 2, f"with {MANY} buckets a change of the table takes this machine "),
    ],
)
def test_a_start_that_can_not_be(
    lab_up: LabUp, tmp_path: Path, case: str, code: int | None, words: str
) -> None:
    """A clear error, and nothing applied."""
    lab = lab_up(hosts=1)
    before = snapshot(lab, "web1")
    url = f"sqlite://{tmp_path}/store.db"
    if case == "no such store":
        url = "redis://x"
    if case == "unreachable":
        url = "etcd://192.0.2.77:2379"
    if case == "not ours":
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as other:
            other.execute("CREATE TABLE theirs (x)")
    tables = {
        "newer table": b'{"format": 99}',
        "older table": b'{"format": 1}',
        "corrupt table": b"\xff",
        "other seed": json.dumps(
            {"format": 2, "deal": "0x1/256", "owners": ["a"] * 256, "drains": {}}
        ).encode(),
    }
    if case in tables:
        store = open_store(url, "lab")
        store.transact({}, {"table": tables[case]}, timeout=5)
        store.close()
    if case == "another name":
        shell(lab, "web1", "ip link property add dev eth0 altname altname7")
        before = snapshot(lab, "web1")
        lab.config.write_text(lab.config.read_text().replace("eth0", "altname7"))
    if case == "no interface":
        lab.config.write_text(lab.config.read_text().replace("eth0", "eth7"))
    if case == "too many buckets":
        agents = replace(lab.cluster.agents, store=url, lease=0.6, beat=0.2)
        configure(lab, buckets=MANY, agents=agents)
        checked = lab.run("web1", ["vipnft", "check"])
        assert checked.returncode == 1
        assert words in checked.stdout
    given = [] if case == "no store" else ["--store", url]
    with (tmp_path / "log").open("w") as log:
        agent = lab.popen("web1", ["vipnft", "agent", "--switch", *given], stderr=log)
    until(lambda: words in (tmp_path / "log").read_text(), what=words)
    if code is None:
        agent.send_signal(signal.SIGTERM)
        code = 0
    assert agent.wait() == code
    assert snapshot(lab, "web1") == before


NOT_YET = {  # what is done to the host before its agent starts, and what ends that
    "no interface": (
        "ip link set eth0 down; ip link set eth0 name away",
        "ip link set away name eth0 up",
    ),
    "down": ("ip link set eth0 down", "ip link set eth0 up"),
}


@pytest.mark.parametrize("case", [*NOT_YET, "no carrier"])
def test_an_agent_waits_for_its_interface(lab_up: LabUp, tmp_path: Path, case: str) -> None:
    """It serves once the interface comes, says so once, and heeds signals meanwhile."""
    lab = lab_up(hosts=2)
    away, back = NOT_YET.get(case, ("ip link set web2 down", "ip link set web2 up"))
    node = "web2" if case in NOT_YET else "segment"
    shell(lab, node, away)
    before = snapshot(lab, "web2")
    with serving(lab, tmp_path, hosts=("web1",)) as cast:
        cast.start("web2")
        until(partial(cast.says, "web2", "can't serve yet: "), what="web2's word")
        lab.run("web2", ["ip", "addr", "add", "192.0.2.77/32", "dev", "lo"], check=True)
        lab.run("web2", ["ip", "addr", "del", "192.0.2.77/32", "dev", "lo"], check=True)
        assert cast.owned() == [256]
        cast.running["web2"].send_signal(signal.SIGHUP)  # begins anew, and waits again
        until(partial(cast.says, "web2", "can't serve yet: ", 2), what="its new life's word")
        cast.running["web2"].send_signal(signal.SIGTERM)
        assert cast.running["web2"].wait() == 0
        assert snapshot(lab, "web2") == before
        cast.start("web2")
        until(partial(cast.says, "web2", "can't serve yet: ", 3), what="web2's word")
        shell(lab, node, back)
        until(lambda: cast.owned() == [128, 128], what="web2 serving")
        assert cast.log("web2").count("can't serve yet: ") == 3
        assert cast.running["web2"].poll() is None


EVIL = {
    "host/evil": b"[" * 100_000,
    "host/worse": b'{"incarnation": "x", "beat": Infinity, "lease": 1e9, "weight": -5,'
    b' "standing": "serving", "hold": false}',
    "host/heavy": b'{"incarnation": "x", "beat": 1, "lease": 1e9, "weight": 1001,'
    b' "standing": "serving", "hold": false}',
    "host/a\nb": b'{"incarnation": "x", "beat": 1, "lease": 1, "weight": 1,'
    b' "standing": "serving", "hold": false}',
    "order/web1": b'{"weight": 1001, "drained": false}',
    "order/web2": b"\xff",
}


def test_a_bad_key_ends_nobody(lab_up: LabUp, tmp_path: Path) -> None:
    """Any host's credential may write any key: what no agent could have written is as absent, and
    a table that can't be read is a store that is away."""
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast:
        until(lambda: cast.owned() == [128, 128], what="both serving")
        store = open_store(cast.url, "lab")
        store.transact({}, dict(EVIL), timeout=5)
        lab.run("web1", ["vipnft", "weight", "web2", "3", "--store", cast.url], check=True)
        until(lambda: cast.owned() == [64, 192], what="the agents go on agreeing")
        assert set(cast.look()) == {"web1", "web2"}
        other = Member("another life", 1, 1.0, 1000).dump()
        store.transact({}, {"host/web2": other, "host/stranger": other}, timeout=5)
        until(partial(cast.says, "web2", "another agent's key under this name"), what="web2")
        until(lambda: cast.owned() == [0, 64, 192], what="web2 serving again, no stranger")
        for host in lab.hosts:
            assert cast.log(host).count("no agent of this cluster file could have written") == 1
            assert cast.log(host).replace("\n", "").isprintable()
        store.transact({}, {"table": b"[" * 100_000}, timeout=5)
        for host in lab.hosts:
            until(partial(cast.says, host, "the table in the store is corrupt"), what=host)
        store.transact({}, {"table": None}, timeout=5)
        until(lambda: sum(cast.owned()) == 256, what="a new table")
        store.close()
        assert all(process.poll() is None for process in cast.running.values())


def test_the_file_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/agents.md").read_text(encoding="utf-8")
    (keys,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    rest = 'name = "dns"\nseed = 1\nvips = ["192.0.2.100"]\ninterface = "eth0"\n'
    whole = keys.replace("[cluster]\n", f"[cluster]\n{rest}") + '[[host]]\nname = "web1"\n'
    cluster = reader.parse(whole, "agents.md")
    default = replace(cluster.agents, store="", checks=())
    assert default == type(default)(), "what it shows are the defaults"
    assert cluster.agents.checks == (Check(kind=CheckKind.HTTP, port=80, path="/health"),)


def test_a_lab_with_agents(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    home = agents.start(lab)

    def look() -> list[str]:
        return lab.run("web1", ["vipnft", "status", "--cluster"]).stdout.splitlines()[1:3]

    until(lambda: [line.split()[1:5] for line in look()] == [["serving", "weight", "1", "128"]] * 2)
    assert (home / "web1.log").read_text()
    lab.down()
    assert not home.exists()


@pytest.mark.parametrize("begun", [False, True], ids=["together", "it waits for the store"])
def test_who_is_told_to_begin_anew_and_to_stop_stops(
    lab_up: LabUp, tmp_path: Path, *, begun: bool
) -> None:
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast:
        agent = cast.running["web1"]
        if begun:
            with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as file:
                file.execute("BEGIN EXCLUSIVE")
                agent.send_signal(signal.SIGHUP)
                until(lambda: cast.says("web1", "beginning anew"), what="a new life to be near")
                agent.send_signal(signal.SIGTERM)
                until(lambda: cast.says("web1", "told to stop"), what="its word")
        else:
            for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
                agent.send_signal(number)
        assert agent.wait(300) == 0
        assert cast.says("web1", "gave everything away")


_TOLD = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.kill(os.getpid(), signal.SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""As a life hands on to the next that it was told to stop."""


@pytest.mark.parametrize("hindered", ["", "store", "interface"])
def test_who_is_told_to_stop_before_it_serves_leaves_nothing(
    lab_up: LabUp, tmp_path: Path, hindered: str
) -> None:
    """A reload and a stop one after the other; what the former life left is this one's to give."""
    lab = lab_up(hosts=2)
    before = snapshot(lab, "web1")
    with serving(lab, tmp_path) as cast, contextlib.ExitStack() as stack:
        assert snapshot(lab, "web1") != before
        agent = cast.running["web1"]
        agent.kill()
        agent.wait()
        if hindered == "store":
            file = stack.enter_context(contextlib.closing(sqlite3.connect(tmp_path / "store.db")))
            file.execute("BEGIN EXCLUSIVE")
        elif hindered == "interface":
            shell(lab, "segment", "ip link set web1 down")
        cast.start("web1", before=[sys.executable, "-c", _TOLD])
        assert cast.running["web1"].wait(300) == 0
        assert cast.says("web1", "gave everything away")
        if not hindered:
            assert cast.owned() == [256]
        shell(lab, "segment", "ip link set web1 up")
        until(lambda: snapshot(lab, "web1") == before, seconds=60, what="the host as it was")
