"""Each alert of the package fires on what it is for, in a real Prometheus that scrapes real hosts,
and none on healthy ones. Minutes are seconds here: all durations of the rules are a sixtieth.
"""

import contextlib
import json
import os
import re
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import Agents, serving
from tests.netns.conftest import LabUp
from tests.netns.support import LISTEN, STRAY, VIP, configure, shell, until
from tests.netns.test_duplicate import GIVES, TAKES, stranger
from vipnft.lab.lab import Lab
from vipnft.model import Check, CheckKind, StoreLoss

RULES = Path(__file__).parents[2] / "packaging/monitoring/vipnft-alerts.yaml"
ALERTS = set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))
FASTER = 60
HEALTHY_S = 60.0
"""An hour of the rules' time."""
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
Fault = Callable[["Shown"], contextlib.AbstractContextManager[object]]


def faster(text: str) -> str:
    """Return rules with every duration divided."""

    def shorter(found: re.Match[str]) -> str:
        return f"{int(found[1]) * _MS[found[2]] // FASTER}ms"

    return re.sub(r"\b([0-9]+)([smh])\b(?=[\]\n])", shorter, text)


class Relay(socketserver.ThreadingTCPServer):
    """A port of this machine that leads to `vipnft serve` on a host's loopback."""

    daemon_threads = True

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab, self._host = lab, host
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request: object, _: object) -> None:
        assert isinstance(request, socket.socket)
        inside = self._lab.socket(self._host, socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.suppress(OSError), inside:
            inside.connect(("127.0.0.1", 9877))
            inside.sendall(request.recv(8192))
            while data := inside.recv(65536):
                request.sendall(data)


class Shown:
    """Hosts with agents, each shown by `vipnft serve`, and a Prometheus that looks at them."""

    def __init__(self, cast: Agents, home: Path) -> None:
        self.cast, self.lab, self._home = cast, cast.lab, home
        self.serves: dict[str, subprocess.Popen[str]] = {}
        self._relays = {host: Relay(self.lab, host) for host in self.lab.hosts}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._at = f"127.0.0.1:{free.getsockname()[1]}"

    def serve(self, host: str) -> None:
        command = shell(self.lab, host, "command -v vipnft").strip()
        self.serves[host] = self.lab.popen(host, [command, "serve"], stdout=subprocess.DEVNULL)

    def prometheus(self) -> subprocess.Popen[str]:
        (self._home / "rules.yml").write_text(faster(RULES.read_text(encoding="utf-8")))
        ports = [f"127.0.0.1:{one.server_address[1]}" for one in self._relays.values()]
        (self._home / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": ["rules.yml"],
                    "scrape_configs": [{"job_name": "v", "static_configs": [{"targets": ports}]}],
                }
            )
        )
        words = [
            "prometheus",
            f"--config.file={self._home}/prometheus.yml",
            f"--storage.tsdb.path={self._home}/tsdb",
            f"--web.listen-address={self._at}",
        ]
        with (self._home / "prometheus.log").open("w") as log:
            return subprocess.Popen(words, stderr=log, stdout=log, text=True)

    def firing(self) -> set[str]:
        try:
            with urllib.request.urlopen(f"http://{self._at}/api/v1/alerts", timeout=10) as said:
                found = json.load(said)["data"]["alerts"]
        except OSError:
            return {"none yet"}
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def well(self) -> bool:
        """Tell whether every host has its share, and nothing fires."""
        return sorted(self.cast.owned()) == [85, 85, 86] and not self.firing()

    def end(self) -> None:
        for one in self.serves.values():
            one.kill()
            one.wait()
        for relay in self._relays.values():
            relay.shutdown()
            relay.server_close()

    def again(self, host: str) -> None:
        """Have a host's agent end at once, and begin anew."""
        self.cast.running[host].kill()
        self.cast.running[host].wait()
        self.cast.start(host)


