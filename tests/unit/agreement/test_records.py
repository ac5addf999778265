"""What stands in the store: read as it was written, and as absent where no agent could have."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.agreement.loads import Load, Spending
from vipnft.agreement.records import (
    TABLE,
    AgreementError,
    Contact,
    Member,
    Order,
    Standing,
    Table,
    members,
    order,
    patience,
    require_legible,
    weights,
)
from vipnft.model import Entry

GOOD = {
    "incarnation": "a1b2", "beat": 7, "lease": 1.0, "weight": 2, "standing": "serving",
    "hold": False, "taken": 9, "knows": ["b"], "contact": None,
    "unheard": [], "carries": "", "cpu": None,
}  # fmt: skip
JUNK: list[Any] = [
    None, True, -1, 1001, 2**63, 10**400, 0.1, 61, 1e9, float("inf"), float("nan"), "", "1",
    "x" * 5000, "a\nb", "\x1b[31m", [], {}, [[[]]],
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_member_is_written_as_its_format_says() -> None:
    member = Member("a1b2", 7, 1.0, 2, Standing.SERVING, False, 9, frozenset({"b"}))
    assert json.loads(member.dump()) == GOOD
    assert Member.load(member.dump()) == member


def test_agents_that_know_of_no_promises_take_one_that_asks_for_one_that_holds() -> None:
    """They would take over from it by its silence else, though it named them not."""
    contact = Contact(("192.0.2.1", "2001:db8::1"), 5520, "0a" * 16)
    member = Member("a1b2", 7, 1.0, 2, knows=frozenset({"b"}), contact=contact)
    assert json.loads(member.dump())["hold"] is True
    assert Member.load(member.dump()) == member
    assert member.yields_to("b")
    assert not member.yields_to("c")


def test_what_an_older_agent_wrote_promises_nothing_and_yields_to_everybody() -> None:
    old = {key: GOOD[key] for key in list(GOOD)[:7]}
    member = Member.load(json.dumps(old).encode())
    assert member is not None
    assert (member.contact, member.knows) == (None, frozenset())
    assert member.yields_to("c")


@pytest.mark.parametrize(
    "contact",
    [
        {"addresses": [], "port": 1, "secret": "0a" * 16},
        {"addresses": ["192.0.2.1"] * 9, "port": 1, "secret": "0a" * 16},
        {"addresses": ["web1"], "port": 1, "secret": "0a" * 16},
        {"addresses": ["192.0.2.1"], "port": 0, "secret": "0a" * 16},
        {"addresses": ["192.0.2.1"], "port": 65536, "secret": "0a" * 16},
        {"addresses": ["192.0.2.1"], "port": 1, "secret": "0a"},
        {"addresses": ["192.0.2.1"], "port": 1},
        *JUNK[1:],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_contact_at_which_nobody_could_be_asked_makes_no_member(contact: Any) -> None:
    assert Member.load(json.dumps(GOOD | {"contact": contact}).encode()) is None


@pytest.mark.parametrize("carries", [None, 1, -1.5, True, [], {}, "x", "é", "AAAA", "/" * 28])
def test_a_load_that_can_not_be_read_is_none_and_its_host_is_there(carries: Any) -> None:
    found = Member.load(json.dumps(GOOD | {"carries": carries}).encode())
    assert found == Member.load(json.dumps(GOOD).encode()) is not None


@pytest.mark.parametrize(
    "cpu",
    ["", {}, [], 1, True, None, "1 2 3", [1.0, 2.0], [1, 2, -3], [1, 2, True], [1, 2, 10**400]],
)
def test_cpu_that_can_not_be_read_is_not_told_and_the_load_is_there(cpu: Any) -> None:
    load = Load.of(60.0, 5, {1: 10.0}, 0.5)
    telling = Member("a1b2", 7, 1.0, 2, carries=replace(load, spent=Spending(0.5, 80.0, 0.01)))
    assert Member.load(telling.dump()) == telling
    key = json.loads(telling.dump())
    without = Member.load(json.dumps(key | {"cpu": cpu}).encode())
    del key["cpu"]  # as older agents write it
    assert without == Member.load(json.dumps(key).encode()) == replace(telling, carries=load)


def test_of_cpu_next_to_nothing_is_nothing() -> None:
    assert Spending.read([2e-4, 1e-300, 5e-324]) == (2e-4, 0.0, 0.0)
    for much in (float("nan"), float("inf"), 1e300):
        assert Spending.read([much, 1.0, 0.0]) is None


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("value", JUNK, ids=lambda value: repr(value)[:20])
def test_a_member_that_nobody_could_have_written_is_none(key: str, value: Any) -> None:
    found = Member.load(json.dumps(GOOD | {key: value}).encode())
    if found is not None:  # it may be a word or a number that will do
        assert 0 <= found.weight <= 1000
        assert patience(found.lease) <= patience(60.0)
        assert found.incarnation.isprintable()
        assert 0 <= found.beat < 2**63
        assert 0 <= found.taken < 2**63


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "x" * 64, "web1\nweb2", "\x1b]0;title\x07", "?never", "\u0430"]
)
def test_a_host_that_no_file_could_name_is_none(host: str) -> None:
    entry = Entry(json.dumps(GOOD).encode(), 1)
    assert set(members({f"host/{host}": entry, "host/web1": entry})) == {"web1"}


def fault(read: Callable[[], object]) -> str:
    """Return what is wrong with what is read, "" if nothing is."""
    try:
        read()
    except AgreementError as error:
        return str(error)
    return ""


def nested(depth: int) -> bytes:
    return b"[" * depth


@given(st.one_of(st.binary(), JSON.map(lambda v: json.dumps(v).encode()), st.just(nested(100_000))))
def test_no_bytes_are_more_than_an_error(value: bytes) -> None:
    entry = Entry(value, 3)
    snapshot = {"host/a": entry, "order/a": entry, "order/b": entry, TABLE: entry}
    for member in members(snapshot).values():
        assert member.lease <= 60
    weight = order(snapshot, "a").weight
    assert weight is None or 0 <= weight <= 1000
    assert fault(lambda: require_legible(snapshot, "0x1/2", 2)).isprintable()


@given(
    st.fixed_dictionaries(
        {
            "format": JSON | st.just(2),
            "deal": JSON | st.just("0x1/2"),
            "owners": JSON | st.lists(st.sampled_from(["a", "?x.1", "b c", "", None, 1, ["a"]])),
            "drains": JSON | st.dictionaries(st.text(), JSON),
        },
        optional={
            "since": JSON | st.integers(-1, 2**64),
            "takeovers": JSON
            | st.dictionaries(st.sampled_from(["a", "?x.1", "b c", ""]), st.integers(-1, 2**64)),
        },
    )
)
def test_a_table_is_whole_or_an_error(document: dict[str, Any]) -> None:
    value = json.dumps(document).encode()
    if why := fault(lambda: Table.load(value)):
        assert why.isprintable()
        return
    table = Table.load(value)
    assert table.owners
    assert all(0 <= b < len(table.owners) for b in table.drains)
    assert Table.load(table.dump()) == table
    after = table.then(7, table.owners, table.drains, {"c"})
    assert Table.load(after.dump()) == after


@pytest.mark.parametrize("value", [True, -1, 2**63, 10**400, 0.5, float("nan"), "1", [], ["b"]])
def test_a_table_that_tells_what_can_not_be_is_an_error(value: Any) -> None:
    good = json.loads(Table(("a", "b")).then(6, ("a", "b"), {}, {"c"}).dump())
    for wrong in {"since": value}, {"takeovers": value}, {"takeovers": {"c": value}}:
        with pytest.raises(AgreementError):
            Table.load(json.dumps(good | wrong).encode())


@pytest.mark.parametrize("host", ["", "c d", "c\n", "\ud800", "c" * 1000])
def test_a_table_that_tells_of_who_can_not_be_is_an_error(host: str) -> None:
    good = json.loads(Table(("a", "b")).dump())
    with pytest.raises(AgreementError):
        Table.load(json.dumps(good | {"takeovers": {host: 1}}).encode())


def test_a_table_tells_of_the_last_thousand_hosts_and_no_more_than_it_knows() -> None:
    table = Table(("a", "b"))
    for version in range(5, 1505):
        table = table.then(version, table.owners, {}, {f"h{version}"})
    assert len(table.takeovers) == 1000
    assert len(table.dump()) < 20_000
    for version in range(5, 1505):
        host = f"h{version}"
        assert not any(table.spared(host, old) for old in range(version - 3, version + 1))
        assert table.spared(host, max(version + 1, 505))
    assert [table.spared("b", version) for version in (504, 505)] == [False, True]


def test_an_order_reads_as_it_was_written() -> None:
    for known in (Order(), Order(0), Order(1000, True), Order(off=0), Order(1, True, 7)):
        assert Order.load(known.dump()) == known
    assert Order.load(b'{"weight": 1001, "drained": true}') == Order()


def test_who_settles_takes_nothing_while_anybody_serves_and_all_before_who_fails() -> None:
    def shares(*standings: Standing) -> list[int]:
        return list(
            weights(
                {str(n): Member("i", 1, 1.0, 1, standing) for n, standing in enumerate(standings)}
            ).values()
        )

    assert shares(Standing.SERVING, Standing.SETTLING) == [1, 0]
    assert shares(Standing.SETTLING, Standing.SETTLING, Standing.FAILING) == [1, 1, 0]
    assert shares(Standing.STOPPING, Standing.SETTLING, Standing.DRAINED) == [0, 1, 0]
