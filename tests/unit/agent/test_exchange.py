"""What an agent makes of its store: what is bad in it is said once, and waited for."""

import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from vipnft.agent.exchange import Exchange
from vipnft.agreement.effects import Transact
from vipnft.agreement.records import TABLE, Member, Table
from vipnft.model import Agents
from vipnft.store.contract import Answer, StoreRefused
from vipnft.store.sqlite import SqliteStore

OWNERS = ("a", "b")


def exchange(file: Path, lines: list[str]) -> tuple[Exchange, SqliteStore]:
    store = SqliteStore.at(f"sqlite://{file}", "dns")
    hosts = frozenset(OWNERS)
    return Exchange(store, Agents(), lines.append, None, deal="x", buckets=2, hosts=hosts), store


def test_keys_that_are_nobodys_are_said_once(tmp_path: Path) -> None:
    lines: list[str] = []
    asked, store = exchange(tmp_path / "s.db", lines)
    for key in ("host/evil", "host/a\x1b]0;owned\x07", "order/b"):
        store.transact({}, {key: b"{"}, timeout=5)
        assert asked.transact(Transact({}, {}))
    assert len(lines) == 1
    assert "host/evil" in lines[0]


def test_a_table_that_can_not_be_used_is_a_store_that_is_away(tmp_path: Path) -> None:
    lines: list[str] = []
    asked, store = exchange(tmp_path / "s.db", lines)
    for _ in range(3):
        store.transact({}, {TABLE: b"[" * 100_000}, timeout=5)
        assert asked.transact(Transact({}, {})) is None
    assert len(lines) == 1
    store.transact({}, {TABLE: Table(OWNERS, {}, "x").dump()}, timeout=5)
    assert asked.transact(Transact({}, {}))
    assert asked.renewal.away(time.monotonic()) > 0, "an answer is no beat"
    assert asked.transact(Transact({}, {"host/a": Member("a1", 1, 1.0, 1).dump()}))
    assert "answers again" in asked.renewal.granted(time.monotonic())
    assert asked.renewal.away(time.monotonic()) == 0


def test_at_the_start_it_waits_for_a_store_that_can_be_read(tmp_path: Path) -> None:
    lines: list[str] = []
    file = tmp_path / "s.db"
    file.write_bytes(b"no database" * 100)
    asked, store = exchange(file, lines)

    def pause(_: float) -> bool:
        file.unlink(missing_ok=True)
        return True

    assert asked.reach(pause)
    assert len(lines) == 1
    store.close()


class Noting(SqliteStore):
    """A store that notes which calls were brief."""

    calls: ClassVar[list[bool]] = []

    def transact(self, *asked: Any, brief: bool = False, **more: Any) -> Answer:
        self.calls.append(brief)
        return super().transact(*asked, brief=brief, **more)


@pytest.mark.parametrize("hosts", [4, 40])
def test_with_many_hosts_most_beats_look_at_nobody(tmp_path: Path, hosts: int) -> None:
    """But a table's change does, and a look, and a beat when the others' keys are old."""
    names = [f"h{number}" for number in range(hosts)]
    agents = Agents(lease=60.0, beat=12.0)
    store = Noting.at(f"sqlite://{tmp_path / 's.db'}", "dns")
    asked = Exchange(store, agents, print, None, deal="x", buckets=2, hosts=frozenset(names))
    beat = Transact({}, {"host/h0": Member("a1", 1, 60.0, 1).dump()})
    store.transact({}, {f"host/{one}": beat.puts["host/h0"] for one in names}, timeout=5)
    Noting.calls.clear()
    for request in (Transact({}, {}), beat, beat, Transact({}, {TABLE: None}), Transact({}, {})):
        assert asked.transact(request)
    assert Noting.calls == [False, hosts == 40, hosts == 40, False, False]
    asked._looked -= 24.1  # half a lease, less half a beat
    assert asked.transact(beat)
    assert not Noting.calls.pop()


class Refusing(SqliteStore):
    """A store that refuses for a while, as etcd does whom an operator took a role from."""

    left = 3

    def transact(self, *asked: Any, **more: Any) -> Answer:
        self.left -= 1
        if self.left >= 0:
            raise StoreRefused("permission denied")
        return super().transact(*asked, **more)


def test_at_the_start_it_waits_for_a_store_that_refuses(tmp_path: Path) -> None:
    lines: list[str] = []
    store = Refusing(tmp_path / "s.db", "dns")
    asked = Exchange(
        store, Agents(), lines.append, None, deal="x", buckets=2, hosts=frozenset(OWNERS)
    )
    assert asked.reach(lambda _: True)
    assert lines == ["permission denied; asked again until it answers"]
    store.close()


def test_what_was_to_be_written_by_now_is_only_read(tmp_path: Path) -> None:
    asked, store = exchange(tmp_path / "s.db", [])
    table = Table(OWNERS, {}, "x").dump()
    late = asked.transact(Transact({}, {TABLE: table}, by=time.monotonic() - 0.001))
    assert late
    assert (late.done, dict(late.snapshot)) == (False, {})
    timely = asked.transact(Transact({}, {TABLE: table}, by=time.monotonic() + 60))
    assert timely
    assert timely.done
    assert timely.snapshot[TABLE].value == table
    store.close()
