"""What anybody may have written into the store, against an agent: none of it ends one, nor makes
it wait past the longest lease."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.alone import BUCKETS, HOSTS, LEASE, One
from vipnft.agreement.effects import Wish
from vipnft.agreement.records import (
    TABLE,
    Contact,
    Member,
    Order,
    Standing,
    Table,
    key_of,
    order_of,
    patience,
    strangers,
)
from vipnft.model import Entry

LONGEST, BEAT = 60.0, 0.2
GOOD = json.loads(Member("evil", 7, LEASE, 2).dump())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
JUNK = st.one_of(
    st.binary(),
    st.just(b"[" * 100_000),
    JSON.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.sampled_from(sorted(GOOD)), JSON).map(
        lambda d: json.dumps(GOOD | d).encode()
    ),
    st.builds(
        Member,
        st.sampled_from(["evil", "a1"]),
        st.integers(0, 9),
        st.floats(0.2, LONGEST),
        st.integers(0, 1000),
        st.sampled_from(Standing),
        st.booleans(),
        st.integers(0, 2**60),
    ).map(Member.dump),
    st.builds(
        Member,
        st.sampled_from(["evil", "a1"]),
        st.integers(0, 9),
        st.floats(0.2, LONGEST),
        st.integers(0, 1000),
        knows=st.frozensets(st.sampled_from(["a", "b", "evil"])),
        contact=st.just(Contact(("192.0.2.1",), 5520, "0a" * 16)),
    ).map(Member.dump),
    st.builds(Order, st.none() | st.integers(1, 1000), st.just(False)).map(Order.dump),
)
KEYS = ("host/a", "host/b", "host/evil", "host/", "host/a\n", "order/a", "order/evil", "x/y", "")


@given(st.dictionaries(st.sampled_from(KEYS), JUNK), st.booleans())
@settings(deadline=None)
def test_no_key_ends_an_agent_or_makes_it_wait_past_the_longest_lease(
    keys: dict[str, bytes], early: bool
) -> None:
    one = One()
    if not early:
        one.run(5)
        assert one.serves()
    for key, value in keys.items():
        one.put(key, value)
    one.run(2 * patience(LONGEST) + 5)  # who beat under its name, then who owned all before
    assert one.serves()


@given(JUNK, st.booleans())
@settings(deadline=None)
def test_no_table_ends_an_agent(value: bytes, early: bool) -> None:
    one = One()
    one.run(0 if early else 5)
    one.put(TABLE, value)
    one.run(5)
    one.store.pop(TABLE, None)
    one.run(patience(LEASE) + 5)
    assert one.serves()


@pytest.mark.parametrize("hold", [False, True])
def test_a_host_in_nobodys_file_is_given_nothing(hold: bool) -> None:
    one = One()
    for number in range(200):
        one.put(key_of("evil"), Member("evil1", number, LEASE, 1000, hold_on_loss=hold).dump())
        one.run(BEAT)
    assert one.serves()


def test_what_such_a_host_owns_is_taken_once_it_is_silent() -> None:
    one = One()
    one.run(5)
    one.put(TABLE, Table(("evil",) * BUCKETS, {0: frozenset({"ghost"})}).dump())
    one.put(key_of("evil"), Member("evil1", 1, LONGEST, 1).dump())
    one.run(patience(LONGEST) + 5)
    assert one.serves()


def test_such_a_host_does_not_keep_one_that_is_to_stop() -> None:
    one = One()
    one.run(5)
    one.put(key_of("evil"), Member("evil1", 1, LEASE, 1).dump())
    one.put(key_of("b"), Member("dead", 1, LEASE, 1).dump())
    one.wish = Wish(1, Standing.STOPPING)
    one.run(patience(LEASE) + 5)
    assert one.ended


def test_another_lifes_key_costs_its_lease_and_no_more() -> None:
    one = One()
    one.run(5)
    one.put(key_of("a"), Member("evil1", 1, 5.0, 1).dump())
    one.run(1)
    assert not one.serves()
    one.run(patience(5.0) + 2 * LEASE)
    assert one.serves()
    assert len([note for note in one.notes if "another agent's key" in note]) == 1


def test_keys_that_are_nobodys_are_named() -> None:
    good, bad = Member("x", 1, LEASE, 1).dump(), b"{"
    snapshot = {
        TABLE: Entry(b"", 1),
        key_of("a"): Entry(good, 2),
        key_of("b"): Entry(bad, 3),
        key_of("evil"): Entry(good, 4),
        order_of("a"): Entry(bad, 5),
        order_of("b"): Entry(Order(3).dump(), 6),
        "x": Entry(b"", 7),
    }
    assert strangers(snapshot, HOSTS) == ["host/b", "host/evil", "order/a", "x"]
