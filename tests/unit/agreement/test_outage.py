"""Failsafe in time: hosts paced as real agents are, while the store is away, for all or for some.

Nobody falls silent without need; who must, does within a lease, and comes back.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.unit.agreement.stage import BEAT, Stage
from tests.unit.agreement.world import BUCKETS, LEASE, NAMES, Host, OverlapError
from vipnft.agreement import key, records
from vipnft.agreement.effects import Grant, Note, Params, Reply, Stand, Transact, Wait, Wish
from vipnft.agreement.promises import Pledges
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import TABLE, Member, Standing, Table, key_of, patience

NEVER = 0.01  # seconds without an answer: less than any gap that is one
SEEDS = range(3)


def settled(seed: int = 0, names: Iterable[str] = NAMES) -> Stage:
    stage = Stage(seed)
    stage.begin(*names)
    stage.run(8)
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    stage.forget()
    return stage


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("hosts", [NAMES, ("b",), ("a", "c")])
@pytest.mark.parametrize("how", ["away", "mute"])
def test_nobody_is_silent_while_all_hear_each_other(
    how: str, hosts: tuple[str, ...], seed: int
) -> None:
    """Neither without the store, nor where it answers and takes nothing, nor on its return."""
    stage = settled(seed)
    getattr(stage, how).update(dict.fromkeys(hosts, stage.now + 15))
    stage.run(20)
    assert stage.dark < NEVER
    assert stage.by_promise > 15 * len(hosts)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_dead_before_is_not_asked_in_the_next_outage_nor_the_one_after(seed: int) -> None:
    """Though with each return of the store all have their patience again."""
    stage = settled(seed)
    stage.kill(stage.hosts["d"])
    stage.run(8)
    stage.forget()
    for _ in range(3):
        stage.away = dict.fromkeys(NAMES, stage.now + 3)
        stage.run(3.5)
    assert stage.dark < NEVER


@pytest.mark.parametrize("seed", SEEDS)
def test_a_host_that_dies_in_an_outage_silences_all_until_the_store_is_back(seed: int) -> None:
    stage = settled(seed)
    back = stage.now + 10
    stage.away = dict.fromkeys(NAMES, back)
    stage.run(3)
    stage.kill(stage.hosts["c"])
    stage.run(LEASE)
    assert stage.serving() == {}
    stage.run(back - stage.now)
    assert stage.serving() == {}
    stage.run(2)
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    assert "c" not in stage.serving().values()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", [("b", "c"), ("c", "b")])
def test_who_can_not_reach_the_store_nor_one_host_is_silent_and_replaced(
    way: tuple[str, str], seed: int
) -> None:
    stage = settled(seed)
    stage.away["b"] = stage.cut[way] = stage.now + 10
    stage.run(LEASE)
    assert "b" not in stage.serving().values()
    stage.run(2 * patience(LEASE))
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    stage.run(15)
    assert sorted(stage.serving().values()) == [*NAMES]


@pytest.mark.parametrize("seed", SEEDS)
def test_moves_go_on_around_a_host_without_the_store(seed: int) -> None:
    """It keeps what it owns, is given nothing, and gets its share of the rest when it is back."""
    stage = settled(seed)
    mine = [bucket for bucket, host in stage.serving().items() if host == "b"]
    stage.away["b"] = stage.now + 20
    stage.run(3)
    stage.hosts["d"].weight = 0
    for _ in range(100):
        stage.run(0.1)
        assert [bucket for bucket, host in stage.serving().items() if host == "b"] == mine
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    assert "d" not in stage.serving().values()
    assert stage.dark < 0.1, "the moves were no moves by hand"
    stage.hosts["d"].weight = 1
    stage.run(15)
    assert sorted(stage.serving().values()) == [*NAMES]


@pytest.mark.parametrize("seed", range(20))
def test_the_store_goes_away_in_the_midst_of_moves(seed: int) -> None:
    """What is being moved then waits for the store; nothing else does, and all is served again."""
    stage = settled(seed)
    stage.hosts["d"].weight = 0
    stage.run(0.4 + 0.05 * seed)
    before = stage.serving()
    stage.away = dict.fromkeys(NAMES, stage.now + 8)
    stage.forget()
    stage.run(7.9)
    assert len(stage.serving()) >= len(before) - 1
    stage.run(3)
    assert sorted(stage.serving()) == [*range(BUCKETS)]


def test_beside_one_that_promises_nothing_all_are_as_under_fence() -> None:
    """As while hosts are upgraded in turn."""
    stage = Stage()
    stage.old = {"c"}
    stage.begin(*NAMES)
    stage.run(8)
    stage.away = dict.fromkeys(NAMES, stage.now + 5)
    stage.run(LEASE)
    assert stage.serving() == {}
    stage.run(6)
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    assert stage.by_promise == 0


def last_one(seed: int, *, stops: bool) -> Stage:
    """Return a stage where a and b were, then b alone, then nobody; a is back."""
    stage = settled(seed, ["a", "b"])
    stage.kill(stage.hosts["a"])
    stage.run(5)
    assert {*stage.serving().values()} == {"b"}
    if stops:
        stage.hosts["b"].standing = Standing.STOPPING
        stage.run(2)
        assert stage.hosts["b"].agent is None
    else:
        stage.kill(stage.hosts["b"])
    stage.begin("a")
    stage.run(10)
    return stage


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_not_named_takes_over_by_an_operators_word_alone(seed: int) -> None:
    """b named nobody: it may be alive, without the store, and ask nobody."""
    stage = last_one(seed, stops=False)
    assert stage.serving() == {}
    off = records.Order(off=stage.store[key_of("b")].version)
    stage.put(records.order_of("b"), off.dump())
    stage.run(2)
    assert {*stage.serving().values()} == {"a"}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_stops_with_nobody_to_give_to_leaves_all_to_anybody(seed: int) -> None:
    assert {*last_one(seed, stops=True).serving().values()} == {"a"}


@pytest.mark.parametrize("seed", SEEDS)
def test_another_machine_waits_while_its_name_may_live_on_without_the_store(seed: int) -> None:
    """b is cut off from the store alone, and b's name is given to another machine."""
    stage = settled(seed)
    cut_off = stage.hosts["b"]
    stage.away["b"] = stage.now + 20
    stage.run(2)
    notes: list[str] = []
    params = Params("b", "another", LEASE, BUCKETS, frozenset(NAMES), failsafe=True)
    other = Life(params, Wish(1)).live()
    effect = next(other)
    for _ in range(200):
        stage.run(BEAT / 4)
        assert not isinstance(effect, Grant)
        if isinstance(effect, Note):
            notes.append(effect.text)
        result: object = None
        if isinstance(effect, Transact):
            assert not effect.puts
            result = Reply(True, dict(stage.store), stage.now)
        elif isinstance(effect, Stand):
            result = {}
        elif isinstance(effect, Wait):
            result = Wish(1)
        effect = other.send(result)
    assert cut_off.leased(stage.now)
    assert len(notes) == 1


