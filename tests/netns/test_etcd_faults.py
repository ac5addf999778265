"""Agents over a real etcd that fails: members killed, hosts cut off from it. etcd runs on the
router, so that a host's way to it can be cut."""

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.netns.cast import Agents, flowing, pinging, serving
from tests.netns.conftest import LabUp
from tests.netns.support import shell, until
from tests.netns.test_failover import LONG_S, even, once, two_each, with_lease
from vipnft.config.writer import render
from vipnft.lab.lab import Lab
from vipnft.model import StoreLoss

HOME = "192.0.2.254"
PASSWORD = "guess"
AWAY = {
    StoreLoss.FAILSAFE: "going on by the promises",
    StoreLoss.FENCE: "silent in",
    StoreLoss.HOLD: "on_store_loss is hold",
}
CUTS = {
    "both ways": ("input", "output"),
    "answers": ("input",),
    "requests": ("output",),
}


class Etcd:
    """Members 0, 1, ... on the router, with data that outlives them."""

    def __init__(self, lab: Lab, home: Path, size: int, *more: str) -> None:
        self.lab, self.home, self.more = lab, home, more
        self.login = self.token = ""
        self.members = {n: f"http://{HOME}:{2380 + 100 * n}" for n in range(size)}
        self.running: dict[int, subprocess.Popen[str]] = {}
        self.start(*self.members)

    @property
    def url(self) -> str:
        return f"etcd://{self.login}" + ",".join(f"{HOME}:{2379 + 100 * n}" for n in self.members)

    def start(self, *numbers: int) -> None:
        everybody = ",".join(f"m{n}={peer}" for n, peer in self.members.items())
        for n in numbers:
            client = f"http://{HOME}:{2379 + 100 * n}"
            words = [
                "etcd", f"--name=m{n}", f"--data-dir={self.home}/m{n}",
                f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                f"--listen-peer-urls={self.members[n]}",
                f"--initial-advertise-peer-urls={self.members[n]}",
                f"--initial-cluster={everybody}",
                "--unsafe-no-fsync",  # it is killed, and no machine with it
                *self.more,
            ]  # fmt: skip
            with self._log(n).open("a") as log:
                self.running[n] = self.lab.popen("router", words, stdout=log, stderr=log)
        for n in numbers:
            until(partial(self._healthy, n), what="etcd")

    def kill(self, *numbers: int) -> None:
        for n in numbers:
            self.running[n].kill()
            self.running[n].wait()

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask member 0 over its JSON gateway."""
        header = ["-H", f"Authorization: {self.token}"] if self.token else []
        words = ["curl", "-sm5", f"http://{HOME}:2379/v3/{path}", *header, "-d", "@-"]
        said = self.lab.run("router", words, check=True, input=json.dumps(body)).stdout
        answer: dict[str, Any] = json.loads(said)
        return answer

    def _log(self, number: int) -> Path:
        return self.home / f"etcd{number}.log"

    def _healthy(self, number: int) -> bool:
        assert self.running[number].poll() is None, self._log(number).read_text()[-2000:]
        url = f"http://{HOME}:{2379 + 100 * number}/health"
        return '"true"' in self.lab.run("router", ["curl", "-sm1", url]).stdout


@contextlib.contextmanager
def over_etcd(
    lab: Lab,
    home: Path,
    size: int = 1,
    on_store_loss: StoreLoss = StoreLoss.FENCE,
    env: dict[str, str] | None = None,
    etcd: Etcd | None = None,
) -> Iterator[tuple[Agents, Etcd]]:
    etcd = etcd or Etcd(lab, home, size)
    cluster = lab.cluster
    agents = replace(cluster.agents, on_store_loss=on_store_loss)
    lab.config.write_text(render(replace(cluster, agents=agents)))
    with serving(lab, home, url=etcd.url, env=env) as cast:
        even(cast)
        yield cast, etcd


def answered(lab: Lab) -> bool:
    return lab.run("clients", ["ping", "-c1", "-W1", "192.0.2.100"]).returncode == 0


@pytest.mark.parametrize("cut", CUTS)
def test_a_host_cut_off_from_the_store(lab_up: LabUp, tmp_path: Path, cut: str) -> None:
    lab = lab_up(hosts=4)
    with over_etcd(lab, tmp_path) as (cast, _):
        with pinging(lab, tmp_path, two_each(cast)) as heard:
            shell(lab, "web2", "nft add table inet cut")
            for hook in CUTS[cut]:
                port = "sport" if hook == "input" else "dport"
                shell(
                    lab,
                    "web2",
                    f"nft 'add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}';"
                    f"nft add rule inet cut {hook} tcp {port} 2379 drop",
                )
            until(lambda: sorted(cast.owned()) == [0, 85, 85, 86], what="the takeover")
            shell(lab, "web2", "nft delete table inet cut")
            even(cast)
        once(heard)
        until(partial(cast.says, "web2", "the store answers again"), what="web2's word")


_WRITE = """
import sys
from contextlib import suppress
from threading import Thread
from vipnft.store.contract import StoreUnknown
from vipnft.store.etcd import EtcdStore

