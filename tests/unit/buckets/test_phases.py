"""Phases follow from owners and drains; moves keep the invariant in every order of hosts."""

import random

import pytest

from tests.samples import small
from vipnft.buckets.assign import assign
from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State, given, move, owners_of, phases
from vipnft.model import Drains


def states(owners: tuple[str, ...], drains: Drains, me: str, now: float) -> list[str]:
    return [phase.state for phase in phases(owners, drains, me, now)]


def test_a_move_drains_here_and_joins_there() -> None:
    before, after = ("a", "a", "b"), ("a", "b", "b")
    drains = move(before, after, {}, now=100, drain=60)
    assert drains == {1: {"a": 160}}
    assert phases(after, drains, "a", 130) == (OWNED, Phase(State.DRAINING, 30), FOREIGN)
    assert phases(after, drains, "b", 130) == (FOREIGN, Phase(State.JOINING, 30), OWNED)
    assert states(after, drains, "c", 130) == ["foreign"] * 3
    assert phases(after, drains, "a", 160) == (OWNED, FOREIGN, FOREIGN)
    assert phases(after, drains, "b", 160) == (FOREIGN, OWNED, OWNED)


def test_without_a_drain_it_goes_at_once() -> None:
    drains = move(("a",), ("b",), {}, now=0, drain=0)
    assert drains == {}
    assert states(("b",), drains, "a", 0) == ["foreign"]
    assert states(("b",), drains, "b", 0) == ["owned"]


def test_a_dead_host_drains_nothing() -> None:
    """Its bucket is owned at once; also what it was still draining for others."""
    first = move(("a", "x"), ("d", "x"), {}, now=0, drain=60)
    drains = move(("d", "x"), ("b", "b"), first, now=10, drain=60, dead=("d", "x"))
    assert states(("b", "b"), drains, "b", 10) == ["joining", "owned"], "a still drains bucket 0"
    drains = move(("d", "x"), ("b", "b"), first, now=10, drain=60, dead=("d", "a", "x"))
    assert states(("b", "b"), drains, "b", 10) == ["owned", "owned"]


def test_a_bucket_that_moves_on_is_drained_by_all_before() -> None:
    drains = move(("a",), ("b",), {}, now=0, drain=60)
    drains = move(("b",), ("c",), drains, now=10, drain=60)
    assert [states(("c",), drains, host, 20)[0] for host in "abc"] == [
        "draining",
        "draining",
        "joining",
    ]
    assert phases(("c",), drains, "c", 20) == (Phase(State.JOINING, 50),)
    back = move(("c",), ("a",), drains, now=30, drain=60)
    assert back == {0: {"b": 70, "c": 90}}, "a owns again what it drained"


def test_what_is_over_is_forgotten() -> None:
    drains = move(("a",), ("b",), {}, now=0, drain=60)
    assert move(("b",), ("b",), drains, now=61, drain=60) == {}


def test_of_the_dead_only_their_buckets_move() -> None:
    for dead in ({"web1"}, {"web1", "web3"}):
        cluster = small(hosts=5)
        before, after = owners_of(cluster), owners_of(cluster, dead)
        assert not dead & set(after)
        assert all(old in dead for old, new in zip(before, after, strict=True) if old != new)
        assert owners_of(cluster, {"nobody"}) == before


def test_given() -> None:
    assert given(("a", "b", "c"), [0, 2], "d") == ("d", "b", "d")


def test_never_two_owners_in_ten_thousand_random_moves() -> None:
    """Hosts hear of each change in any order, givers first: no two take what is new."""
    draw = random.Random(3)
    names = ["a", "b", "c", "d"]
    owners = assign(dict.fromkeys(names, 1), 16)
    known = dict.fromkeys(names, owners)  # what each host has heard
    drains: dict[str, Drains] = {name: {} for name in names}
    now = 0.0
    for _ in range(10_000):
        now += draw.uniform(0, 40)
        bucket, target = draw.randrange(16), draw.choice(names)
        after = given(owners, [bucket], target)
        giver = owners[bucket]
        for host in [giver, *draw.sample(names, 4)]:
            drains[host] = move(known[host], after, drains[host], now=now, drain=60)
            known[host] = after
            taking = [
                n
                for n in names
                if states(known[n], drains[n], n, now)[bucket] in {"owned", "joining"}
            ]
            assert len(taking) <= 1
            draining = states(known[giver], drains[giver], giver, now)[bucket] == "draining"
            owned = [n for n in names if states(known[n], drains[n], n, now)[bucket] == "owned"]
            assert not (draining and owned), "a drained bucket's new owner must not reset it"
        owners = after


@pytest.mark.parametrize("left", [0.5, 300.0])
def test_phases_with_time_left_compare_by_value(left: float) -> None:
    assert Phase(State.JOINING, left) == Phase(State.JOINING, left) != OWNED
