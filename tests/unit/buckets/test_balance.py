"""Buckets that follow the load: as even as whole buckets allow, by few moves, and then at rest.

Rule 1: what is least possible is computed here by trying everything.
"""

from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.bench.balance import Scene, day, moved, settle
from tests.bench.costly import Costly
from tests.bench.costly import Scene as Costs
from vipnft.buckets.assign import Move, assign
from vipnft.buckets.balance import (
    EVEN,
    WORTH,
    Outcome,
    deal,
    even,
    is_worth,
    least,
    next_moves,
    shares,
)
from vipnft.buckets.measured import SPAN, Measured

WEIGHTS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 5), min_size=1)
SLACK = 1e-6


@st.composite
def spreads(draw: st.DrawFn) -> tuple[tuple[str, ...], list[float], dict[str, int]]:
    """Owners, loads and weights."""
    weights = draw(WEIGHTS)
    loads = draw(st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=40))
    owner = st.sampled_from(sorted(weights))
    return tuple(draw(owner) for _ in loads), loads, weights


SPREADS = spreads()


@given(SPREADS)
@example((("a", "a"), [1.0, 1.0], {"a": 5, "b": 1, "c": 1, "d": 2, "e": 2}))
def test_evening_makes_nobody_busier_than_the_busiest_was(
    spread: tuple[tuple[str, ...], list[float], dict[str, int]],
) -> None:
    owners, loads, weights = spread
    outcome = even(owners, loads, weights)
    after = max(shares(moved(owners, outcome.moves), loads, weights).values())
    assert outcome.least - SLACK <= after <= max(shares(*spread).values()) + SLACK
    assert len({move.bucket for move in outcome.moves}) == len(outcome.moves)


def test_what_nobody_could_carry_ends_no_evening() -> None:
    """Any host's key may say so, and who evens for ever beats no more."""
    loads, weights = [3.6e31, 12.5, 52.0, 339.0], {"a": 2, "b": 2, "c": 1, "d": 1}
    owners = tuple("cbdc")
    found = moved(owners, even(owners, loads, weights).moves)
    assert sorted(found) == [*"abcd"]


@given(SPREADS, st.sets(st.sampled_from("abcde"), max_size=2))
def test_a_period_moves_one_bucket_a_host_none_of_the_busy_and_never_too_far(
    spread: tuple[tuple[str, ...], list[float], dict[str, int]], busy: set[str]
) -> None:
    owners, loads, weights = spread
    outcome = even(owners, loads, weights)
    found = next_moves(outcome, owners, loads, weights, busy)
    given_by, taken_by = [m.source for m in found], [m.target for m in found]
    assert len(set(given_by)) == len(found) == len(set(taken_by))
    assert not busy & {*given_by, *taken_by}
    assert set(found) <= set(outcome.moves)
    before = max(shares(owners, loads, weights).values())
    after = max(shares(moved(owners, found), loads, weights).values())
    assert after <= max(before, EVEN, outcome.after) + SLACK


@settings(max_examples=30)
@given(SPREADS)
def test_it_comes_to_rest(
    spread: tuple[tuple[str, ...], list[float], dict[str, int]],
) -> None:
    owners, loads, weights = spread
    for begun in [False] + [True] * 200:
        outcome = even(owners, loads, weights)
        found = next_moves(outcome, owners, loads, weights)
        if not found or not is_worth(outcome, 0.0, begun=begun):
            return
        owners = moved(owners, found)
    pytest.fail("it moves buckets for ever")


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 100).map(float), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1),
)
def test_the_least_is_never_more_than_what_can_be(
    loads: list[float], weights: dict[str, int]
) -> None:
    ways = product(weights, repeat=len(loads))
    best = min(max(shares(way, loads, weights).values()) for way in ways)
    assert least(loads, weights) <= best + SLACK


def test_a_bucket_above_a_fair_share_is_left_alone_and_the_others_are_evened() -> None:
    weights = dict.fromkeys("abcd", 1)
    owners = tuple("aaaa" + "b" * 30 + "cccc" + "d")
    loads = [900.0, 10, 10, 10] + [10.0] * 30 + [10.0] * 4 + [10.0]
    outcome = even(owners, loads, weights)
    after = moved(owners, outcome.moves)
    assert outcome.least == pytest.approx(900 * 4 / 1280)
    assert [b for b, owner in enumerate(after) if owner == "a"] == [0]
    assert sorted(after.count(host) for host in "bcd") == [12, 13, 13]


def test_a_bucket_above_a_fair_share_goes_to_the_heaviest_host() -> None:
    outcome = even("ab" + "a" * 8, [500.0, 10] + [10.0] * 8, {"a": 1, "b": 3})
    assert Move(0, "a", "b") in outcome.moves


def test_what_is_even_enough_stays() -> None:
    weights = dict.fromkeys("ab", 1)
    outcome = even("ab" * 50, [1.03, 1.0] * 50, weights)
    assert outcome.moves == ()
    assert outcome.before == outcome.after
    assert not is_worth(outcome, 0.0, begun=True)


