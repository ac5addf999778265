"""What it costs that hosts are seen: an agent's snapshot, `vipnft serve`, a scrape, and the page.

Two agents in one lab are alike, but that one writes no snapshot; in each round they change places.
What a snapshot costs is the difference of what they take. When their beats came, the store tells:
in SQLite a key's version is the microsecond of its transaction.
"""

import contextlib
import itertools
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.rows import name
from tests.netns.browser import browser
from tests.netns.labs import ping
from tests.netns.support import VIP, configure, shell, until
from vipnft.lab.lab import Lab

SIZES = {256: 1.0, 65536: 5.0}  # buckets: the lease, in seconds
ROUNDS = 4
SECONDS = 30
SCRAPES = 500
STARTS = 9
PAINTS = 3
CLIENTS = 4
SETTLE = 5.0  # seconds
PORT = 9877
_AGENT = (
    "from vipnft.agent import publisher\n"
    "if {blind}: publisher.Publisher.start = lambda self, oracle: oracle.start()\n"
    "from vipnft.cli.main import app\n"
    "app()"
)
_SEES = ("with", "without")


def measure(where: Path) -> dict[str, Any]:
    """Return what was measured of all."""
    found: dict[str, Any] = {"snapshot": {}}
    for buckets, lease in SIZES.items():
        home = where / str(buckets)
        home.mkdir()
        found["snapshot"][str(buckets)] = snapshots(home, buckets, lease)
        print(found["snapshot"][str(buckets)], flush=True)
    found |= shown(where)
    print(found, flush=True)
    return found


# The snapshot.