@contextlib.contextmanager
def unscraped(one: Shown) -> Iterator[None]:
    one.serves["web2"].kill()
    one.serves["web2"].wait()
    yield
    one.serve("web2")


@contextlib.contextmanager
def dead(one: Shown) -> Iterator[None]:
    one.cast.running["web2"].kill()
    one.cast.running["web2"].wait()
    yield
    one.cast.start("web2")


@contextlib.contextmanager
def parted(one: Shown) -> Iterator[None]:
    """A host's agent goes by another store, where it is alone."""
    url, one.cast.url = one.cast.url, one.cast.url.replace("store.db", "other.db")
    one.again("web2")
    one.cast.url = url
    yield
    one.again("web2")


@contextlib.contextmanager
def another_file(one: Shown) -> Iterator[None]:
    whole = one.lab.cluster
    configure(one.lab, agents=replace(whole.agents, settle=0.5))
    one.again("web2")
    until(lambda: one.cast.says("web2", "agent of web2", 2), what="it to have read the file")
    yield
    configure(one.lab, agents=whole.agents)
    one.again("web2")


@contextlib.contextmanager
def check_fails(one: Shown) -> Iterator[None]:
    whole = one.lab.cluster
    check = Check(kind=CheckKind.TCP, port=9, interval=0.2, timeout=0.2, fall=1, rise=1)
    configure(one.lab, agents=replace(whole.agents, checks=(check,)))
    one.again("web2")
    until(lambda: one.cast.says("web2", "failing ("), what="the check")
    yield
    configure(one.lab, agents=whole.agents)
    one.again("web2")


@contextlib.contextmanager
def store_held(one: Shown) -> Iterator[None]:
    """The store takes nothing, and no host promises anything: one can't, for it is dead."""
    path = one.cast.url.removeprefix("sqlite://")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("begin exclusive")
        one.cast.running["web2"].kill()
        one.cast.running["web2"].wait()
        yield
    one.cast.start("web2")


@contextlib.contextmanager
def starved(one: Shown) -> Iterator[None]:
    """An agent that gets a processor for some ms of each 0.6 s. (A store that is slow is away: what
    it is asked is given up after a quarter of a lease.)"""
    pid, end = one.cast.running["web2"].pid, threading.Event()

    def hold() -> None:
        while not end.is_set():
            os.kill(pid, signal.SIGSTOP)
            end.wait(0.6)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.004)

    thread = threading.Thread(target=hold)
    thread.start()
    yield
    end.set()
    thread.join()


@contextlib.contextmanager
def unplugged(one: Shown) -> Iterator[None]:
    shell(one.lab, "segment", "ip link set web2 down")
    yield
    shell(one.lab, "segment", "ip link set web2 up")


@contextlib.contextmanager
def flushed(one: Shown) -> Iterator[None]:
    for times in range(5):
        shell(one.lab, "web2", "nft flush ruleset")
        until(partial(one.cast.says, "web2", "found and mended", times + 1), what="it mended")
    yield


@contextlib.contextmanager
def taken(one: Shown) -> Iterator[None]:
    with stranger(one.lab) as (run, _):
        run(TAKES[VIP])
        yield
        run(GIVES[VIP])


@contextlib.contextmanager
def kept_from(one: Shown) -> Iterator[None]:
    """The segment brings the listen MAC to one port alone."""
    shell(one.lab, "segment", f"bridge fdb add {LISTEN} dev router master static")
    yield
    shell(one.lab, "segment", f"bridge fdb del {LISTEN} dev router master")


@contextlib.contextmanager
def walled(one: Shown) -> Iterator[None]:
    rule = "add rule inet wall in udp dport 5520 drop"
    chain = "add chain inet wall in { type filter hook input priority 0; }"
    shell(one.lab, "web2", f"nft 'add table inet wall; {chain}; {rule}'")
    yield
    shell(one.lab, "web2", "nft delete table inet wall")


