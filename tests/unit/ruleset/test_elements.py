"""Elements: from any state of the containers to any other, in one transaction."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State
from vipnft.ruleset import elements
from vipnft.ruleset.elements import Cell, cell
from vipnft.ruleset.nftjson import Commands

PHASES = st.one_of(
    st.sampled_from([OWNED, FOREIGN]),
    st.builds(Phase, st.sampled_from([State.DRAINING, State.JOINING]), st.floats(0.01, 3600)),
)
CELLS = st.builds(
    Cell,
    st.sampled_from([None, "take", "come", "leave", "drop"]),
    st.one_of(st.none(), st.floats(0.1, 3600)),
    st.one_of(st.none(), st.floats(0.1, 3600)),
    st.booleans(),
    st.one_of(st.none(), st.floats(0.1, 3600)),
)


class Kernel:
    """The containers as nftables treats them; a wrong command is an error, as there."""

    def __init__(self, cells: list[Cell]) -> None:
        names = [*(name for _, name in elements.CONTAINERS), elements.GIVEN]
        self.held: dict[str, dict[int, Any]] = {name: {} for name in names}
        for b, one in enumerate(cells):
            for name, value in (
                ("buckets", one.verdict),
                ("leaving", one.leaving),
                ("joined", one.joined),
                ("drains", one.drains),
            ):
                if value is not None:
                    self.held[name][b] = value
            if one.mine:
                self.held["mine"][b] = math.inf

    def run(self, commands: Commands) -> None:
        for command in commands:
            ((verb, body),) = command.items()
            element = body["element"]
            for one in element["elem"]:
                key, value = self._parse(one)
                container = self.held[element["name"]]
                if verb == "delete":
                    del container[key]
                elif key not in container:
                    container[key] = value
                else:
                    assert element["name"] != "buckets", "EEXIST in a map"

    @staticmethod
    def _parse(one: Any) -> tuple[int, Any]:
        if isinstance(one, list):
            element, verdict = one
            key = element["elem"]["val"] if isinstance(element, dict) else element
            (kind,) = verdict
            return key, verdict[kind]["target"] if verdict[kind] else kind
        if isinstance(one, dict):
            timeout = one["elem"]["timeout"]
            assert isinstance(timeout, int), "JSON timeouts are whole seconds"
            assert timeout >= 1
            return one["elem"]["val"], timeout
        return one, math.inf

    def cells(self, size: int) -> list[Cell]:
        h = self.held
        return [
            Cell(
                verdict=h["buckets"].get(b),
                leaving=h["leaving"].get(b),
                joined=h["joined"].get(b),
                drains=h["drains"].get(b),
                mine=b in h["mine"],
            )
            for b in range(size)
        ]


@given(st.lists(st.tuples(CELLS, PHASES), min_size=1, max_size=12))
def test_any_state_is_brought_to_any_phases(pairs: list[tuple[Cell, Phase]]) -> None:
    have, want = [old for old, _ in pairs], [new for _, new in pairs]
    kernel = Kernel(have)
    kernel.run(elements.change(have, want))
    for got, wanted in zip(kernel.cells(len(want)), want, strict=True):
        assert got.phase is not None
        assert got.phase.state is wanted.state
        assert abs(got.phase.left - wanted.left) <= 1.5


@given(st.lists(st.tuples(PHASES, PHASES), min_size=1, max_size=12))
def test_what_leaves_is_known_for_as_long_as_a_handshake_may_be_half_open(
    pairs: list[tuple[Phase, Phase]],
) -> None:
    have, want = [cell(old) for old, _ in pairs], [new for _, new in pairs]
    kernel = Kernel(have)
    kernel.held["given"] = {b: 1 for b, one in enumerate(have) if not one.mine}
    kernel.run(elements.change(have, want))
    for b, (old, new) in enumerate(pairs):
        left = kernel.held["given"].get(b)
        if new.state in {State.OWNED, State.JOINING}:
            assert left is None or cell(old).mine
        elif new.state is State.DRAINING:
            near = old.state is State.DRAINING and abs(old.left - new.left) < 1.5
            assert near or (left or 0) >= new.left + elements.HALF_OPEN_S
        elif old.state is not State.FOREIGN:
            assert left == elements.HALF_OPEN_S


@given(st.lists(st.tuples(PHASES, st.booleans(), PHASES), min_size=1, max_size=12))
def test_a_swap_keeps_what_was_given_away(buckets: list[tuple[Phase, bool, Phase]]) -> None:
    """Of what comes back nothing, or no new connection would be answered."""
    want = [new for _, _, new in buckets]
    known = [b for b, (old, given, _) in enumerate(buckets) if given and not cell(old).mine]
    mine = [b for b, (old, _, _) in enumerate(buckets) if cell(old).mine]
    kernel = Kernel([Cell()] * len(want))
    kernel.run(elements.fill(want))
    kernel.run(elements.remembered(known, mine, want))
    for b, new in enumerate(want):
        left = kernel.held["given"].get(b, 0)
        if cell(new).mine:
            assert left == 0
        elif new.state is State.DRAINING:
            assert left >= new.left + elements.HALF_OPEN_S
        else:
            assert left == (elements.HALF_OPEN_S if b in (*known, *mine) else 0)


@given(st.lists(PHASES, min_size=1, max_size=12))
def test_what_is_right_already_is_left_alone(want: list[Phase]) -> None:
    assert elements.change([cell(phase) for phase in want], want) == []


@given(st.lists(PHASES, min_size=1, max_size=12))
def test_empty_containers_are_filled(want: list[Phase]) -> None:
    kernel = Kernel([Cell()] * len(want))
    kernel.run(elements.fill(want))
    states = [one.phase.state if one.phase else None for one in kernel.cells(len(want))]
    assert states == [phase.state for phase in want]


def test_a_change_names_only_what_changes() -> None:
    have = [cell(OWNED)] * 200 + [cell(FOREIGN)] * 56
    want = [*[OWNED] * 199, Phase(State.DRAINING, 300), *[FOREIGN] * 56]
    named = [
        e for c in elements.change(have, want) for e in next(iter(c.values()))["element"]["elem"]
    ]
    assert len(named) == 8  # out of mine and buckets; into that, leaving, drains and given anew


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (Cell("take", mine=True), State.OWNED),
        (Cell("drop"), State.FOREIGN),
        (Cell("leave", leaving=9, drains=9), State.DRAINING),
        (Cell("leave", leaving=1), State.DRAINING),  # two timers, one moment
        (Cell("leave"), State.FOREIGN),  # the kernel ended it
        (Cell("leave", leaving=9), None),
        (Cell("leave", leaving=9, drains=9, mine=True), None),
        (Cell("come", leaving=9, joined=9, mine=True), State.JOINING),
        (Cell("come", joined=1, mine=True), State.JOINING),
        (Cell("come", joined=9, mine=True), None),  # the other timer is gone
        (Cell("come", leaving=9, mine=True), None),
        (Cell("come", mine=True), State.OWNED),
        (Cell("take"), None),
        (Cell("drop", mine=True), None),
        (Cell(), None),
    ],
)
def test_what_the_containers_mean(one: Cell, state: State | None) -> None:
    assert (one.phase.state if one.phase else None) is state


def test_what_libnftables_lists_is_read() -> None:
    counted = {"elem": {"val": 0, "counter": {"packets": 7, "bytes": 99}}}
    items: dict[str, Any] = {
        "buckets": [[0, {"jump": {"target": "leave"}}], [1, {"drop": None}]],
        "leaving": [{"elem": {"val": 0, "timeout": 300, "expires": 298}}],
        "joined": [1],
        "drains": [{"elem": {"val": 0, "timeout": 300, "expires": 297}}],
        "mine": [1],
    }
    assert elements.read(items, 3) == [
        Cell("leave", leaving=298, drains=297),
        Cell("drop", joined=math.inf, mine=True),
        Cell(),
    ]
    assert elements.counters([counted, 1]) == {0: (7, 99)}
