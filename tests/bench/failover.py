"""How long clients are without an answer when hosts or agents fail. `make bench-failover`, as root.

Real agents, real kernels, pings from two clients of every host each 10 ms; ping itself tells of a
second answer. Writes docs/failover.md.
"""

import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import away
from tests.bench.rows import Row, name
from tests.chaos import bystanders
from tests.chaos.judge import Verdict
from tests.netns.cast import Agents, Heard, bucket_of, clients_of, flowing, pinging, serving
from tests.netns.support import shell, until
from tests.netns.test_etcd_faults import Etcd
from tests.netns.test_failover import anew, even, in_turn, two_each, with_lease
from vipnft.lab.lab import Lab

DOCUMENT = Path(__file__).parents[2] / "docs/failover.md"
TRIALS = 50
FINE = 0.002  # seconds between two pings where a gap is shorter than usual pings' interval


def milliseconds(gaps: list[float]) -> str:
    gaps = sorted(gaps)
    return f"{statistics.median(gaps) * 1000:.0f} ms median, {gaps[-1] * 1000:.0f} ms worst"


def seconds(gaps: list[float]) -> str:
    gaps = sorted(gaps)
    late = gaps[int(len(gaps) * 0.95)]
    return f"{statistics.median(gaps):.2f} s median, {late:.2f} s p95, {gaps[-1]:.2f} s worst"


def deaths(where: Path, lease: float, must: str) -> Iterator[Row]:
    """Kill one host's processes, or its link, again and again; the longest gap of its clients."""
    gaps: dict[bool, list[float]] = {False: [], True: []}
    double = 0
    with Lab.up(name("deaths"), 4) as lab:
        with_lease(lab, lease)
        with serving(lab, where) as cast:
            even(cast)
            for trial in range(TRIALS):
                here = where / f"{lease}-{trial}"
                here.mkdir()
                host = lab.hosts[trial % 4]
                link = trial % 2 == 1
                heard = death(lab, cast, here, host, link=link)
                gaps[link] += heard.gaps()
                double += heard.double
    yield Row(
        f"host killed, lease {lease:g} s: until its clients are answered by others;"
        f" {TRIALS} trials, 4 hosts",
        must,
        f"agent and kernel silenced at one stroke: {seconds(gaps[False])}; its link cut, which the"
        f" agent sees: {seconds(gaps[True])}; {double} answered twice",
    )


def death(lab: Lab, cast: Agents, here: Path, host: str, *, link: bool) -> Heard:
    victims = clients_of(lab, cast.look()[host]["owned"], 4)
    words = ["sh", "-c", "read go; nft flush ruleset"]  # its kernel would serve on for a lease
    silence = lab.popen(host, words, stdin=subprocess.PIPE)
    with pinging(lab, here, victims) as heard:
        if link:
            shell(lab, "segment", f"ip link set {host} down")
        else:
            cast.running[host].kill()
            silence.communicate("go\n")
        until(lambda: sorted(cast.owned()) == [0, 85, 85, 86], what="the takeover")
    if link:
        shell(lab, "segment", f"ip link set {host} up")
    else:
        cast.start(host)
    silence.kill()
    even(cast)
    return heard


def lives(where: Path) -> Iterator[Row]:
    """A new life in place, under pings."""
    gaps: list[float] = []
    double = 0
    with Lab.up(name("lives"), 4) as lab, serving(lab, where) as cast:
        even(cast)
        for trial in range(20):
            here = where / str(trial)
            here.mkdir()
            victims = clients_of(lab, cast.look()["web1"]["owned"], 4)
            lives = cast.log("web1").count("64 of 256 buckets here")
            with pinging(lab, here, victims) as heard:
                cast.running["web1"].send_signal(signal.SIGHUP)
                until(partial(cast.says, "web1", "64 of 256 buckets here", lives + 1))
            gaps += heard.gaps()
            double += heard.double
    yield Row(
        "agent restarted in place (SIGHUP, as for an upgrade), 20 times",
        "gap under 200 ms",
        f"{milliseconds(gaps)}; {double} answered twice",
    )


