"""How many agents one etcd of three members carries: their store traffic, with nothing behind.

Rule 1: the agreement, the exchange and the store's client are the real ones, paced as agents are;
        what they would do to a kernel is left out.
Rule 2: agents are threads of a few processes, for an interpreter each would not fit: what these
        take of the processors, real agents take on machines of their own.
"""

import json
import math
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.contract.etcd_server import Etcd
from vipnft.agent.exchange import Exchange
from vipnft.agreement.effects import Params, Transact, Wait, Wish
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import TABLE, Member, Table, members
from vipnft.model import Agents
from vipnft.store.etcd_connection import Connection, Reply
from vipnft.store.opening import open_store

SIZES = ((8, 1.0), (32, 1.0), (100, 1.0), (200, 1.0), (200, 3.0))
"""Agents, and their lease in seconds; a beat comes each fifth of it."""
BUCKETS = 1024
PROCESSES = 4
WARM_S, MEASURED_S = 20.0, 20.0
_ENOUGH_S = 60.0
_MOST_PUTS = 100  # etcd takes 128 operations in a transaction
_TURNS = 50
_TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, Any]


class Meter:
    """What all agents of one process did while it was on."""

    def __init__(self) -> None:
        self.on = False
        self.beats: list[float] = []
        self.looks: list[float] = []
        self.bytes: dict[str, list[int]] = {"brief": [], "whole": [], "look": []}
        self.missed = 0


def agent(url: str, me: int, count: int, lease: float, meter: Meter, over: threading.Event) -> None:
    """Live until it is over."""
    names = frozenset(f"host{number:03}" for number in range(count))
    agents = Agents(lease=lease, beat=lease / 5)
    store = open_store(url, "bench")
    exchange = Exchange(store, agents, lambda _: None, None, deal="x", buckets=BUCKETS, hosts=names)
    params = Params(f"host{me:03}", f"life{me}", lease, BUCKETS, names, deal="x")
    life = Life(params, Wish(1)).live()
    beat_at = time.monotonic()
    result: Any = None
    while not over.is_set():
        effect = life.send(result)
        result = None
        if isinstance(effect, Transact):
            began = time.monotonic()
            result = exchange.transact(effect)
            if meter.on:
                note(meter, effect, time.monotonic() - began, done=result is not None)
        elif isinstance(effect, Wait):
            now = time.monotonic()
            if beat_at <= now:
                beat_at = max(beat_at + agents.beat, now)
            over.wait(max(0.0, min(beat_at, now + effect.most + 0.001) - now))
            result = Wish(1, due=time.monotonic() >= beat_at)
    store.close()


def note(meter: Meter, effect: Transact, seconds: float, *, done: bool) -> None:
    beat = bool(effect.puts) and TABLE not in effect.puts
    (meter.beats if beat else meter.looks).append(seconds)
    meter.missed += not done


def process(url: str, numbers: list[int], count: int, lease: float, pipe: Pipe) -> None:
    """Be some of the agents; say what was measured."""
    meter, over = Meter(), threading.Event()
    ask = Connection.ask

    def counting(self: Connection, path: str, body: Any, *more: Any) -> Reply:
        reply = ask(self, path, body, *more)
        if meter.on:
            puts = any("request_put" in one for one in body.get("success", []))
            ranges = sum("request_range" in one for one in body.get("success", []))
            kind = "look" if not puts else "brief" if ranges > 1 else "whole"
            meter.bytes[kind] += [len(json.dumps(body, separators=(",", ":"))), len(reply.body)]
        return reply

    patch.object(Connection, "ask", counting).start()  # to the end of this process
    threads = [
        threading.Thread(target=agent, args=(url, me, count, lease, meter, over), daemon=True)
        for me in numbers
    ]
    for number, thread in enumerate(threads):
        thread.start()
        over.wait(lease / 5 / len(threads) if number else 0)  # they don't beat in step
    pipe.recv()
    meter.on, spent = True, time.process_time()
    pipe.recv()
    meter.on, spent = False, time.process_time() - spent
    over.set()
    pipe.send((meter.beats, meter.looks, meter.bytes, meter.missed, spent))


