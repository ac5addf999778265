"""What clients see while the store is away and agents go on by each other's promises: parts of
`make bench-failover`.
"""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.rows import Row, name
from tests.chaos.members import Members
from tests.netns.cast import Heard, bucket_of, pinging
from tests.netns.support import until
from tests.netns.test_etcd_faults import CUTS, over_etcd
from tests.netns.test_failover import even, two_each, with_lease
from tests.netns.test_failsafe import AWAYS, CARRIED, cut, failsafe, from_etcd
from vipnft.lab.lab import Lab
from vipnft.model import StoreLoss

AWAY_S = 30
ELECTIONS = 20
DEATHS = 10


def away(where: Path, lease: float) -> Iterator[Row]:
    """All of etcd stopped, killed, cut off, for half a minute each."""
    told = []
    with Lab.up(name("away"), 4) as lab, failsafe(lab, where, 3, lease) as (cast, etcd):
        for how, (begin, end) in AWAYS.items():
            with pinging(lab, _folder(where, how), two_each(cast)) as heard:
                begin(etcd)
                time.sleep(AWAY_S)
                end(etcd)
                even(cast)
            told.append(f"{how}: {_judged(heard)}")
    yield Row(
        f"all three members of etcd away for {AWAY_S} s, failsafe, lease {lease:g} s",
        "0 unanswered",
        "; ".join(told),
    )


def elections(where: Path) -> Iterator[Row]:
    """etcd's leader killed, again and again, with etcd's own timings."""
    with Lab.up(name("elections"), 4) as lab:
        with_lease(lab, 1.0)
        members = Members(lab, where)
        with over_etcd(lab, where, on_store_loss=StoreLoss.FAILSAFE, etcd=members) as (cast, _):
            with pinging(lab, _folder(where, "leader"), two_each(cast)) as heard:
                for _ in range(ELECTIONS):
                    leader = members.leader()
                    members.kill(leader)
                    even(cast)  # which the others tell once one of them leads
                    members.start(leader)
            carried_on = sum(cast.log(host).count(CARRIED) for host in lab.hosts)
    yield Row(
        f"etcd's leader killed, {ELECTIONS} times, etcd's default timings, failsafe, lease 1 s",
        "0 unanswered",
        f"{_judged(heard)}; hosts said {carried_on} times that promises carried them",
    )


def cut_off(where: Path) -> Iterator[Row]:
    """One host cut off from etcd alone, for half a minute in each way."""
    told = []
    with Lab.up(name("cut-off"), 4) as lab, failsafe(lab, where, 1, 1.0) as (cast, _):
        for way, hooks in CUTS.items():
            with pinging(lab, _folder(where, way), two_each(cast)) as heard:
                with cut(lab, "web2", *from_etcd(*hooks)):
                    time.sleep(AWAY_S)
                even(cast)
            told.append(f"{way}: {_judged(heard)}")
    yield Row(
        f"one host of four cut off from etcd alone for {AWAY_S} s, failsafe, lease 1 s",
        "0 unanswered",
        "; ".join(told),
    )


def died_meanwhile(where: Path) -> Iterator[Row]:
    """A host dies while etcd is away; when is the service back after etcd is?"""
    silent: list[float] = []
    back: list[float] = []
    double = 0
    with Lab.up(name("died"), 4) as lab, failsafe(lab, where, 1, 1.0) as (cast, etcd):
        for trial in range(DEATHS):
            host = lab.hosts[trial % 4]
            mine = set(cast.look()[host]["owned"])
            asking = [c for c in two_each(cast) if bucket_of(lab, c) not in mine]
            told = {one: cast.log(one).count(CARRIED) for one in lab.hosts}
            with pinging(lab, _folder(where, f"{trial}"), asking) as heard:
                etcd.kill(0)
                for one in lab.hosts:
                    until(partial(cast.says, one, CARRIED, told[one] + 1), what=f"{one}'s word")
                cast.running[host].kill()
                died = time.time()
                time.sleep(3)
                begun = time.time()
                etcd.start(0)  # returns once it is well
                well = time.time()
                until(lambda: sorted(cast.owned()) == [0, 85, 85, 86], what="the takeover")
            double += heard.double
            silent.append(max(_last_before(heard, c, begun) - died for c in asking))
            back.append(max(_first_after(heard, c, well) - well for c in asking))
            cast.start(host)
            even(cast)
    yield Row(
        f"etcd away, then a host killed, {DEATHS} times, failsafe, lease 1 s: others' clients",
        "silent within the lease, back within 2 s of etcd's return; 0 answered twice",
        f"silent {_worst(silent)} after it; back {_worst(back)} after etcd was well;"
        f" {double} answered twice",
    )


def _folder(where: Path, what: str) -> Path:
    here = where / what.replace(" ", "-")
    here.mkdir()
    return here


def _judged(heard: Heard) -> str:
    asked = sum(map(len, heard.answers.values()))
    lost = sum(len(run) for runs in heard.lost().values() for run in runs)
    return f"{lost} unanswered of {asked + lost:,}, {heard.double} answered twice"


def _last_before(heard: Heard, client: str, then: float) -> float:
    return max(t for t in heard.answers[client] if t < then)


def _first_after(heard: Heard, client: str, then: float) -> float:
    return min(t for t in heard.answers[client] if t > then)


def _worst(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s median, {max(times):.2f} s worst"