def snapshots(where: Path, buckets: int, lease: float) -> dict[str, Any]:
    """Return, with a snapshot and without, an agent's share of a processor at rest and while one
    client asks a hundred times a second (medians), and how late its beats came, in leases."""
    shares: dict[str, list[float]] = {f"{sees}, {what}": [] for sees in _SEES for what in _WHAT}
    late: dict[str, list[float]] = {sees: [] for sees in _SEES}
    with Lab.up(name("seen"), 2, buckets=buckets) as lab:
        configure(lab, agents=replace(lab.cluster.agents, lease=lease, beat=lease / 5, settle=0.0))
        for turn in range(ROUNDS):
            store = where / f"store-{turn}.db"
            order = _SEES if turn % 2 else _SEES[::-1]
            with _agents(lab, store, dict(zip(lab.hosts, order, strict=True))) as running:
                for what, asking in _WHAT.items():
                    with asking(lab), _beats(store, lab.hosts) as beats:
                        before, began = _spent(running), time.monotonic()
                        time.sleep(SECONDS)
                        seconds, after = time.monotonic() - began, _spent(running)
                    for host, sees in zip(lab.hosts, order, strict=True):
                        share = (after[host] - before[host]) / seconds
                        shares[f"{sees}, {what}"].append(share)
                        gaps = [b - a for a, b in itertools.pairwise(sorted(beats[host]))]
                        late[sees] += [(gap / 1e6 - lease / 5) / lease for gap in gaps]
    return {
        **{key: statistics.median(several) for key, several in shares.items()},
        "late": {s: (sorted(gaps)[len(gaps) * 99 // 100], max(gaps)) for s, gaps in late.items()},
    }


@contextlib.contextmanager
def _agents(
    lab: Lab, store: Path, sees: Mapping[str, str]
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    running = {}
    for host, how in sees.items():
        code = _AGENT.format(blind=how == "without")
        words = ["agent", f"--{lab.mode}", "--store", f"sqlite://{store}"]
        running[host] = lab.popen(
            host, [sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL
        )
    try:
        until(lambda: ping(lab, "clients", str(VIP)), what="an answer")
        time.sleep(SETTLE)  # what begins is over
        yield running
    finally:
        for one in running.values():
            one.terminate()
            one.wait()


@contextlib.contextmanager
def _asked(lab: Lab) -> Iterator[None]:
    """Have clients of all hosts ask, so that what is counted changes."""
    words = ["ping", "-q", "-i", "0.01", "-I"]
    several = [
        lab.popen("clients", [*words, f"10.64.0.{n}", str(VIP)], stdout=subprocess.DEVNULL)
        for n in range(1, CLIENTS + 1)
    ]
    try:
        yield
    finally:
        for one in several:
            one.kill()
            one.wait()


_WHAT: Mapping[str, Callable[[Lab], contextlib.AbstractContextManager[None]]] = {
    "at rest": lambda _: contextlib.nullcontext(),
    "asked": _asked,
}


@contextlib.contextmanager
def _beats(store: Path, hosts: Sequence[str]) -> Iterator[dict[str, set[int]]]:
    """Give the microseconds at which each host beat meanwhile."""
    found: dict[str, set[int]] = {host: set() for host in hosts}
    over = threading.Event()

    def look() -> None:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as file:
            while not over.wait(0.05):
                rows = file.execute("SELECT key, version FROM entry WHERE key LIKE 'host/%'")
                for key, version in rows:
                    found[key.removeprefix("host/")].add(version)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _spent(running: Mapping[str, subprocess.Popen[str]]) -> dict[str, float]:
    """Return how many seconds of a processor each has taken so far."""
    found = {}
    for host, one in running.items():
        tasks = Path(f"/proc/{one.pid}/task").glob("*/schedstat")
        found[host] = sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    return found


# Serve, and the page.


def shown(where: Path) -> dict[str, Any]:
    """Return what `serve` takes to start and to hold, what a scrape takes of it, and what a browser
    without anything in its caches needs to paint, in seconds and bytes."""
    with Lab.up(name("seen"), 2) as lab:
        sees = dict.fromkeys(lab.hosts, "with")
        with _agents(lab, where / "store.db", sees), _handed_over(lab, "web1") as (starts, server):
            before, began = _spent({"web1": server})["web1"], time.monotonic()
            ask = f"http://127.0.0.1:{PORT}/metrics"
            urls = [word for _ in range(SCRAPES) for word in ("-o", "/dev/null", ask)]
            lab.run("web1", ["curl", "-sS", *urls], check=True)
            took = time.monotonic() - began
            spent = _spent({"web1": server})["web1"] - before
            status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
            memory = next(line for line in status if line.startswith("VmRSS:"))
            painted = [_painted(lab, where / f"browser-{n}") for n in range(PAINTS)]
    return {
        "start": statistics.median(starts),
        "memory": int(memory.split()[1]) * 1024,
        "scrape": took / SCRAPES,
        "spent": spent / SCRAPES,
        "paint": statistics.median(seconds for seconds, _ in painted),
        "bytes": statistics.median(size for _, size in painted),
    }


@contextlib.contextmanager
def _handed_over(lab: Lab, host: str) -> Iterator[tuple[list[float], subprocess.Popen[str]]]:
    """Start it some times as its socket unit does; give how long each took to answer, and one."""
    starts: list[float] = []
    words = ["systemd-socket-activate", "-l", f"127.0.0.1:{PORT}"]
    words += [sys.executable, "-Pm", "vipnft.serve"]
    null = subprocess.DEVNULL
    for turn in range(STARTS):
        running = lab.popen(host, words, stdout=null, stderr=null)
        until(lambda: f":{PORT} " in shell(lab, host, "ss -Hltn"), what="the socket")
        began = time.monotonic()
        with lab.socket(host, socket.AF_INET, socket.SOCK_STREAM) as one:
            one.connect(("127.0.0.1", PORT))
            one.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert one.recv(64).split()[1] == b"200"
        starts.append(time.monotonic() - began)
        if turn < STARTS - 1:
            running.kill()
            running.wait()
    try:
        yield starts, running
    finally:
        running.kill()
        running.wait()


def _painted(lab: Lab, profile: Path) -> tuple[float, int]:
    """Return after how many seconds the page is painted, and how many bytes came for it."""
    with browser(lab, "web1", profile) as page:
        page.tell("Page.navigate", url=f"http://localhost:{PORT}/")
        painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
        until(lambda: page.value(painted) > 0, what="the first paint")
        until(lambda: page.text("#hosts").count("128") == 2, what="the hosts")
        sums = "performance.getEntries().reduce((sum, one) => sum + (one.transferSize ?? 0), 0)"
        return page.value(painted) / 1000, page.value(sums)


# The document.


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter."""
    rows = []
    for buckets, found in figures["snapshot"].items():
        for what in _WHAT:
            with_, without = (found[f"{sees}, {what}"] for sees in _SEES)
            rows.append(
                f"| {int(buckets):,}, {what} | {100 * with_:.2f} % | {100 * without:.2f} % |"
                f" {100 * (with_ - without):.2f} % |"
            )
    late = [
        f"| {int(buckets):,}, lease {SIZES[int(buckets)]:g} s |"
        + "".join(
            f" {100 * p99:.1f} %, {100 * most:.1f} % |" for p99, most in found["late"].values()
        )
        for buckets, found in figures["snapshot"].items()
    ]
    return (
        "## To be seen\n\n"
        "An agent's share of one CPU with its snapshot, which it writes once a second, and without"
        f" it: medians of {ROUNDS} rounds of {SECONDS} s, in which hosts change places. Asked: by"
        f" {CLIENTS} clients, 100 times a second each.\n\n"
        "| buckets | with | without | the snapshot |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nHow late beats came, of a lease (99 % of them less than; the latest):\n\n"
        "| buckets | with | without |\n|---|---|---|\n" + "\n".join(late) + "\n\n"
        "`vipnft serve`, by its socket unit:\n\n"
        "| what | found |\n|---|---|\n"
        f"| from the first connection to its answer | {figures['start']:.3f} s |\n"
        f"| memory, after {SCRAPES} scrapes | {figures['memory'] / 1e6:.1f} MB |\n"
        f"| a scrape, 256 buckets | {1000 * figures['scrape']:.2f} ms, of its CPU"
        f" {1000 * figures['spent']:.2f} ms |\n"
        f"| the page, first paint, a browser just begun | {figures['paint']:.2f} s |\n"
        f"| the page, transferred | {figures['bytes'] / 1000:.1f} kB |"
    )