def run(etcd: Etcd, count: int, lease: float) -> Figures:
    """Return what so many agents do."""
    context = multiprocessing.get_context("fork")
    shares = [list(range(count))[n::PROCESSES] for n in range(min(PROCESSES, count))]
    pipes = [context.Pipe() for _ in shares]
    workers = [
        context.Process(target=process, args=(etcd.url, share, count, lease, there), daemon=True)
        for share, (_, there) in zip(shares, pipes, strict=True)
    ]
    for worker in workers:
        worker.start()
    time.sleep(WARM_S)
    for here, _ in pipes:
        here.send("begin")
    before, began = spent(etcd), time.monotonic()
    time.sleep(MEASURED_S)
    seconds, etcds = time.monotonic() - began, spent(etcd) - before
    for here, _ in pipes:
        here.send("end")
    told = [here.recv() for here, _ in pipes]
    for worker in workers:
        worker.kill()
        worker.join()
    beats = sorted(one for beats, *_ in told for one in beats) or [math.inf]
    sizes = {
        kind: [size for *_, several, _, _ in told for size in several[kind]]
        for kind in ("brief", "whole", "look")
    }
    return {
        "agents": count,
        "lease": lease,
        "beats": (len(beats) - beats.count(math.inf)) / seconds,
        "p50": statistics.median(beats),
        "p99": beats[len(beats) * 99 // 100],
        "missed": sum(missed for *_, missed, _ in told),
        "etcd": etcds / seconds,
        "clients": sum(one[-1] for one in told) / seconds,
        **{f"{kind} sent": mean(several[::2]) for kind, several in sizes.items()},
        **{f"{kind} got": mean(several[1::2]) for kind, several in sizes.items()},
        **{f"{kind} a second": len(several) / 2 / seconds for kind, several in sizes.items()},
    }


def costs(etcd: Etcd, hosts: int) -> Iterator[Figures]:
    """Yield what one beat or look costs, of bytes and of processors, where so many hosts' keys
    have all changed since: which other things a machine does hardly matters to that."""
    names = [f"host/host{number:03}" for number in range(hosts)]
    table = Table(tuple(f"host{b % hosts:03}" for b in range(BUCKETS)), {}, "x")
    mine, others = (open_store(etcd.url, f"cost{hosts}") for _ in "12")
    others.transact({}, {TABLE: table.dump()}, timeout=_ENOUGH_S)

    def touch(beat: int, keys: Sequence[str]) -> None:
        member = Member("0123456789abcdef", beat, 1.0, 1, taken=1000 * beat).dump()
        for at in range(0, len(keys), _MOST_PUTS):
            puts = dict.fromkeys(keys[at : at + _MOST_PUTS], member)
            others.transact({}, puts, timeout=_ENOUGH_S)

    touch(1, names)
    seen = mine.transact({}, {}, timeout=_ENOUGH_S).snapshot
    sizes: list[tuple[int, int]] = []
    ask = Connection.ask

    def counting(self: Connection, path: str, body: Any, token: str | None, most: float) -> Reply:
        reply = ask(self, path, body, token, most)
        sizes.append((len(json.dumps(body, separators=(",", ":"))), len(reply.body)))
        return reply

    for kind in ("brief beat", "whole beat", "look"):
        clients = etcds = 0.0
        for turn in range(_TURNS):
            if kind != "brief beat":
                touch(turn + 2, names[1:])
            me = {names[0]: Member("0123456789abcdef", turn + 2, 1.0, 1).dump()}
            asked = {TABLE: seen[TABLE].version, names[0]: seen[names[0]].version}
            before, began = spent(etcd), time.process_time()
            with patch.object(Connection, "ask", counting):
                if kind == "look":
                    answer = mine.transact({}, {}, timeout=_ENOUGH_S)
                else:
                    answer = mine.transact(asked, me, timeout=_ENOUGH_S, brief=kind == "brief beat")
                members(answer.snapshot)
            clients, etcds = clients + time.process_time() - began, etcds + spent(etcd) - before
            seen = answer.snapshot
        sent, got = sizes[-1]
        figures = {"sent": sent, "got": got, "client": clients / _TURNS, "etcd": etcds / _TURNS}
        yield {"hosts": hosts, "kind": kind, **figures}
    mine.close()
    others.close()


def mean(several: list[int]) -> float:
    return statistics.fmean(several) if several else 0.0


def spent(etcd: Etcd) -> float:
    """Return how many seconds of a processor the members have taken so far."""
    stats = (Path(f"/proc/{one.pid}/stat").read_text() for one in etcd.processes.values())
    return sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats) / _TICKS


