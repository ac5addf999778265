"""What a host may promise, by what it has seen: no clock, nobody asks here."""

from vipnft.agreement.promises import Pledges, part
from vipnft.agreement.records import TABLE, Contact, Member, Table, key_of
from vipnft.model import Entry, Snapshot

CONTACT = Contact(("192.0.2.1",), 5520, "0a" * 16)


def seen(version: int, owners: str, drains: dict[int, frozenset[str]] | None = None) -> Snapshot:
    """Return a store with such a table, a key of b's, and one of c's, who promises nothing."""
    return {
        TABLE: Entry(Table(tuple(owners), drains or {}).dump(), version),
        key_of("b"): Entry(Member("b1", 1, 1.0, 1, contact=CONTACT).dump(), 1),
        key_of("c"): Entry(Member("c1", 1, 1.0, 1).dump(), 1),
    }


def pledges(*snapshots: Snapshot) -> Pledges:
    found = Pledges("a")
    found.fence()
    for snapshot in snapshots:
        found.look(snapshot, ())
    return found


def test_only_to_whom_it_knows_and_not_before_the_fence() -> None:
    known = pledges(seen(7, "abbc"))
    assert known.ground().promises("b", 7, "")
    assert not known.ground().promises("c", 7, "")
    known.lapse()
    assert not known.ground().promises("b", 7, "")


def test_nothing_to_whom_it_takes_over_from_until_that_is_known() -> None:
    known = pledges(seen(7, "abbc"))
    known.refuse(frozenset({"b"}))
    assert not known.ground().promises("b", 7, "")
    known.spare(frozenset({"b"}))
    assert known.ground().promises("b", 7, "")


def test_an_older_table_will_do_where_nothing_was_taken_from_it_since() -> None:
    mine = part({1, 2}, ())
    assert pledges(seen(7, "abbc")).ground().promises("b", 8, "whatever")
    assert pledges(seen(7, "abbc")).ground().promises("b", 6, mine)
    assert not pledges(seen(7, "abac")).ground().promises("b", 6, mine)
    drained = {3: frozenset({"b"})}
    assert not pledges(seen(7, "abbc", drained)).ground().promises("b", 6, mine)
    assert pledges(seen(7, "abbc", drained)).ground().promises("b", 6, part({1, 2}, {3}))


def test_so_will_what_it_had_before_it_was_given_more_until_it_is_long_deaf() -> None:
    """Else a host that is given a bucket as the store goes away loses all the others."""
    before, after = seen(7, "abbc"), seen(8, "bbbc")
    known = pledges(before, after)
    assert known.ground().promises("b", 7, part({1, 2}, ()))
    known.look(after, {"b"})  # nobody serves that bucket: it is to be taken over from
    assert not known.ground().promises("b", 7, part({1, 2}, ()))
    taken = pledges(before, seen(8, "abac"), seen(9, "abbc"), seen(10, "bbbc"))
    assert taken.ground().promises("b", 9, part({1, 2}, ()))
    assert not pledges(before, seen(8, "bbac")).ground().promises("b", 7, part({1, 2}, ()))


def test_nothing_while_there_is_no_table() -> None:
    known = pledges(seen(7, "abbc"))
    gone = {key: entry for key, entry in seen(7, "abbc").items() if key != TABLE}
    known.look(gone, ())
    assert not known.ground().promises("b", 7, part({1, 2}, ()))