@pytest.mark.parametrize("seed", range(8))
def test_all_is_served_again_after_whatever_was(seed: int) -> None:
    stage = settled(seed)
    for _ in range(60):
        stage.run(stage.draw.uniform(0, 1))
        host = stage.hosts[stage.draw.choice(NAMES)]
        match stage.draw.choice(
            ("fault", "fault", "fault", "end", "kill", "begin", "key", "table")
        ):
            case "fault":
                stage.fault()
            case "end":
                host.end()
            case "kill":
                stage.kill(host)
            case "begin" if host.agent is None:
                stage.begin(host.name)
            case "key":
                stage.store.pop(key_of(host.name), None)
            case "table":
                stage.store.pop(TABLE, None)
    stage.heal()
    stage.run(12)
    assert sorted(stage.serving().values()) == [*NAMES]


def test_nobody_looks_out_for_what_a_host_without_the_store_can_not_give() -> None:
    """Its buckets stay with it in what is planned, or all would look at the store all the time."""
    stage = settled()
    before = stage.transactions
    stage.run(5)
    usual = stage.transactions - before
    stage.away["b"] = stage.now + 20
    stage.run(5)
    before = stage.transactions
    stage.run(5)
    assert stage.transactions - before < 2 * usual


class _Late(Stage):
    """Where a's takeover from b is done a second late, and a ends and begins anew meanwhile."""

    is_sent = False

    def _transact(self, host: Host, request: Transact) -> Reply | None:
        is_takeover = TABLE in request.puts and key_of("b") in request.versions
        if self.is_sent or not is_takeover:
            return super()._transact(host, request)
        self.is_sent = True
        self.after(1.0, lambda: self.execute(request))
        self.away["a"] = math.inf
        return None


