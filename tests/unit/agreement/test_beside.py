"""One agent's own steps beside hosts that beat as the test says, without any chance."""

from collections.abc import Callable
from typing import Any

import pytest

from vipnft.agreement import records
from vipnft.agreement.effects import Params, Reply, Transact, Wait, Wish
from vipnft.agreement.outlook import Outlook
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import Member, Table, key_of
from vipnft.model import Entry

BUCKETS = 4
LEASE = 1.0
NAMES = ("a", "b", "c")


def beside(
    beats: Callable[[int], bool],
    weight: Callable[[int], int],
    *,
    hold: bool = False,
    third: bool = False,
) -> list[tuple[str, ...]]:
    """Run a, who owns all, for 400 turns beside a key of b's, which moves in those turns in which
    it beats, and of a `third` host that always does; return the owners in each."""
    store = {records.TABLE: Entry(Table(("a",) * BUCKETS).dump(), 1)}
    version, now, owners = 2, 0.0, []
    store[key_of("b")] = Entry(Member("b1", 7, LEASE, 1, hold_on_loss=hold).dump(), 2)
    life = Life(Params("a", "a1", LEASE, BUCKETS, frozenset(NAMES), hold_on_loss=hold), Wish(1))
    live = life.live()
    effect = next(live)
    for turn in range(400):
        result: Any = None
        if isinstance(effect, Transact):
            now += 0.001
            done = all(
                (store[k].version if k in store else 0) == v for k, v in effect.versions.items()
            )
            for key, value in effect.puts.items() if done else ():
                version += 1
                assert value is not None
                store[key] = Entry(value, version)
            result = Reply(done, dict(store), now)
        elif isinstance(effect, Wait):
            now += LEASE / 10
            result = Wish(weight(turn))
            for host in ["b"] * beats(turn) + ["c"] * third:
                version += 1
                member = Member(f"{host}1", turn, LEASE, 1, hold_on_loss=hold)
                store[key_of(host)] = Entry(member.dump(), version)
        effect = live.send(result)
        owners.append(Table.load(store[records.TABLE].value).owners)
    return owners


def test_what_those_own_that_can_not_hear_stays_and_the_rest_is_shared() -> None:
    """c can't hear, b is gone: its three buckets go to a and d by what is left, none from c."""
    owners = ("a", "b", "b", "b", "c", "d")
    target = Outlook("a").target({"a": 1, "c": 0, "d": 1}, owners, None, {"c"})
    assert target[4] == "c"
    assert sorted((target.count("a"), target.count("d"))) == [2, 3]
    assert target[0] == "a"
    assert target[5] == "d"


def test_who_was_not_seen_to_move_is_given_nothing() -> None:
    """A key that stands there may be of a host that is dead for long: an agent that starts beside
    one keeps its buckets; once the key moves, it shares them."""
    owners = beside(lambda turn: turn > 200, lambda _: 1)
    assert {*owners[:200]} == {("a",) * BUCKETS}
    assert owners[-1].count("b") == 2


@pytest.mark.parametrize("last", [190, 140])
def test_who_holds_and_can_not_hear_is_given_nothing(last: int) -> None:
    """a, who weighs nothing from turn 200 on, keeps what it has left: b is not dead, but it would
    not take it, and the buckets would be dark."""
    owners = beside(lambda turn: turn < last, lambda turn: int(turn < 200), hold=True)
    assert owners[last].count("b") == 2
    assert {*owners[last:]} == {owners[last]}
    assert beside(lambda _: True, lambda turn: int(turn < 200), hold=True)[-1] == ("b",) * BUCKETS


def test_who_holds_and_can_not_hear_gets_nothing_of_what_others_can_take() -> None:
    """b's share of what a gives goes to c."""
    owners = beside(lambda turn: turn < 140, lambda turn: int(turn < 200), hold=True, third=True)
    assert "a" in owners[199]
    assert (owners[-1].count("a"), owners[-1].count("b")) == (0, owners[140].count("b"))