def write(store, key):
    with suppress(StoreUnknown):
        store.transact({}, {key: b"1"}, timeout=float(sys.argv[2]))

stores = [EtcdStore.at(sys.argv[1], "lab") for _ in range(50)]
for store in stores:
    store.transact({}, {"first": b"1"}, timeout=60)
threads = [Thread(target=write, args=(s, f"late{n}")) for n, s in enumerate(stores)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("given up", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_given_up_is_not_done_later(lab_up: LabUp, tmp_path: Path, killed: bool) -> None:
    """Nor what a process asked for that is dead by now: requests that the network swallowed are
    not sent again once it is back."""
    lab = lab_up(hosts=1)
    etcd = Etcd(lab, tmp_path, 1)
    shell(lab, "web1", "nft 'table inet cut { chain c { type filter hook output priority 0; }; }'")
    words = [sys.executable, "-c", _WRITE, etcd.url, "60" if killed else "0.3"]
    with lab.popen("web1", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        shell(lab, "web1", "nft add rule inet cut c tcp dport 2379 drop")
        writer.stdin.write("\n")
        writer.stdin.flush()
        if killed:
            until(lambda: sum(unsent > 0 for unsent in _unsent(lab)) == 50, what="requests")
        else:
            assert writer.stdout.readline() == "given up\n"
        writer.kill()
        shell(lab, "web1", "nft delete table inet cut")
        until(lambda: not _unsent(lab), what="the end of the connections")
    key, end = (base64.b64encode(f"/vipnft/lab{c}".encode()).decode() for c in "/0")
    kept = etcd.ask("kv/range", key=key, range_end=end)["kvs"]
    assert [one for one in kept if b"late" in base64.b64decode(one["key"])] == []


def _unsent(lab: Lab) -> list[int]:
    """Return how many bytes each connection to etcd has to send."""
    lines = shell(lab, "web1", "ss -Htan dst 192.0.2.254:2379").splitlines()
    return [int(line.split()[2]) for line in lines]


@pytest.mark.parametrize("on_store_loss", StoreLoss)
def test_the_only_etcd_dies_and_returns(
    lab_up: LabUp, tmp_path: Path, on_store_loss: StoreLoss
) -> None:
    lab = lab_up(hosts=4)
    with_lease(lab, LONG_S)
    with over_etcd(lab, tmp_path, 1, on_store_loss) as (cast, etcd):
        with pinging(lab, tmp_path, two_each(cast)) as heard:
            etcd.kill(0)
            for host in lab.hosts:
                until(partial(cast.says, host, AWAY[on_store_loss]), what=f"{host}'s word")
            if on_store_loss is StoreLoss.FENCE:
                until(lambda: not answered(lab), what="all hosts to be silent")
            etcd.start(0)
            until(lambda: all("answers again" in cast.log(h) for h in lab.hosts), what="etcd")
            until(lambda: answered(lab), what="the service")
            even(cast)
        once(heard)
        if on_store_loss is not StoreLoss.FENCE:
            assert max(heard.gaps()) < LONG_S / 2


def test_under_hold_a_dead_host_waits_for_an_operator(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with over_etcd(lab, tmp_path, 1, StoreLoss.HOLD) as (cast, etcd):
        cast.running["web2"].kill()
        until(lambda: cast.look()["web2"]["state"] == "unheard")
        alive = lab.run("web1", ["vipnft", "off", "web1", "--store", etcd.url])
        assert "web1 is not off: its agent beats" in alive.stderr
        shell(lab, "web1", f"vipnft off web2 --store {etcd.url}")
        until(lambda: cast.owned() == [256, 0], what="the takeover")
        # Not "took over from web2": who got no answer in time can't tell who wrote the table.
        until(partial(cast.says, "web1", "256 of 256 buckets here (128 came"), what="web1's word")
        cast.start("web2")  # the word is void
        even(cast)


def test_under_hold_a_drained_host_cut_off_keeps_its_connections(
    lab_up: LabUp, tmp_path: Path
) -> None:
    """It drains, and then loses the store alone: nobody calls it dead, and it goes on."""
    lab = lab_up(hosts=4)
    with over_etcd(lab, tmp_path, 1, StoreLoss.HOLD) as (cast, etcd):
        with flowing(lab, tmp_path, count=30, rate=20) as found:
            shell(lab, "web1", f"vipnft drain web2 --store {etcd.url}")
            until(lambda: cast.owned()[1] == 0, what="web2 to give")
            shell(
                lab,
                "web2",
                "nft add table inet cut;"
                "nft 'add chain inet cut out { type filter hook output priority 0; }';"
                "nft add rule inet cut out tcp dport 2379 drop",
            )
            until(lambda: cast.look()["web2"]["state"] == "unheard", what="web2's silence")
            assert cast.look()["web2"]["draining"]
            shell(lab, "web2", "nft delete table inet cut")
            until(lambda: cast.look()["web2"]["state"] != "unheard", what="web2's return")
        assert found["failed"] == {}
        assert not any("took over" in cast.log(host) for host in lab.hosts)


def test_members_of_three_die_and_return(lab_up: LabUp, tmp_path: Path) -> None:
    """Each of them in turn, so the leader too; then all."""
    lab = lab_up(hosts=4)
    with over_etcd(lab, tmp_path, 3) as (cast, etcd):
        with pinging(lab, tmp_path, two_each(cast)) as heard:
            for number in (0, 1, 2):
                etcd.kill(number)
                until(lambda: answered(lab), what="the service over two members")
                even(cast)
                etcd.start(number)
            etcd.kill(0, 1, 2)
            until(lambda: not answered(lab), what="all hosts to be silent")
            etcd.start(0, 1, 2)
            until(lambda: answered(lab), what="the service")
            even(cast)
        once(heard)


def refuse_space(etcd: Etcd) -> None:
    """Have somebody else fill etcd."""
    for number in range(40):
        body = {"key": b64(f"junk{number}"), "value": "x" * 400_000}
        if "message" in etcd.ask("kv/put", **body):
            return
    raise AssertionError("etcd has space for all of it")


def give_space(etcd: Etcd) -> None:
    etcd.ask("kv/deleterange", key=b64("junk"), range_end=b64("junl"))
    revision = etcd.ask("kv/range", key=b64("x"))["header"]["revision"]
    etcd.ask("kv/compaction", revision=revision, physical=True)
    etcd.ask("maintenance/defragment")
    (alarm,) = etcd.ask("maintenance/alarm", action="GET")["alarms"]
    etcd.ask("maintenance/alarm", action="DEACTIVATE", alarm="NOSPACE", memberID=alarm["memberID"])


def write_right(etcd: Etcd, kind: str) -> None:
    begin, end = b64("/vipnft/"), b64("/vipnft0")
    etcd.ask("auth/role/revoke", role="vips", key=begin, range_end=end)
    perm = {"permType": kind, "key": begin, "range_end": end}
    assert "code" not in etcd.ask("auth/role/grant", name="vips", perm=perm)


REFUSALS: dict[str, tuple[Callable[[Etcd], None], Callable[[Etcd], None]]] = {
    "no space": (refuse_space, give_space),
    "read-only": (partial(write_right, kind="READ"), partial(write_right, kind="READWRITE")),
}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def with_users(etcd: Etcd) -> None:
    """Let `vip` write the agents' keys, and root all, whose token it has from now on."""
    word = {"password": PASSWORD}
    for user, role in (("root", "root"), ("vip", "vips")):
        etcd.ask("auth/user/add", name=user, **word)
        etcd.ask("auth/role/add", name=role)
        etcd.ask("auth/user/grant", user=user, role=role)
    etcd.ask("auth/enable")
    etcd.token = etcd.ask("auth/authenticate", name="root", **word)["token"]


@pytest.mark.parametrize("on_store_loss", [StoreLoss.FENCE, StoreLoss.HOLD])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_store_that_reads_but_refuses_writes(
    lab_up: LabUp, tmp_path: Path, refusal: str, on_store_loss: StoreLoss
) -> None:
    """It is away: a line when beats fail, one when all are silent, one when it is over."""
    lab = lab_up(hosts=2)
    with_lease(lab, 1.0)
    etcd = Etcd(lab, tmp_path, 1, "--quota-backend-bytes=3000000")
    if refusal == "read-only":
        with_users(etcd)
        etcd.login = f"vip:{PASSWORD}@"
        write_right(etcd, "READWRITE")
    refuse, give = REFUSALS[refusal]
    with over_etcd(lab, tmp_path, on_store_loss=on_store_loss, etcd=etcd) as (cast, _):
        before = {host: len(cast.log(host).splitlines()) for host in lab.hosts}

        def news(host: str) -> list[str]:
            return cast.log(host).splitlines()[before[host] :]

        refuse(etcd)
        held = on_store_loss is StoreLoss.HOLD
        state, word = ("unheard", "carrying on") if held else ("silent", "SILENT for")
        for host in lab.hosts:
            until(partial(cast.says, host, word), what=word)
        until(lambda: {one["state"] for one in cast.look().values()} == {state})
        assert answered(lab) is held
        give(etcd)
        for host in lab.hosts:
            until(partial(cast.says, host, "the store answers again"), what="its end")
        until(lambda: answered(lab), what="the service")
        even(cast)
        for host in lab.hosts:
            told = [line for line in news(host) if "bucket" not in line and "took over" not in line]
            assert len(told) <= 4, told


def moved(log: str) -> list[str]:
    """Return what a log says of buckets."""
    return [line for line in log.splitlines() if "bucket" in line or "took over" in line]


def test_a_wall_clock_that_jumps_is_nothing(lab_up: LabUp, tmp_path: Path) -> None:
    """By an hour, both ways. libfaketime leaves the monotonic clock alone, as it is told to, but
    fails a sleep by it (0.9.10): the agent sleeps nowhere over etcd."""
    lab = lab_up(hosts=2)
    with_lease(lab, LONG_S)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with over_etcd(lab, tmp_path, env=fake) as (cast, _):
        before = {host: moved(cast.log(host)) for host in lab.hosts}
        with pinging(lab, tmp_path, two_each(cast)) as heard:
            for jump in ("+3600", "-3600", "+0"):
                offset.write_text(jump)
                heard.more(150)
        once(heard)
        assert max(heard.gaps()) < LONG_S / 2
        assert {host: moved(cast.log(host)) for host in lab.hosts} == before
        date = [sys.executable, "-c", "import time; print(time.time())"]
        offset.write_text("+3600")
        shown = float(lab.run("web1", date, env=fake, check=True).stdout)
        assert shown > time.time() + 3000, "the clock never jumped"