def begun_anew(broken: str) -> None:
    stage = _Late(broken=broken)
    stage.begin("a", "b")
    stage.run(8)
    began = stage.now
    stage.stopped["b"], stage.away["b"] = began + 1.3, began + 10
    while not stage.is_sent:
        stage.run(0.01)
    stage.hosts["a"].end()
    del stage.away["a"]
    stage.begin("a")
    while not stage.hosts["a"].ground.contacts:
        stage.run(0.001)
    stage.stopped["a"] = began + 2.3  # it has looked, and written nothing yet
    stage.run(began + 4 - stage.now)
    assert stage.hosts["a"].owned
    assert not stage.hosts["b"].leased(stage.now)


def test_nothing_is_promised_before_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: what a's earlier life sent to the store, its new life doesn't know. (Where secrets are
    made anew for each life, b could not ask the new one either: two locks on one door.)"""
    begun_anew("F7")
    ground = Pledges.ground
    monkeypatch.setattr(Pledges, "ground", lambda self: replace(ground(self), willing=True))
    begun_anew("")
    with pytest.raises(OverlapError):
        begun_anew("F7")


class _Unanswered(Stage):
    """Where a's first beat that names d is done, not answered, and the last that reaches the
    store."""

    def _transact(self, host: Host, request: Transact) -> Reply | None:
        value = request.puts.get(key_of("a"))
        member = Member.load(value) if value else None
        said = super()._transact(host, request)
        if member and "d" in member.knows and said and said.done:
            self.away["a"] = self.now + 10
            return None
        return said


def unanswered() -> _Unanswered:
    stage = _Unanswered()
    stage.begin("a", "b", "c")
    stage.run(8)
    stage.begin("d")
    stage.run(8)
    return stage


def test_who_is_named_by_a_beat_without_an_answer_is_asked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F2: else d, which that beat lets take over, does so while b and c promise."""
    assert sorted(unanswered().serving()) == [*range(BUCKETS)]
    monkeypatch.setattr(key.Key, "asked", property(lambda self: self._named))
    with pytest.raises(OverlapError):
        unanswered()


class _Hung(Stage):
    """Where a write of a's that `hangs`, by what it makes of a table, is done, not answered, and
    its last that reaches the store for a while; then the others don't reach it either."""

    hangs: Callable[[Table, Table], bool] = staticmethod(lambda _, __: False)
    until = 0.0

    def _transact(self, host: Host, request: Transact) -> Reply | None:
        before = self.store.get(TABLE)
        said = super()._transact(host, request)
        if self.until or host.name != "a" or TABLE not in request.puts or not (said and said.done):
            return said
        if before is None or not self.hangs(
            *map(Table.load, (before.value, self.store[TABLE].value))
        ):
            return said
        self.until = self.away["a"] = self.now + 5
        others = dict.fromkeys(set(NAMES) - {"a"}, self.until)
        self.after(1.5 * BEAT, lambda: self.away.update(others))  # they have seen it by then
        return None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "hangs",
    [
        pytest.param(lambda old, new: old.owners != new.owners, id="giving"),
        pytest.param(
            lambda old, new: old.owners == new.owners and old.drains != new.drains, id="drained"
        ),
    ],
)
def test_nobody_is_silent_for_a_write_of_unknown_outcome(
    hangs: Callable[[Table, Table], bool], seed: int
) -> None:
    """What leaves a host by its own hand has left its kernel before: others that have seen that
    table promise."""
    stage = _Hung(seed)
    stage.begin(*NAMES)
    stage.run(8)
    stage.hosts["a"].weight = 5
    stage.run(8)
    stage.hosts["a"].weight = 1
    stage.hangs = hangs
    end = stage.now + 8
    while not stage.until and stage.now < end:
        stage.run(0.01)
    assert stage.until
    stage.run(0.3)
    own = [bucket for bucket, host in stage.serving().items() if host == "a"]
    assert own
    stage.run(1.5 * LEASE)
    for _ in range(200):
        stage.run(0.01)
        assert {stage.serving().get(bucket) for bucket in own} == {"a"}