def moves(where: Path) -> Iterator[Row]:
    """Each host leaves and returns, under pings."""
    leave: list[float] = []
    back: list[float] = []
    double = 0
    with Lab.up(name("moves"), 4) as lab, serving(lab, where) as cast:
        even(cast)
        for trial in range(12):
            host = lab.hosts[trial % 4]
            here, there = where / f"{trial}", where / f"{trial}-back"
            here.mkdir()
            there.mkdir()
            victims = clients_of(lab, cast.look()[host]["owned"], 4)
            with pinging(lab, here, victims, every=FINE) as heard:
                cast.running[host].send_signal(signal.SIGTERM)
                cast.running[host].wait()
            leave += heard.gaps()
            double += heard.double
            with pinging(lab, there, two_each(cast), every=FINE) as heard:
                cast.start(host)
                even(cast)
            came = {c for c in heard.answers if bucket_of(lab, c) in cast.look()[host]["owned"]}
            back += [heard.gap(client) for client in came]
            double += heard.double
    yield Row(
        "gap of a planned move, per client: a host leaves (SIGTERM), 12 times",
        "20 ms median, 100 ms worst",
        f"{milliseconds(leave)} between two answers, of pings each {FINE * 1000:.0f} ms; {double}"
        " answered twice",
    )
    yield Row(
        "the same, a host returns: clients of the buckets that it takes",
        "20 ms median, 100 ms worst",
        milliseconds(back),
    )


def planned(where: Path) -> Iterator[Row]:
    """Each host drained and back, each agent made anew, under TCP."""
    with Lab.up(name("planned"), 4) as lab, serving(lab, where) as cast:
        even(cast)
        with flowing(lab, where, count=200, rate=200) as found:
            for host in lab.hosts:
                in_turn(cast, host)
        (where / "again").mkdir()
        with flowing(lab, where / "again", count=200, rate=200) as renewed:
            for host in lab.hosts:
                anew(cast, host)
    yield Row(
        "planned drain and return of each host in turn under 200 new connections/s and 200 open",
        "0 failed connections, 0 resets",
        flowed(found),
    )
    yield Row(
        "agent of each host in turn restarted in place under the same load",
        "0 broken connections",
        flowed(renewed),
    )


def flowed(found: dict[str, Any]) -> str:
    failed = ", ".join(f"{n} {what}" for what, n in found["failed"].items()) or "0 failed or reset"
    return (
        f"{failed}, of {found['open']} open and {found['new']:,} new ones; the slowest new one"
        f" took {found['slowest']:.2f} s"
    )


def rest(where: Path) -> Iterator[Row]:
    """An agent with nothing to do."""
    with Lab.up(name("rest"), 4) as lab, serving(lab, where) as cast:
        even(cast)
        pid = cast.running["web1"].pid

        def used() -> float:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, began = used(), time.monotonic()
        time.sleep(20)
        share = (used() - before) / (time.monotonic() - began)
        status = Path(f"/proc/{pid}/status").read_text()
        memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    yield Row(
        "agent at rest, default beat, sqlite",
        "under 1.5 % of a core, under 60 MB",
        f"{share:.1%} of a core, {memory:.0f} MB",
    )


def many(where: Path, kind: str) -> Iterator[Row]:
    """32 agents at once."""
    with Lab.up(name("many"), 32) as lab:
        url = Etcd(lab, where, 1).url if kind == "etcd" else ""
        began = time.monotonic()
        with serving(lab, where, url=url) as cast:
            until(lambda: all("agent of" in cast.log(h) for h in lab.hosts), seconds=120)
            started = time.monotonic()
            until(lambda: cast.owned() == [8] * 32, seconds=120, what="an even table")
            done = time.monotonic()
    yield Row(
        f"32 agents on one {kind} store, all started at once",
        "even table within 5 s",
        f"{max(0, done - started):.1f} s after the last had started ({started - began:.1f} s for"
        " 32 interpreters on these CPUs)",
    )


