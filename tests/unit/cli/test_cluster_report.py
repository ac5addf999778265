"""What `status --cluster` says: its text, and the JSON that programs read."""

import json

from vipnft.agreement.records import TABLE, Member, Order, Standing, Table, key_of, order_of
from vipnft.cli import cluster_report
from vipnft.model import Entry

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


def test_the_json_is_a_promise_to_programs() -> None:
    report = cluster_report.build("dns", SNAPSHOT, {"web1"})
    assert json.dumps(cluster_report.document(report)) == (
        '{"cluster": "dns", "buckets": 4, "hosts": {'
        '"web1": {"state": "silent", "weight": 1, "lease": 1.0, "ordered": false,'
        ' "owned": [0], "draining": []},'
        ' "web2": {"state": "failing", "weight": 10, "lease": 1.5, "ordered": false,'
        ' "owned": [1, 3], "draining": [0]},'
        ' "web3": {"state": "drained", "weight": 0, "lease": 1.0, "ordered": true,'
        ' "owned": [], "draining": []}}, "owners_without_key": ["web9"]}'
    )


def test_a_store_without_a_table_has_no_buckets() -> None:
    report = cluster_report.build("dns", {}, ())
    assert (report.buckets, report.hosts, report.gone) == (0, {}, ())
