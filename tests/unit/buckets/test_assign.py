"""Owners of buckets, against optima computed here in another way.

Rule 1: nothing here asks `vipnft.buckets.assign` what the right answer is.
Rule 2: random sequences and names come from fixed seeds, so that a failure comes back.
"""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipnft.buckets import rendezvous
from vipnft.buckets.assign import Move, assign, moves
from vipnft.buckets.ranges import parse_ranges, ranges
from vipnft.errors import UsageError

Previous = Sequence[str | None]

WEIGHTS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.integers(0, 1000), min_size=1, max_size=8
).filter(lambda weights: any(weights.values()))
FEW_WEIGHTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 5), min_size=1).filter(
    lambda weights: any(weights.values())
)
SMALL = settings(max_examples=150)


def seeded(seed: int | str) -> random.Random:
    return random.Random(seed)


def quotas_hold(weights: Mapping[str, int], owners: Previous) -> bool:
    """Tell whether each count differs by less than one from size * weight / total."""
    total = sum(weights.values())
    counts = Counter(owners)
    return set(counts) <= set(weights) and all(
        abs(counts[name] * total - len(owners) * weight) < total for name, weight in weights.items()
    )


def fewest_moves(weights: Mapping[str, int], previous: Previous) -> int:
    """Return the closed form: what can't be kept, with ceilings where they keep one more."""
    size, total = len(previous), sum(weights.values())
    floors = {name: size * weight // total for name, weight in weights.items()}
    held = Counter(previous)
    helped = sum(
        1 for name, floor in floors.items() if held[name] > floor and size * weights[name] % total
    )
    kept = sum(min(held[name], floor) for name, floor in floors.items())
    return size - kept - min(helped, size - sum(floors.values()))


def changed(before: Previous, after: Previous) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


def mean_ratios(hosts: int, size: int, seeds: int) -> tuple[float, float]:
    """Return moves over the fewest possible when one of `hosts` + 1 comes, and when it goes."""
    come = gone = 0.0
    for seed in range(seeds):
        rng = seeded(f"{hosts} {size} {seed}")
        names = [f"{rng.getrandbits(48):x}" for _ in range(hosts + 1)]
        fewer, more = dict.fromkeys(names[1:], 1), dict.fromkeys(names, 1)
        without, whole = assign(fewer, size), assign(more, size)
        moved = changed(without, whole)
        come += moved / fewest_moves(more, without) / seeds
        gone += moved / fewest_moves(fewer, whole) / seeds
    return come, gone


# Quotas and the fewest moves


@SMALL
@given(WEIGHTS, st.integers(1, 300))
def test_fresh_split_meets_quotas(weights: dict[str, int], size: int) -> None:
    owners = assign(weights, size)
    assert len(owners) == size
    assert quotas_hold(weights, owners)


@settings(max_examples=60)
@given(FEW_WEIGHTS, st.lists(st.sampled_from(["a", "b", "c", "x", None]), min_size=1, max_size=6))
def test_brute_force_finds_nothing_with_fewer_moves(
    weights: dict[str, int], previous: list[str | None]
) -> None:
    every = product(weights, repeat=len(previous))
    fewest = min(changed(previous, owners) for owners in every if quotas_hold(weights, owners))
    owners = assign(weights, len(previous), previous)
    assert quotas_hold(weights, owners)
    assert changed(previous, owners) == fewest == fewest_moves(weights, previous)


@SMALL
@given(WEIGHTS, st.lists(st.sampled_from([*"abcdefgh", "gone", None]), min_size=1, max_size=200))
def test_resplit_moves_the_fewest_and_then_rests(
    weights: dict[str, int], previous: list[str | None]
) -> None:
    owners = assign(weights, len(previous), previous)
    assert quotas_hold(weights, owners)
    assert changed(previous, owners) == fewest_moves(weights, previous)
    assert assign(weights, len(previous), owners) == owners


def test_ten_thousand_sequences_of_joins_leaves_and_weights() -> None:
    rng = seeded(20240229)
    for _ in range(10_000):
        size = rng.randint(1, 24)
        weights = {name: rng.randint(1, 4) for name in rng.sample("abcdef", rng.randint(1, 4))}
        owners = assign(weights, size) if rng.random() < 0.1 else ("",) * size
        for _ in range(4):
            name = rng.choice("abcdef")
            if name in weights and len(weights) > 1 and rng.random() < 0.5:
                del weights[name]
            else:
                weights[name] = rng.choice((1, 1, 1, 2, 3, 7, 1000))
            before, owners = owners, assign(weights, size, owners)
            assert quotas_hold(weights, owners)
            assert changed(before, owners) == fewest_moves(weights, before)


def test_equal_weights_differ_by_at_most_one() -> None:
    for hosts in range(1, 40):
        counts = Counter(assign({f"h{i}": 3 for i in range(hosts)}, 256)).values()
        assert max(counts) - min(counts) <= 1


def test_weight_zero_owns_nothing_and_changes_nothing() -> None:
    assert assign({"a": 2, "b": 2, "off": 0}, 64) == assign({"a": 2, "b": 2}, 64)
    assert set(assign({"a": 1, "off": 0}, 8, ["off"] * 8)) == {"a"}


def test_the_larger_remainder_is_rounded_up() -> None:
    assert Counter(assign({"a": 3, "b": 1}, 3)) == {"a": 2, "b": 1}
    assert Counter(assign({"a": 3, "b": 1}, 3, [None] * 3)) == {"a": 2, "b": 1}


def test_a_new_host_takes_buckets_from_all_over() -> None:
    weights = dict.fromkeys("abcd", 1)
    before = assign(weights, 320)
    taken = [move.bucket for move in moves(before, assign(weights | {"e": 1}, 320, before))]
    assert len(taken) == 64
    assert 16 <= sum(bucket < 160 for bucket in taken) <= 48


def test_more_hosts_than_buckets_own_one_at_most() -> None:
    owners = assign({f"h{i}": 1 for i in range(300)}, 100)
    assert len(set(owners)) == 100


def test_a_dead_hosts_buckets_spread_over_the_others() -> None:
    weights = dict.fromkeys("abcde", 1)
    before = assign(weights, 320)
    del weights["c"]
    heirs = Counter(move.target for move in moves(before, assign(weights, 320, before)))
    assert heirs == dict.fromkeys("abde", 16)


# The split of hosts that never talk


@SMALL
@given(WEIGHTS, st.integers(1, 64), st.randoms(use_true_random=False))
def test_order_of_hosts_does_not_matter(
    weights: dict[str, int], size: int, rng: random.Random
) -> None:
    items = list(weights.items())
    rng.shuffle(items)
    previous = [rng.choice([*"abcxyz", None]) for _ in range(size)]
    assert assign(dict(items), size) == assign(weights, size)
    assert assign(dict(items), size, previous) == assign(weights, size, previous)


def test_same_in_every_process_and_version() -> None:
    """A change here moves clients when half the hosts are upgraded: say so in CHANGELOG."""
    want = "cabcccaacbccabcb"
    assert "".join(assign({"a": 1, "b": 1, "c": 2}, 16)) == want
    code = (
        "from vipnft.buckets.assign import *; print(''.join(assign({'c': 2, 'b': 1, 'a': 1}, 16)))"
    )
    for seed in "12":
        env = os.environ | {"PYTHONHASHSEED": seed}
        run = [sys.executable, "-c", code]
        assert subprocess.check_output(run, env=env, text=True).strip() == want


def test_split_when_the_nearest_hosts_do_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bucket then ranks all of them, and the quotas hold as ever."""
    names = {f"h{i}": i % 3 + 1 for i in range(40)}
    usual = assign(names, 300)
    monkeypatch.setattr(rendezvous, "_NEAR", 0)
    assert quotas_hold(names, assign(names, 300))
    monkeypatch.setattr(rendezvous, "_NEAR", 1000)
    assert assign(names, 300) == usual, "near enough is what all would give"


@pytest.mark.parametrize("hosts", range(2, 14))
def test_one_host_more_or_less_moves_little_of_256(hosts: int) -> None:
    assert max(mean_ratios(hosts, 256, seeds=10)) <= 1.5


@pytest.mark.parametrize("hosts", range(2, 33))
def test_one_host_more_or_less_moves_little_of_2048(hosts: int) -> None:
    assert max(mean_ratios(hosts, 2048, seeds=10 if hosts < 29 else 30)) <= 1.5


@pytest.mark.parametrize(("hosts", "limit"), [(16, 1.7), (24, 2.2), (32, 2.8)])
def test_256_buckets_are_too_few_for_many_hosts_that_never_talk(hosts: int, limit: float) -> None:
    """The known limit, so that it gets neither worse nor better unnoticed."""
    assert 1.4 < max(mean_ratios(hosts, 256, seeds=10)) <= limit


# Moves and ranges


def test_moves_lists_each_change() -> None:
    assert moves(["a", None, "b"], ("a", "a", "c")) == (Move(1, None, "a"), Move(2, "b", "c"))
    assert moves(["a"], ("a",)) == ()


@pytest.mark.parametrize(
    ("buckets", "text"),
    [
        ((), "none"),
        ((7,), "7"),
        ((0, 1), "0-1"),
        ((12, 9, 11, 10, 7, 3, 2, 1, 0, 7), "0-3,7,9-12"),
        (range(256), "0-255"),
    ],
)
def test_ranges(buckets: Sequence[int], text: str) -> None:
    assert ranges(buckets) == text
    assert parse_ranges(text, 256) == tuple(sorted(set(buckets)))


@given(st.sets(st.integers(0, 99)))
def test_ranges_round_trip(buckets: set[int]) -> None:
    text = ranges(buckets)
    assert parse_ranges(text, 100) == tuple(sorted(buckets))
    assert all(int(b) - int(a) > 1 for a, b in adjacent_ends(text))


def adjacent_ends(text: str) -> list[tuple[str, str]]:
    """Return each item's end and the next item's start."""
    items = text.split(",") if text != "none" else []
    return [(a.split("-")[-1], b.split("-")[0]) for a, b in pairwise(items)]


def test_parse_ranges_takes_what_people_type() -> None:
    assert parse_ranges(" 0-3, 2 ,7 ", 8) == (0, 1, 2, 3, 7)
    assert parse_ranges(" none ", 8) == ()


# Bad input


@pytest.mark.parametrize(
    "text", ["", "8", "0-8", "3-1", "-1", "1-", "x", "1,,2", "1 2", "0,none", "٣", "9" * 5000]
)
def test_parse_ranges_refuses(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_ranges(text, 8)
    assert "0-3,7" in error.value.fix


@pytest.mark.parametrize(
    ("weights", "size", "previous", "what"),
    [
        ({}, 4, None, "no host has a weight above 0"),
        ({"a": 0, "b": 0}, 4, None, "no host has a weight above 0"),
        ({"a": 0}, 4, ["a"] * 4, "no host has a weight above 0"),
        ({"a": -1}, 4, None, "'a' has weight -1"),
        ({"a": 1001}, 4, None, "'a' has weight 1001"),
        ({"a": 1}, 0, None, "0 buckets"),
        ({"a": 1}, 65537, None, "65537 buckets"),
        ({"a": 1}, 4, ["a"] * 3, "owners of 3 buckets, not 4"),
        ({"a": 1}, 4, [], "owners of 0 buckets, not 4"),
    ],
)
def test_assign_refuses(
    weights: dict[str, int], size: int, previous: list[str | None] | None, what: str
) -> None:
    with pytest.raises(UsageError, match=what) as error:
        assign(weights, size, previous)
    assert error.value.fix


def test_moves_refuses_lengths_that_differ() -> None:
    with pytest.raises(UsageError, match="owners of 1 buckets, not 2"):
        moves(["a"], ("a", "b"))


def test_closed_form_agrees_with_all_roundings() -> None:
    """The yardstick itself: try every choice of ceilings."""
    rng = seeded(7)
    for _ in range(300):
        weights = {name: rng.randint(1, 6) for name in "abcde"[: rng.randint(1, 5)]}
        previous = rng.choices([*"abcdef"], k=rng.randint(1, 20))
        size, total = len(previous), sum(weights.values())
        held = Counter(previous)
        floors = Counter({name: size * weight // total for name, weight in weights.items()})
        uneven = [name for name in weights if size * weights[name] % total]
        roundings = [
            floors + Counter(ceilings)
            for ceilings in combinations(uneven, size - sum(floors.values()))
        ]
        kept = max(sum((quotas & held).values()) for quotas in roundings)
        assert fewest_moves(weights, previous) == size - kept


def test_who_does_not_know_the_salt_can_not_tell_owners_from_names() -> None:
    """Two salts agree on as many buckets as chance would have it, and each is as even as none."""
    weights = {f"h{i}": 1 for i in range(4)}
    several = [assign(weights, 1024, salt=bytes([n]) * 16) for n in range(8)]
    several.append(assign(weights, 1024))
    for n, one in enumerate(several):
        assert quotas_hold(weights, one)
        for other in several[:n]:
            same = sum(a == b for a, b in zip(one, other, strict=True))
            assert 160 < same < 360, "of 1024, 256 by chance"


def test_with_a_salt_as_few_move_as_without() -> None:
    weights, salt = {f"h{i}": 1 for i in range(4)}, b"s" * 16
    before = assign(weights, 256, salt=salt)
    after = assign(weights | {"new": 1}, 256, before, salt=salt)
    assert len(moves(before, after)) == len(
        moves(assign(weights, 256), assign(weights | {"new": 1}, 256, assign(weights, 256)))
    )
    assert {move.target for move in moves(before, after)} == {"new"}
