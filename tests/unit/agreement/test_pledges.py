"""What a host may promise, by what it has seen: no clock, nobody asks here."""

from collections.abc import Mapping

from vipnft.agreement.promises import Pledges, Reason, part
from vipnft.agreement.records import TABLE, Contact, Member, Table, key_of
from vipnft.model import Entry, Snapshot

NONE: Mapping[int, frozenset[str]] = {}
CONTACT = Contact(("192.0.2.1",), 5520, "0a" * 16)


def seen(version: int, table: str | Table, drains: Mapping[int, frozenset[str]] = NONE) -> Snapshot:
    """Return a store with such a table, a key of b's, and one of c's, who promises nothing."""
    if isinstance(table, str):
        table = Table(tuple(table), drains)
    return {
        TABLE: Entry(table.dump(), version),
        key_of("b"): Entry(Member("b1", 1, 1.0, 1, contact=CONTACT).dump(), 1),
        key_of("c"): Entry(Member("c1", 1, 1.0, 1).dump(), 1),
    }


def pledges(*snapshots: Snapshot) -> Pledges:
    found = Pledges("a")
    found.fence()
    for snapshot in snapshots:
        found.look(snapshot, ())
    return found


def promises(known: Pledges, host: str, version: int, held: str) -> bool:
    return known.ground().refusal(host, version, held) is None


def test_only_to_whom_it_knows_and_not_before_the_fence() -> None:
    known = pledges(seen(7, "abbc"))
    assert promises(known, "b", 7, "")
    assert not promises(known, "c", 7, "")
    known.lapse()
    assert not promises(known, "b", 7, "")


def test_nothing_to_whom_it_takes_over_from_until_that_is_known() -> None:
    known = pledges(seen(7, "abbc"))
    known.refuse(frozenset({"b"}))
    assert not promises(known, "b", 7, "")
    known.spare(frozenset({"b"}))
    assert promises(known, "b", 7, "")


def test_an_older_table_will_do_where_nothing_was_taken_from_it_since() -> None:
    mine = part({1, 2}, ())
    assert promises(pledges(seen(7, "abbc")), "b", 8, "whatever")
    assert promises(pledges(seen(7, "abbc")), "b", 6, mine)
    assert not promises(pledges(seen(7, "abac")), "b", 6, mine)
    drained = {3: frozenset({"b"})}
    assert not promises(pledges(seen(7, "abbc", drained)), "b", 6, mine)
    assert promises(pledges(seen(7, "abbc", drained)), "b", 6, part({1, 2}, {3}))


def test_so_will_what_it_had_before_it_was_given_more_until_it_is_long_deaf() -> None:
    """Else a host that is given a bucket as the store goes away loses all the others; whether the
    promiser saw each table between, or none."""
    before = Table(tuple("abbc")).then(6, tuple("abbc"), NONE)
    after = before.then(7, tuple("bbbc"), NONE)
    last = after.then(8, tuple("bbbb"), NONE)
    for known in (
        pledges(seen(7, before), seen(8, after)),
        pledges(seen(7, before), seen(8, after), seen(9, last)),
        pledges(seen(7, before), seen(9, last)),
        pledges(seen(9, last)),
    ):
        assert promises(known, "b", 7, part({1, 2}, ()))
        assert promises(known, "b", 6, part({1, 2}, ()))
        assert not promises(known, "b", 5, part({1, 2}, ())), "older than anything that is told"
    known.look(seen(9, last), {"b"})  # nobody serves those buckets: they are to be taken over
    assert not promises(known, "b", 7, part({1, 2}, ()))


def test_nothing_to_whom_it_was_taken_over_from_since() -> None:
    before = Table(tuple("abbc")).then(6, tuple("abbc"), NONE)
    taken = before.then(7, tuple("aacc"), NONE, {"b"})
    again = taken.then(8, tuple("abac"), NONE)
    for table, version in (taken, 8), (again, 9), (again.then(9, tuple("abab"), NONE), 10):
        known = pledges(seen(version, table))
        assert not promises(known, "b", 7, part({1, 2}, ()))
        assert promises(known, "b", 8, part((), ()))


def test_nor_where_an_older_agent_wrote_what_tells_nothing() -> None:
    before = Table(tuple("abbc")).then(6, tuple("abbc"), NONE)
    older = Table(tuple("aabc"))
    known = pledges(seen(7, before), seen(8, older))
    assert not promises(known, "b", 7, part({1, 2}, ()))
    known.look(seen(9, older.then(8, tuple("aabb"), NONE)), ())
    assert not promises(known, "b", 7, part({1, 2}, ()))
    assert promises(known, "b", 8, part({2}, ()))


def test_nothing_by_a_table_after_which_it_was_seen_to_have_less() -> None:
    """Nobody took it, by what is told: so somebody has put a table of the past back, as a newer
    version or an older one."""
    past = Table(tuple("aabc")).then(3, tuple("aabc"), NONE)
    now = past.then(6, tuple("abbc"), NONE)
    for version in 9, 5:
        known = pledges(seen(7, now), seen(version, past))
        assert not promises(known, "b", 7, part({1, 2}, ()))
        assert promises(known, "b", 7, part({2}, ())), "it has let go of it by its own hand"
        assert promises(known, "b", version, part({2}, ()))
        known.look(seen(10, past.then(version, tuple("aabb"), NONE)), ())
        assert not promises(known, "b", 7, part({1, 2}, ()))
        assert promises(known, "b", 10, part({2, 3}, ()))
        assert promises(known, "b", 11, "whatever")


def test_who_gave_by_its_own_hand_and_does_not_know_has_less() -> None:
    """Its kernel let go of bucket 1 first; then it was given bucket 3."""
    before = Table(tuple("abbc")).then(6, tuple("abbc"), NONE)
    gave = before.then(7, tuple("aabc"), NONE)
    more = gave.then(8, tuple("aabb"), NONE)
    known = pledges(seen(7, before), seen(8, gave), seen(9, more))
    assert promises(known, "b", 7, part({2}, ()))
    assert not promises(known, "b", 7, part({1, 2}, ()))
    known.look(seen(10, more.then(9, tuple("aabc"), NONE, {"b"})), ())
    assert not promises(known, "b", 7, part({2, 3}, ()))


def test_it_says_why_not() -> None:
    known = pledges(seen(7, "abbc"))
    assert known.ground().refusal("b", 7, "") is None
    assert known.ground().refusal("b", 6, "") is Reason.TAKEN
    known.refuse(frozenset({"b"}))
    assert known.ground().refusal("b", 7, "") is Reason.TAKES_OVER
    assert Pledges("a").ground().refusal("b", 7, "") is Reason.BEGUN


def test_nothing_while_there_is_no_table() -> None:
    known = pledges(seen(7, "abbc"))
    gone = {key: entry for key, entry in seen(7, "abbc").items() if key != TABLE}
    known.look(gone, ())
    assert not promises(known, "b", 7, part({1, 2}, ()))