def starved(where: Path) -> Iterator[Row]:
    """Four processes that spin, for two minutes."""
    with Lab.up(name("starved"), 4) as lab, serving(lab, where) as cast:
        even(cast)
        spinning = [lab.popen("clients", [sys.executable, "-Sc", "while 1: pass"]) for _ in "1234"]
        with pinging(lab, where, two_each(cast), every=0.05) as heard:
            time.sleep(120)
        for process in spinning:
            process.kill()
        false = sum(cast.log(host).count("took over") for host in lab.hosts)
    yield Row(
        "both CPUs busy (4 spinning processes) for 2 minutes, 4 agents, default lease",
        "no false takeover",
        f"{false} takeovers, {heard.double} answered twice",
    )


def beside(where: Path) -> Iterator[Row]:
    """200 changes of the table, near the store and far from it, under questions to every bucket."""
    for late in (0.0005, 0.040):
        here = where / f"{late}"
        here.mkdir()
        found = bystanders.changed(name("beside"), here, late=late, times=200)
        yield Row(
            f"{found.changes} changes of the table, {1000 * late:g} ms more to the store: clients"
            " of buckets that did not move then",
            "0 unanswered",
            f"{judged(found.verdict)}; {found.verdict.moves:,} times a bucket moved, of which"
            f" {found.verdict.explained['a bucket that moved']:,} questions went unanswered",
        )


def off(where: Path) -> Iterator[Row]:
    """One of four is off, the others begin anew ten times each in two ways."""
    found = bystanders.one_off(name("off"), where, times=10)
    yield Row(
        "one of four hosts off; every other agent renewed (SIGHUP) and restarted (kill, start), ten"
        " times each: buckets given to the one that is off; clients of hosts not begun anew then",
        "0; 0 unanswered",
        f"{found.given}; {judged(found.verdict)}",
    )


def judged(verdict: Verdict) -> str:
    return (
        f"{len(verdict.unexplained)} unanswered of {verdict.asked:,} questions in all,"
        f" {len(verdict.double)} answered twice"
    )


def main() -> None:
    parts = {
        "deaths": lambda w: deaths(w, 1.0, "1.3 s median, 2 s worst"),
        "deaths 300 ms": lambda w: deaths(w, 0.3, "0.5 s median, 0.8 s worst"),
        "lives": lives,
        "moves": moves,
        "planned": planned,
        "rest": rest,
        "many sqlite": lambda w: many(w, "sqlite"),
        "many etcd": lambda w: many(w, "etcd"),
        "beside": beside,
        "off": off,
        "away": lambda w: away.away(w, 1.0),
        "away 300 ms": lambda w: away.away(w, 0.3),
        "elections": away.elections,
        "cut off": away.cut_off,
        "died meanwhile": away.died_meanwhile,
        "starved": starved,
    }
    chosen = sys.argv[1:] or parts
    rows: list[Row] = []
    for part, scenario in ((part, parts[part]) for part in chosen):
        with tempfile.TemporaryDirectory() as where:
            for row in scenario(Path(where)):
                print(f"{part}: {row.found}", flush=True)
                rows.append(row)
    if chosen is not parts:
        return
    DOCUMENT.write_text(
        "# Failover: what was measured\n\n"
        "By `make bench-failover`, with real agents and kernels in one lab; pings every 10 ms from"
        " clients of the hosts concerned. "
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()},"
        " the store in SQLite, or in etcd where a row says so. The machine is shared: another run"
        " gives other worst cases.\n\n"
        "| what | must be | measured |\n|---|---|---|\n"
        + "".join(f"| {row.what} | {row.must} | {row.found} |\n" for row in rows),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