def measure(where: Path) -> Figures:
    """Measure each size with an etcd of its own."""
    rows, prices = [], []
    home = where / "costs"
    home.mkdir()
    with Etcd(home, 3) as etcd:
        for hosts in (8, 32, 100, 200, 1000):
            prices += list(costs(etcd, hosts))
            print(*prices[-3:], sep="\n", flush=True)
    for number, (count, lease) in enumerate(SIZES):
        home = where / f"etcd{number}"
        home.mkdir()
        with Etcd(home, 3) as etcd:
            rows.append(run(etcd, count, lease))
        print(rows[-1], flush=True)
    return {"costs": prices, "rows": rows, "load": os.getloadavg()[0]}


def chapter(figures: Figures) -> str:
    """Return the chapter."""
    return (
        "## Many agents\n\n"
        "Agents' store traffic with three members of etcd, all on these"
        f" {os.cpu_count()} CPUs, and no disk waited for (`--unsafe-no-fsync`). A beat is due each"
        " fifth of the lease. A *brief* beat reads the table's version and its own key; a *whole*"
        " one, and a look, what changed of every other host's. With more than 20 hosts one beat in"
        " three is whole. Bytes are those of the JSON bodies; HTTP adds some 300.\n\n"
        f"One at a time, of {_TURNS} each, every other host having beaten meanwhile:\n\n"
        "| hosts | what | sent | got | CPU of the agent | CPU of the three members |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(map(_cost, figures["costs"])) + "\n\n"
        "On paper, by these: a third of all beats whole, the rest brief; the members' CPU is that"
        " of all three together, and one machine should not give etcd more than one.\n\n"
        "| hosts | lease | beats/s | read from etcd | CPU of the three members | of an agent |\n"
        "|---|---|---|---|---|---|\n"
        + "\n".join(_paper(figures["costs"]))
        + (_paced(figures) if figures["rows"] else "")
    )


def _paced(figures: Figures) -> str:
    return (
        f"\n\nPaced as agents are, as threads of {PROCESSES} processes, with {BUCKETS:,} buckets"
        " and nothing behind: agreement, exchange and client are the real ones.\n\n"
        "| agents | lease | beats/s | p50 | p99 | not done | CPU of etcd | CPU of all agents |"
        " brief beats/s, bytes | whole beats/s, bytes | looks/s, bytes |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
        + "\n".join(map(_row, figures["rows"]))
        + f"\n\nThe load average was {figures['load']:.1f} at the end."
    )


def _cost(one: Mapping[str, Any]) -> str:
    return (
        f"| {one['hosts']:,} | {one['kind']} | {one['sent']:,} B | {one['got']:,} B |"
        f" {1000 * one['client']:.2f} ms | {1000 * one['etcd']:.1f} ms |"
    )


def _paper(prices: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what so many hosts come to, with leases that a file may have."""
    for hosts, leases in {100: (1,), 200: (1, 3), 1000: (3, 10, 15)}.items():
        kinds = {one["kind"]: one for one in prices if one["hosts"] == hosts}
        for lease in leases if kinds else ():
            beats = 5 * hosts / lease

            def all_of(what: str, beats: float = beats, kinds: Figures = kinds) -> float:
                brief, whole = kinds["brief beat"][what], kinds["whole beat"][what]
                return float(beats * (2 * brief + whole) / 3)

            yield (
                f"| {hosts:,} | {lease} s | {beats:,.0f} | {all_of('got') / 1e6:.1f} MB/s |"
                f" {all_of('etcd'):.1f} | {all_of('client') / hosts:.2%} |"
            )


def _row(one: Mapping[str, Any]) -> str:
    kinds = " | ".join(
        f"{one[f'{kind} a second']:.0f}, {one[f'{kind} sent']:,.0f} + {one[f'{kind} got']:,.0f}"
        for kind in ("brief", "whole", "look")
    )
    return (
        f"| {one['agents']} | {one['lease']:g} s | {one['beats']:,.0f} |"
        f" {1000 * one['p50']:.1f} ms | {1000 * one['p99']:.1f} ms | {one['missed']} |"
        f" {one['etcd']:.2f} | {one['clients']:.2f} | {kinds} |"
    )