def test_what_chance_may_have_made_moves_nothing() -> None:
    outcome = Outcome((Move(0, "a", "b"),), 1.2, 1.0, 1.0)
    assert is_worth(outcome, 0.05, begun=False)
    assert not is_worth(outcome, 0.06, begun=False)
    assert is_worth(outcome, 0.06, begun=True)
    small = Outcome((Move(0, "a", "b"),), 1.0 + WORTH / 2, 1.0, 1.0)
    assert not is_worth(small, 0.0, begun=False)
    assert is_worth(small, 0.0, begun=True)


def test_two_large_buckets_change_places_at_once() -> None:
    owners, loads, weights = tuple("aabb"), [40.0, 40.0, 30.0, 30.0], {"a": 1, "b": 1}
    outcome = even(owners, loads, weights)
    found = next_moves(outcome, owners, loads, weights)
    assert sorted((move.source, move.target) for move in found) == [("a", "b"), ("b", "a")]
    assert not next_moves(outcome, owners, loads, weights, ["a"])


def test_what_the_dead_had_goes_where_there_is_room_and_nothing_else_moves() -> None:
    previous = tuple("aabbccc")
    owners = deal(previous, [9.0, 9, 4, 4, 5, 5, 5], {"a": 1, "b": 1, "c": 0}, b"")
    assert owners[:4] == previous[:4]
    assert owners[4:].count("b") == 3 or owners[4:].count("b") == 2
    assert set(owners[4:]) <= {"a", "b"}
    weights = {"x": 1, "y": 2}
    assert deal(previous, [1.0] * 7, weights, b"s") == assign(weights, 7, previous, salt=b"s")


def test_who_has_come_is_starved() -> None:
    weights = {"a": 1, "b": 1, "c": 1}
    assert even("aaabbb", [1.0] * 6, weights).starved == {"c"}
    assert not even("aaabbb", [0.0] * 6, weights).starved
    assert not even("abbb", [9.0, 1, 1, 1], {"a": 1, "b": 1}).starved  # nor can it have more


def test_a_measure_is_a_mean_at_first_and_then_forgets() -> None:
    measured, count = Measured(), 0
    for second in range(SPAN + 1):
        measured.look({7: count}, float(second), {})
        count += 100 if second % 2 else 300
    assert measured.rates[7] == pytest.approx(200, rel=0.05)
    assert measured.doubt == pytest.approx(100 / (2 * SPAN) ** 0.5, rel=0.3)
    for second in range(SPAN + 1, 6 * SPAN):
        count += 500
        measured.look({7: count}, float(second), {})
    assert measured.rates[7] == pytest.approx(500, rel=0.05)


def test_who_takes_a_bucket_over_goes_on_with_what_was_known() -> None:
    measured = Measured()
    for second, counts in enumerate(({1: 0}, {1: 10}, {1: 20, 2: 5000}, {1: 30, 2: 5010})):
        measured.look(counts, float(second), {2: 40.0})
    assert measured.rates[1] == 10
    assert 10 < measured.rates[2] < 40
    measured.look({1: 5, 2: 5020}, 4.0, {})  # rules were loaded again
    assert 5 < measured.rates[1] < 10


@pytest.mark.parametrize(
    ("skew", "hosts", "before", "after"),
    [(1.0, 8, 1.3, 1.05), (1.2, 4, 1.3, 1.06), (1.4, 8, 2.5, None)],
)
def test_skewed_load_is_evened(skew: float, hosts: int, before: float, after: float | None) -> None:
    """The whole of it: `make balance`."""
    found = settle(Scene(skew, hosts, clients=20_000, seed=3))
    assert found.before > before
    assert found.after <= max(1.05, found.least + 0.02 + SLACK)
    assert after is None or found.after <= after


@pytest.mark.parametrize(("heavy", "seed"), [(False, 7), (True, 1)])
def test_cpu_is_evened_where_packets_are_even_already_and_then_rests(
    *, heavy: bool, seed: int
) -> None:
    """The whole of it: `make balance`."""
    scene = Costs(buckets=64, dear=4, heavy=heavy, seed=seed)
    by_packets, by_cpu = Costly(scene), Costly(scene, by_cpu=True)
    for cluster in (by_packets, by_cpu):
        cluster.run(90)
    assert by_packets.busiest() > 1.15
    assert by_cpu.busiest() < by_cpu.least() + 0.06
    moved_before = by_cpu.moves
    by_cpu.run(90)
    assert by_cpu.moves == moved_before
    assert by_cpu.again <= 5


@given(SPREADS, st.sets(st.integers(0, 39)))
def test_what_is_to_stay_stays(
    spread: tuple[tuple[str, ...], list[float], dict[str, int]], staying: set[int]
) -> None:
    owners, loads, weights = spread
    staying &= set(range(len(owners)))
    outcome = even(owners, loads, weights, staying)
    assert not staying & {move.bucket for move in outcome.moves}
    after = max(shares(moved(owners, outcome.moves), loads, weights).values())
    assert after <= max(shares(*spread).values()) + SLACK


def test_nothing_swings_on_a_day_that_rises_and_falls() -> None:
    scene = Scene(1.0, 4, clients=5000, buckets=64, seed=2)
    found = day(scene)
    assert found.first > 0
    assert found.later <= 2
    assert found.again == 0
    assert found.worst <= max(1.1, found.least + 0.1)
