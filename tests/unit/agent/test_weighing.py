"""What a host says of its load: once a period, of its own buckets, and nothing by number."""

from dataclasses import replace

import pytest

from vipnft.agent.weighing import Weighing
from vipnft.agreement.loads import ENOUGH_PERIODS, Load, Spending
from vipnft.errors import KernelError
from vipnft.model import Agents, Balance

BY_LOAD = Agents(balance=Balance.LOAD, balance_every=10.0)
OWNERS = ("a", "a", "b")
ALL = ("a", "b")


def test_it_measures_its_own_buckets_once_a_period() -> None:
    weighing = Weighing(BY_LOAD, "a")
    assert weighing.carries == Load(10.0)
    weighing.look({0: (0, 0), 1: (0, 0), 2: (0, 0)}, OWNERS, {}, ALL, 100.0)
    weighing.look({0: (50, 9), 1: (0, 0), 2: (70, 9)}, OWNERS, {}, ALL, 105.0)
    assert weighing.carries == Load(10.0)
    weighing.look({0: (100, 9), 1: (20, 9), 2: (70, 9)}, OWNERS, {}, ALL, 110.0)
    found = weighing.carries
    assert found is not None
    assert (found.seconds, found.periods, found.several) == (10.0, 1, 2)
    assert dict(found.heaviest) == pytest.approx({0: 10.0, 1: 2.0}, rel=1e-3)


def test_it_takes_a_bucket_over_with_what_its_owner_said() -> None:
    weighing = Weighing(BY_LOAD, "a")
    before = ("a", "b", "b")
    counts = dict.fromkeys(range(3), (0, 0))
    others = {"b": Load.of(10.0, 5, {1: 400.0, 2: 100.0}, 0.0)}
    weighing.look(counts, before, others, ALL, 100.0)
    weighing.look(counts, before, {}, ALL, 110.0)
    weighing.look(counts, OWNERS, {}, ALL, 120.0)
    found = weighing.carries
    assert found is not None
    assert dict(found.heaviest)[1] == pytest.approx(400, rel=1e-3)


def test_it_says_nothing_where_buckets_are_dealt_by_number() -> None:
    weighing = Weighing(Agents(), "a")
    weighing.look({0: (1, 1)}, OWNERS, {}, ALL, 100.0)
    assert weighing.carries is None


class Group:
    """A control group that spends 1 ms on a packet, if it is there."""

    def __init__(self) -> None:
        self.packets, self.at, self.begun, self.gone = 0, 0.0, 0, False
        agents = replace(BY_LOAD, balance_cpu="nsd.service")
        self.weighing = Weighing(agents, "a", self.used)

    def used(self, name: str) -> float:
        assert name == "nsd.service"
        if self.gone:
            raise KernelError("no such unit")
        return (self.packets - self.begun) / 1000

    def period(self, others: dict[str, Load] | None = None) -> str:
        """Let a period pass in which 1,000 packets came; return what is said then."""
        self.packets += 1000
        self.at += 10.0
        return self.weighing.look({0: (self.packets, 9)}, OWNERS, others or {}, ALL, self.at)

    def tells(self) -> Spending | None:
        assert self.weighing.carries
        return self.weighing.carries.spent


def test_cpu_is_told_once_it_was_measured_for_long_enough() -> None:
    group = Group()
    for _ in range(ENOUGH_PERIODS):
        assert group.period() == ""
        assert group.tells() is None
    assert group.period() == ""
    assert group.tells() == (0.1, 100.0, 0.0)


def test_a_service_may_be_started_again_and_be_away_for_a_moment() -> None:
    group = Group()
    for _ in range(10):
        group.period()
    group.gone = True
    assert group.period() == group.period() == ""
    assert group.tells() == (0.1, 100.0, 0.0)
    group.gone, group.begun = False, group.packets - 1000  # it has served a period since
    group.period()
    assert group.tells() == pytest.approx((0.1, 100.0, 0.0), rel=0.2, abs=0.02)


def test_it_says_once_why_it_tells_of_no_cpu_and_once_that_all_do() -> None:
    group = Group()
    group.gone = True
    said = [group.period() for _ in range(3 * ENOUGH_PERIODS)]
    assert list(filter(None, said)) == [
        "WARNING: buckets follow packets, not CPU, of which a does not tell (no such unit)"
    ]
    group.gone = False
    said = [group.period() for _ in range(2 * ENOUGH_PERIODS)]
    assert list(filter(None, said)) == ["buckets follow hosts' CPU: all tell of it"]
    other = {"b": Load(10.0, 9)}
    group.gone = True  # for a moment: what is said is of b
    assert group.period(other).endswith("of which b does not tell")
    group.gone = False
    assert group.period(other) == ""
    assert group.period({"b": Load(10.0, 1)}) == "buckets follow hosts' CPU: all tell of it"
