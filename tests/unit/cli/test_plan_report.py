"""What `plan` says: its text, and the JSON that programs read."""

import json

import pytest

from tests.samples import small
from vipnft.cli import plan_report
from vipnft.errors import UsageError

BEFORE = ("web1", "web1", "web2", "web2")


def test_the_text_and_the_json_of_a_death() -> None:
    report = plan_report.build(small(hosts=2, buckets=4), ("web3", *BEFORE[1:]), ["web2"])
    assert plan_report.text(report) == (
        "3 of 4 buckets would move (the least possible is 3):\n"
        "  web2 -> web1: 2  2-3\n"
        "  web3 -> web1: 1  0\n"
        "  web1: 1 -> 4 buckets (100.0%)\n"
        "  web2: 2 -> 0 buckets (0.0%)\n"
        "  web3: 1 -> 0 buckets (0.0%)"
    )
    assert json.dumps(plan_report.document(report)) == (
        '{"buckets": 4, "moves": 3, "least": 3, "pairs": ['
        '{"from": "web2", "to": "web1", "buckets": [2, 3]},'
        ' {"from": "web3", "to": "web1", "buckets": [0]}], "hosts": ['
        '{"name": "web1", "before": 1, "after": 4},'
        ' {"name": "web2", "before": 2, "after": 0},'
        ' {"name": "web3", "before": 1, "after": 0}]}'
    )


def test_where_nothing_moves_there_is_one_line() -> None:
    cluster = small(hosts=1, buckets=4)
    assert plan_report.text(plan_report.build(cluster, ("web1",) * 4, ())) == "nothing would move"


def test_another_number_of_buckets_can_not_be_planned() -> None:
    with pytest.raises(UsageError, match="4 buckets are applied, 8 are in the file"):
        plan_report.build(small(hosts=2, buckets=8), BEFORE, ())
