"""What a packet costs: by CPU where all that serve tell of it, and never beyond reason."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.agreement.costs import FARTHEST, costs, untold
from vipnft.agreement.evening import doubt, weighed
from vipnft.agreement.loads import Load, Spending
from vipnft.buckets.balance import even
from vipnft.model import Owners


def telling(packets: float, cpu: float | None, periods: int = 9) -> Load:
    spent = None if cpu is None else Spending(cpu, packets, 0.0)
    return Load(60.0, periods, packets, 0.0, 16, (), spent)


def test_a_packet_costs_what_its_host_spends_on_it() -> None:
    loads = {"a": telling(1e6, 1.0), "b": telling(1e6, 2.0)}
    assert costs(loads, "ab") == pytest.approx({"a": 1e-6, "b": 2e-6}, rel=0.01)
    assert not untold(loads, "ab")


def test_while_any_that_serves_tells_of_none_nothing_counts() -> None:
    loads = {"a": telling(1000, 1.0), "b": telling(1000, None)}
    assert costs(loads, "ab") == {}
    assert untold(loads, "ab") == ["b"]
    assert costs(loads, "a").keys() == {"a", "b"}  # b does not serve


def test_who_is_new_is_taken_for_one_like_the_others_and_is_not_missed() -> None:
    loads = {"a": telling(1000, 1.0), "b": telling(1000, 1.0), "c": telling(0, None, periods=1)}
    assert not untold(loads, "abc")
    assert costs(loads, "abc")["c"] == pytest.approx(1e-3, rel=0.01)


def test_nobody_is_taken_for_far_dearer_or_cheaper_than_usual() -> None:
    loads = {"a": telling(1e6, 1.0), "b": telling(1e6, 1e9), "c": telling(1e6, 0.0)}
    found = costs(loads, "abc")
    assert found["b"] == pytest.approx(found["a"] * FARTHEST)
    assert found["c"] == pytest.approx(found["a"] / FARTHEST)


def test_an_idle_host_costs_what_all_do() -> None:
    loads = {"a": telling(1000, 1.0), "b": telling(0.0, 0.0001)}
    found = costs(loads, "ab")
    assert found["b"] == pytest.approx(found["a"], rel=0.1)
    assert costs({"a": telling(0.0, 0.0), "b": telling(0.0, 0.0)}, "ab") == {}


@given(
    st.lists(st.integers(1, 1000), min_size=12, max_size=64),
    st.floats(1e-7, 0.1),
    st.randoms(use_true_random=False),
)
def test_where_a_packet_costs_the_same_everywhere_all_is_as_by_packets(
    rates: list[int], cost: float, chance: random.Random
) -> None:
    hosts = "abc"
    owners = tuple(chance.choice(hosts) for _ in rates)
    weights = {host: chance.randrange(1, 4) for host in hosts}
    loads = {}
    for host in hosts:
        own = {b: float(rate) for b, rate in enumerate(rates) if owners[b] == host}
        load = Load.of(60.0, 9, own, 5.0)
        loads[host] = replace(load, spent=Spending(load.total * cost, load.total, 0.0))
    known = costs(loads, hosts)
    by_packets, by_cpu = weighed(owners, loads, {}), weighed(owners, loads, known)
    assert by_cpu == pytest.approx([cost * much for much in by_packets])
    outcome = even(owners, by_packets, weights)
    assert doubt(outcome, by_cpu, weights, loads, known) == pytest.approx(
        doubt(outcome, by_packets, weights, loads, {})
    )


EXTREMES = st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 1e-4, 1.0, 1e3, 1e12]) | st.floats(0, 1e12)


@given(st.lists(st.tuples(EXTREMES, EXTREMES, EXTREMES, EXTREMES), min_size=1, max_size=4))
def test_whatever_hosts_tell_something_can_be_made_of_it(
    told: list[tuple[float, float, float, float]],
) -> None:
    weights = {f"web{n}": 1 for n in range(len(told))}
    owners = tuple(sorted(weights)) * 8
    loads = {}
    for host, (packets, *spent) in zip(weights, told, strict=True):
        own = {b: packets for b, owner in enumerate(owners) if owner == host}
        loads[host] = replace(Load.of(60.0, 9, own, 0.0), spent=Spending.read(spent))
    known = costs(loads, weights)
    carry = weighed(owners, loads, known)
    assert all(0 < much < 1e60 for much in carry)
    outcome = even(owners, carry, weights)
    assert outcome.after <= outcome.before
    assert 0 <= doubt(outcome, carry, weights, loads, known) < 1e60


def test_cpu_that_varies_is_doubted_beside_packets() -> None:
    owners, weights = ("a", "a", "b"), {"a": 1, "b": 1}
    loads = {
        "a": Load(60.0, 9, 1e6, 3e4, 2, ((0, 5e5), (1, 5e5)), Spending(1.0, 1e6, 0.0)),
        "b": Load(60.0, 9, 1e3, 3e1, 1, ((2, 1e3),), Spending(0.001, 1e3, 0.0)),
    }
    before = unsure(owners, loads, weights)
    loads["a"] = replace(loads["a"], spent=Spending(1.0, 1e6, 0.04))
    assert unsure(owners, loads, weights) == pytest.approx(before * 5 / 3, rel=0.01)  # 3, 4, 5


def unsure(owners: Owners, loads: dict[str, Load], weights: dict[str, int]) -> float:
    known = costs(loads, weights)
    carry = weighed(owners, loads, known)
    return doubt(even(owners, carry, weights), carry, weights, loads, known)
