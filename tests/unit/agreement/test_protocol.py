"""The agreement under everything that can go wrong between two steps of an agent.

A model of store, kernels and clocks runs the agents' own generator: pauses anywhere, requests
lost, answers lost, requests executed late, agents and hosts that die and come back. After every
step no bucket may be accepted by two hosts. And as a test of the test: with any rule broken on
purpose, an overlap is found.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.agreement.world import BUCKETS, OverlapError, explore
from vipnft.agreement import known, peers, protocol, records
from vipnft.agreement.effects import Reply
from vipnft.agreement.protocol import Life
from vipnft.agreement.records import key_of


@pytest.mark.parametrize("tenth", range(10))
def test_no_overlap_in_200_000_steps(tenth: int) -> None:
    served = moved = steps = 0
    for seed in range(tenth * 5, tenth * 5 + 5):
        world = explore(seed, 4000)
        served, moved, steps = served + int(world.served), moved + world.moved, steps + world.steps
    assert steps == 20_000
    assert moved > 500, "hardly anything ever moved: the model explores nothing"
    assert served > steps * BUCKETS * 0.3, "hardly anything was ever served"


def test_no_overlap_where_hosts_carry_on_without_the_store() -> None:
    worlds = [explore(seed, 4000, hold=True) for seed in range(10)]
    assert sum(world.served for world in worlds) > 10 * 4000 * BUCKETS * 0.2
    assert sum(world.off for world in worlds) > 10, "nobody was ever called off"


def test_no_overlap_where_somebody_writes_keys_that_are_not_his() -> None:
    worlds = [explore(seed, 4000, evil=True) for seed in range(20)]
    assert sum(world.served for world in worlds) > 20 * 4000 * BUCKETS * 0.3


def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (protocol, peers):
        monkeypatch.setattr(module, "patience", lambda lease: lease * 0.5)


def _no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Life._write

    def unready(self: Life, step: Any, seen: Reply) -> Any:
        return (yield from write(self, replace(step, given=frozenset(), less=False), seen))

    monkeypatch.setattr(Life, "_write", unready)


def _anybodys_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Life._step

    def grab(self: Life, said: Reply) -> Any:
        found = decide(self, said)
        if found is None or self._known.table is None:
            return found
        owners = list(found.table.owners)
        owners[0] = self.params.me
        return replace(found, table=replace(found.table, owners=tuple(owners)), given=frozenset())

    monkeypatch.setattr(Life, "_step", grab)


def _no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        known.Known, "fenced", property(lambda _: True, lambda *_: None), raising=False
    )


def _absent_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = peers.Peers.lost

    def hasty(self: peers.Peers, said: Reply) -> set[str]:
        return lost(self, said) | {h for h in self._seen if key_of(h) not in said.snapshot}

    monkeypatch.setattr(peers.Peers, "lost", hasty)


def _no_wait_to_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.Peers, "longest", lambda _: 0.0)


def _dead_by_order(word: Callable[[records.Order], bool]) -> Callable[[pytest.MonkeyPatch], None]:
    def lost(self: peers.Peers, said: Reply) -> set[str]:
        quiet = self.quiet(said)
        holding = {h for h in quiet & self._said.keys() if self._said[h].hold_on_loss}
        ordered = {h for h in quiet if word(records.order(said.snapshot, h))}
        return ordered | (quiet - holding)

    return lambda monkeypatch: monkeypatch.setattr(peers.Peers, "lost", lost)


def _hold_before_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Life, "_holds", lambda self: self._known.table is not None)


# The seed with which each was found, of 0 and on. (Without the flush at start nothing is found:
# a new life adopts what the table says before it arms anything, and its beat says so.)
SEEDS = {
    "arm": 19,
    "beat condition": 4,
    "patience": 1,
    "second condition": 0,
    "release first": 0,
    "own hand": 0,
    "fence": 108,
    "absent": 4,
    "rebuild": 10,
    "drained is dead": 6,
    "once off, dead": 0,
    "held before a beat": 137,
}
HOLDING = {"drained is dead", "once off, dead", "held before a beat"}
BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None] | None] = {
    "arm": None,
    "beat condition": None,
    "patience": _no_patience,
    "second condition": None,
    "release first": _no_release,
    "own hand": _anybodys_hand,
    "fence": _no_fence,
    "absent": _absent_is_dead,
    "rebuild": _no_wait_to_rebuild,
    "drained is dead": _dead_by_order(lambda said: said.drained),
    "once off, dead": _dead_by_order(lambda said: said.off is not None),
    "held before a beat": _hold_before_a_beat,
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking = BROKEN[rule]
    if breaking is not None:
        breaking(monkeypatch)
    with pytest.raises(OverlapError):
        explore(SEEDS[rule], 4000, rule, hold=rule in HOLDING)
