"""What `status --cluster` says: its text, and the JSON that programs read."""

import json

from vipnft.agreement.records import (
    TABLE,
    Contact,
    Member,
    Order,
    Standing,
    Table,
    key_of,
    order_of,
)
from vipnft.model import Entry
from vipnft.observe import cluster_report

OWNERS = ("web1", "web2", "web9", "web2")
SNAPSHOT = {
    TABLE: Entry(Table(OWNERS, {0: frozenset({"web2"})}).dump(), 1),
    key_of("web1"): Entry(Member("a", 1, 1.0, 1).dump(), 1),
    key_of("web2"): Entry(Member("b", 1, 1.5, 10, Standing.FAILING).dump(), 1),
    key_of("web3"): Entry(Member("c", 1, 1.0, 0, Standing.DRAINED).dump(), 1),
    order_of("web3"): Entry(Order(drained=True).dump(), 1),
}


def test_the_text() -> None:
    assert cluster_report.text(cluster_report.build("dns", SNAPSHOT, {"web1"})) == (
        "dns: 3 agents, 4 buckets\n"
        "web1         silent    weight 1        1 buckets\n"
        "web2         failing   weight 10       2 buckets, drains 1\n"
        "web3         drained   weight 0        0 buckets, drained by order"
    )


def test_who_carries_on_without_the_store_is_not_called_silent() -> None:
    held = Member("a", 1, 1.0, 1, hold_on_loss=True).dump()
    known = {
        key_of("web1"): Entry(held, 4),
        key_of("web2"): Entry(held, 5),
        order_of("web2"): Entry(Order(off=5).dump(), 6),
        key_of("web3"): Entry(held, 7),
        order_of("web3"): Entry(Order(off=5).dump(), 8),
    }
    assert cluster_report.text(cluster_report.build("dns", known, {"web1", "web2", "web3"})) == (
        "dns: 3 agents, 0 buckets\n"
        "web1         unheard   weight 1        0 buckets\n"
        "web2         silent    weight 1        0 buckets, off by order\n"
        "web3         unheard   weight 1        0 buckets\n"
        "no agent beats: the store may refuse what they write (their logs say why)"
    )


def failsafe(*unheard: str, able: bool = True) -> bytes:
    contact = Contact(("192.0.2.1",), 5520, "ab" * 16) if able else None
    return Member("a", 1, 1.0, 1, contact=contact, unheard=frozenset(unheard)).dump()


def reported(silent: set[str], *several: bytes) -> list[str]:
    table = Table(("web1", "web2", "web2")).dump()
    known = {key_of(f"web{n}"): Entry(one, n) for n, one in enumerate(several, 1)}
    report = cluster_report.build("dns", {TABLE: Entry(table, 9), **known}, silent)
    return cluster_report.text(report).splitlines()[1:]


def test_who_hears_whom_is_told_before_it_is_needed() -> None:
    assert reported(set(), failsafe(), failsafe(), failsafe())[3:] == [
        "without the store: all go on, by each other's promises"
    ]
    one = "serving   weight 1        "
    assert reported(set(), failsafe("web2", "web3"), failsafe("web1"), failsafe()) == [
        f"web1         {one}1 buckets, does not hear web2 web3",
        f"web2         {one}2 buckets, does not hear web1",
        f"web3         {one}0 buckets",
        "without the store: web1, web2 would be silent",
    ]
    assert reported(set(), failsafe(), failsafe(able=False), failsafe())[3:] == [
        "without the store: web1, web2, web3 would be silent (web2 can't be asked for promises)"
    ]
    assert reported(set(), *[failsafe(able=False)] * 3)[3:] == [], "it is not for them"


def test_of_the_dead_nobody_need_hear_anything() -> None:
    dead = failsafe("web1")
    assert reported({"web3"}, failsafe("web3"), failsafe(), dead)[2:] == [
        "web3         silent    weight 1        0 buckets, does not hear web1",
        "without the store: all go on, by each other's promises",
    ]


def test_who_goes_on_by_promises_is_not_called_silent() -> None:
    assert [line.split()[1] for line in reported({"web1", "web3"}, *[failsafe()] * 3)[:3]] == [
        "unheard",
        "serving",
        "silent",
    ]


def test_the_json_is_a_promise_to_programs() -> None:
    report = cluster_report.build("dns", SNAPSHOT, {"web1"})
    assert json.dumps(cluster_report.document(report)) == (
        '{"cluster": "dns", "buckets": 4, "hosts": {'
        '"web1": {"state": "silent", "weight": 1, "lease": 1.0, "ordered": false,'
        ' "owned": [0], "draining": [], "failsafe": false, "unheard": []},'
        ' "web2": {"state": "failing", "weight": 10, "lease": 1.5, "ordered": false,'
        ' "owned": [1, 3], "draining": [0], "failsafe": false, "unheard": []},'
        ' "web3": {"state": "drained", "weight": 0, "lease": 1.0, "ordered": true,'
        ' "owned": [], "draining": [], "failsafe": false, "unheard": []}},'
        ' "owners_without_key": ["web9"]}'
    )


def test_a_store_without_a_table_has_no_buckets() -> None:
    report = cluster_report.build("dns", {}, ())
    assert (report.buckets, report.hosts, report.gone) == (0, {}, ())
