"""`vipnft plan --by-load`: what agents would move, by what is in their store; or why nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import pytest

from vipnft.agreement.loads import Load, Spending
from vipnft.agreement.records import TABLE, Member, Standing, Table, key_of
from vipnft.cli.load_report import build, document, text
from vipnft.errors import UsageError
from vipnft.model import Entry, Snapshot

OWNERS = tuple("abcd") * 16


def stored(
    rates: Mapping[int, float],
    *,
    doubt: float = 0.0,
    periods: int = 9,
    only: str = "abcd",
    cpu: Mapping[str, float] | None = None,
) -> Snapshot:
    """Return a store in which each bucket carries 10 packets a second, but for some; `cpu`: of
    hosts that tell of it."""
    found = {TABLE: Entry(Table(OWNERS).dump(), 1)}
    for host in "abcd":
        own = {b: rates.get(b, 10.0) for b, owner in enumerate(OWNERS) if owner == host}
        load = Load.of(60.0, periods, own, doubt) if host in only else None
        if load and cpu and host in cpu:
            load = replace(load, spent=Spending(cpu[host], load.total, 0.0))
        member = Member(f"{host}1", 1, 1.0, 1, carries=load)
        found[key_of(host)] = Entry(member.dump(), 1)
    return found


def test_it_names_the_moves_in_their_order_and_what_they_bring() -> None:
    report = build(stored({0: 90.0, 4: 60.0}))
    assert report.moves[0].source == "a"
    assert len({move.target for move in report.moves}) > 1
    shares = {host.name: host for host in report.hosts}
    assert shares["a"].share > 1.4
    assert max(host.after for host in report.hosts) < 1.06
    assert report.seconds >= 60 * len(report.moves) / 2
    said = text(report)
    assert f"after {len(report.moves)} moves" in said
    assert "no whole buckets" not in said
    known = json.loads(json.dumps(document(report)))
    assert known["hosts"][0] == asdict(shares["a"])
    assert known["moves"][0]["from"] == "a"


def test_it_says_whether_cpu_or_packets_are_what_counts() -> None:
    cpu = {"a": 0.4, "b": 0.1, "c": 0.1, "d": 0.1}
    report = build(stored({}, cpu=cpu))
    assert report.moves[0].source == "a"
    said, known = text(report), document(report)
    assert "of its fair share of CPU, and would have " in said
    assert "  a: weight 1, 160.0 packets/s at 0.4000 CPU, " in said
    assert known["by"] == "cpu"
    del cpu["b"]
    report = build(stored({}, cpu=cpu))
    assert report.moves == ()
    said, known = text(report), document(report)
    assert "of its fair share of packets; nothing would move" in said
    assert "by packets, as b does not tell of its CPU" in said
    assert known["by"] == "packets"
    assert "CPU" not in text(build(stored({})))


def test_it_says_what_whole_buckets_can_not_even() -> None:
    report = build(stored({0: 2000.0}))
    assert report.heaviest == 0
    assert report.least > 2.9
    assert "bucket 0 alone carries that much" in text(report)
    assert all(move.bucket != 0 for move in report.moves)


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (stored({}), "as even as is worth it"),
        (stored({0: 90.0, 4: 60.0}, doubt=60.0), "may be chance"),
    ],
)
def test_it_says_why_nothing_would_move(store: Snapshot, why: str) -> None:
    report = build(store)
    assert report.moves == ()
    assert why in report.why
    assert "nothing would move" in text(report)
    assert all(host.share == host.after for host in report.hosts)


def test_it_refuses_where_it_can_not_be_known() -> None:
    stopping = Member("d1", 1, 1.0, 1, Standing.DRAINED, carries=Load(60.0, 9))
    for store, why in (
        ({}, "no agents agree"),
        (stored({}, only="ab"), "c, d carry"),
        (stored({}, periods=2), "not measured for long enough"),
        ({**stored({}), key_of("d"): Entry(stopping.dump(), 2)}, "d has buckets still"),
    ):
        with pytest.raises(UsageError, match=why):
            build(store)