@contextlib.contextmanager
def stray(one: Shown) -> Iterator[None]:
    shell(one.lab, "router", f'{sys.executable} -c "{STRAY}"')
    yield
    shell(one.lab, "segment", f"bridge fdb del {LISTEN} dev router master")


HTTP = f"""import socket
one = socket.create_server(("{VIP}", 8080)); kept = []
while True: kept.append(one.accept())"""
TALK = f"""import socket, time
kept = [socket.create_connection(("{VIP}", 8080), source_address=(f"10.64.1.{{n}}", 0))
        for n in range(1, 41)]
print("all", flush=True)
time.sleep(600)"""


@contextlib.contextmanager
def drained(one: Shown) -> Iterator[None]:
    """Connections that never end keep a drain going."""
    servers = [
        one.lab.popen(host, [sys.executable, "-c", HTTP], stderr=subprocess.DEVNULL)
        for host in one.lab.hosts
    ]
    talking = one.lab.popen(
        "clients",
        [sys.executable, "-c", TALK],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert talking.stdout
        assert talking.stdout.readline() == "all\n"
        shell(one.lab, "web2", f"vipnft drain web2 --store {one.cast.url}")
        yield
        shell(one.lab, "web2", f"vipnft resume web2 --store {one.cast.url}")
    finally:
        for process in (talking, *servers):
            process.kill()
            process.wait()


@contextlib.contextmanager
def busy(one: Shown) -> Iterator[None]:
    """One client floods."""
    flood = one.lab.popen(
        "clients",
        ["ping", "-q", "-f", "-I", "10.64.0.1", VIP],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    flood.kill()
    flood.wait()


FAULTS: dict[str, Fault] = {
    "VipnftListenMacSent": stray,
    "VipnftBucketsWithoutOwner": unscraped,
    "VipnftUnseen": dead,
    "VipnftFilesDiffer": another_file,
    "VipnftCheckDown": check_fails,
    "VipnftNotReady": check_fails,
    "VipnftBeatsLate": starved,
    "VipnftStoreAway": store_held,
    "VipnftSilent": store_held,
    "VipnftDrift": unplugged,
    "VipnftDuplicate": taken,
    "VipnftMemberUnheard": walled,
    "VipnftLoadUneven": busy,
    "VipnftDrainLong": drained,
    "VipnftDeaf": kept_from,
    "VipnftMendedOften": flushed,
    "VipnftBucketsWithTwoOwners": parted,
}


def test_durations_are_shortened_and_nothing_else() -> None:
    text = faster(RULES.read_text(encoding="utf-8"))
    assert "for: 2000ms" in text
    assert "[5000ms]" in text
    assert not re.search(r"(for: |\[)[0-9]+[mh][\]\n]", text)
    assert set(FAULTS) == ALERTS


@pytest.mark.long
def test_each_alert_fires_on_its_fault_and_none_without(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=3)
    configure(lab, agents=replace(lab.cluster.agents, on_store_loss=StoreLoss.FAILSAFE))
    with serving(lab, tmp_path) as cast, contextlib.ExitStack() as left:
        one = Shown(cast, tmp_path)
        left.callback(one.end)
        for host in lab.hosts:
            one.serve(host)
        prometheus = one.prometheus()
        left.callback(prometheus.wait)
        left.callback(prometheus.kill)
        until(one.well, seconds=120, what="all to have their share, and no alert")
        end = time.monotonic() + HEALTHY_S
        while time.monotonic() < end:
            assert not one.firing()
            time.sleep(1)
        lacking = {}
        for alert, cause in FAULTS.items():
            with cause(one):
                if not fires(one, alert):
                    lacking[alert] = one.firing()
            until(one.well, seconds=180, what=f"what {alert} is for to end")
        assert not lacking


def fires(one: Shown, alert: str) -> bool:
    """Tell whether an alert fires, far beyond the usual time."""
    with contextlib.suppress(AssertionError):
        until(lambda: alert in one.firing(), seconds=180)
        return True
    return False
