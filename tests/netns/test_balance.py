"""Buckets that follow the load: real agents, and real clients of whom a few ask far more."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.netns.cast import Agents, bucket_of, clients_of, serving
from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, VIP, nginx, on_hosts, until
from vipnft.agreement.loads import Load
from vipnft.agreement.records import TABLE, Table, members
from vipnft.model import Balance, Snapshot
from vipnft.store.sqlite import SqliteStore

ALL_A_SECOND = 80.0
HEAVY, LIGHT = 12, 3  # clients of the first host, and of each other
CALM_PERIODS = 8


def seen(cast: Agents) -> Snapshot:
    store = SqliteStore.at(cast.url, cast.lab.cluster.name)
    try:
        return store.transact({}, {}, timeout=5).snapshot
    finally:
        store.close()


def table(cast: Agents) -> Table:
    return Table.load(seen(cast)[TABLE].value)


def load(cast: Agents, host: str) -> Load:
    found = members(seen(cast))[host].carries
    assert found is not None
    return found


def carried(cast: Agents, rates: dict[str, float]) -> dict[str, float]:
    """Return how much each host is asked."""
    owners, sums = table(cast).owners, dict.fromkeys(cast.lab.hosts, 0.0)
    for client, rate in rates.items():
        sums[owners[bucket_of(cast.lab, client)]] += rate
    return sums


def busiest(cast: Agents, rates: dict[str, float]) -> float:
    """Return the busiest host's load over the mean, by what the clients ask."""
    sums = carried(cast, rates).values()
    return max(sums) * len(sums) / sum(sums)


def skewed(cast: Agents) -> dict[str, float]:
    """Return what each client asks a second: the k-th of all one k-th, most of them web1's."""
    owners = table(cast).owners
    clients = [
        client
        for host in cast.lab.hosts
        for client in clients_of(
            cast.lab,
            [b for b, owner in enumerate(owners) if owner == host],
            HEAVY if host == "web1" else LIGHT,
        )
    ]
    total = sum(1 / (k + 3) for k in range(len(clients)))
    return {client: ALL_A_SECOND / (k + 3) / total for k, client in enumerate(clients)}


def test_buckets_follow_the_load_and_then_rest(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=3)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        cast = stack.enter_context(serving(lab, tmp_path, balance=Balance.LOAD, balance_every=3.0))
        until(lambda: sorted(cast.owned()) == [85, 85, 86], what="an even table")
        rates = skewed(cast)
        before = busiest(cast, rates)
        assert before > 1.8
        words = [sys.executable, str(PROGRAMS / "skewed_client.py"), VIP]
        pipe = subprocess.PIPE
        asking = lab.popen("clients", words, stdin=pipe, stdout=pipe)
        assert asking.stdin
        assert asking.stdout
        asking.stdin.write(json.dumps(rates) + "\n")
        asking.stdin.flush()
        assert asking.stdout.readline() == "open\n"
        until(lambda: all(load(cast, host).is_known for host in lab.hosts), what="a measure")
        verb = ["vipnft", "plan", "--by-load", "--store", cast.url]
        planned = []

        def evened() -> bool:
            plan = json.loads(lab.run("web1", [*verb, "--json"], check=True).stdout)
            planned.append(plan["hosts"][0]["share"])
            return busiest(cast, rates) < 1.2

        until(evened, seconds=300, what="even load")
        assert max(planned) > 1.3

        def rested() -> bool:
            """Tell whether the table stood still for some periods."""
            owners, since = table(cast).owners, load(cast, "web1").periods
            until(
                lambda: (
                    load(cast, "web1").periods >= since + CALM_PERIODS
                    or table(cast).owners != owners
                ),
                what="periods",
            )
            return table(cast).owners == owners

        until(rested, seconds=240, what="rest")
        assert busiest(cast, rates) < 1.2
        assert "nothing would move: " in lab.run("web2", verb, check=True).stdout
        found = json.loads(asking.communicate()[0])
        assert list(found) == ["answered"]
        moved = sum(cast.log(host).count(" of its share") for host in lab.hosts)
        assert 0 < moved < 30
        before_death = table(cast).owners
        cast.running["web3"].kill()
        until(lambda: "web3" not in table(cast).owners, what="a takeover")
        pairs = zip(before_death, table(cast).owners, strict=True)
        assert all(old in {new, "web3"} for old, new in pairs)
        cast.start("web3")
        until(lambda: carried(cast, rates)["web3"] > ALL_A_SECOND / 6, what="web3's share")
