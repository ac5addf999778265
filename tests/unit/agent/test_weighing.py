"""What a host says of its load: once a period, of its own buckets, and nothing by number."""

import pytest

from vipnft.agent.weighing import Weighing
from vipnft.agreement.loads import Load
from vipnft.model import Agents, Balance

BY_LOAD = Agents(balance=Balance.LOAD, balance_every=10.0)
OWNERS = ("a", "a", "b")


def test_it_measures_its_own_buckets_once_a_period() -> None:
    weighing = Weighing(BY_LOAD, "a")
    assert weighing.carries == Load(10.0)
    weighing.look({0: (0, 0), 1: (0, 0), 2: (0, 0)}, OWNERS, (), 100.0)
    weighing.look({0: (50, 9), 1: (0, 0), 2: (70, 9)}, OWNERS, (), 105.0)
    assert weighing.carries == Load(10.0)
    weighing.look({0: (100, 9), 1: (20, 9), 2: (70, 9)}, OWNERS, (), 110.0)
    found = weighing.carries
    assert found is not None
    assert (found.seconds, found.periods, found.several) == (10.0, 1, 2)
    assert dict(found.heaviest) == pytest.approx({0: 10.0, 1: 2.0}, rel=1e-3)


def test_it_takes_a_bucket_over_with_what_its_owner_said() -> None:
    weighing = Weighing(BY_LOAD, "a")
    before = ("a", "b", "b")
    counts = dict.fromkeys(range(3), (0, 0))
    others = [Load.of(10.0, 5, {1: 400.0, 2: 100.0}, 0.0)]
    weighing.look(counts, before, others, 100.0)
    weighing.look(counts, before, (), 110.0)
    weighing.look(counts, OWNERS, (), 120.0)
    found = weighing.carries
    assert found is not None
    assert dict(found.heaviest)[1] == pytest.approx(400, rel=1e-3)


def test_it_says_nothing_where_buckets_are_dealt_by_number() -> None:
    weighing = Weighing(Agents(), "a")
    weighing.look({0: (1, 1)}, OWNERS, (), 100.0)
    assert weighing.carries is None
