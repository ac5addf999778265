"""The snapshot: its schema, what it leaves out, when it is too old, and why a host is not ready."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.schema import faults
from tests.unit.observe.snapshots import AGENT, STAMP, written
from vipnft.agreement.records import Standing
from vipnft.observe import snapshot
from vipnft.observe.snapshot import Promised, SnapshotError

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "docs/status.schema.json").read_text(encoding="utf-8")
)


def test_it_is_as_the_schema_says() -> None:
    assert not faults(json.loads(written()), SCHEMA, SCHEMA)
    assert not faults(json.loads(written(agent=None)), SCHEMA, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 2), ("period", "1"), ("ready", 1), ("why", [1]), ("agent", {}), ("cluster", 7)],
)
def test_the_schema_refuses_another(key: str, value: Any) -> None:
    assert faults(json.loads(written()) | {key: value}, SCHEMA, SCHEMA)


def test_the_schema_names_every_field() -> None:
    """So that none is added, and told to nobody."""

    def unnamed(found: Any, schema: dict[str, Any]) -> set[str]:
        if not isinstance(found, dict) or "properties" not in schema:
            return set()
        known = schema["properties"]
        inside = (unnamed(found[name], known[name]) for name in found if name in known)
        return (set(found) - set(known)).union(*inside)

    assert not unnamed(json.loads(written()), SCHEMA)


@pytest.mark.parametrize("age", [-0.5, 0, 2.9])
def test_a_fresh_one_is_read(age: float) -> None:
    assert snapshot.loaded(written().encode(), STAMP.boottime + age)["period"] == 1.0


@pytest.mark.parametrize("age", [-1.5, 3.1, 1e9])
def test_an_old_one_is_none(age: float) -> None:
    with pytest.raises(SnapshotError, match="old"):
        snapshot.loaded(written().encode(), STAMP.boottime + age)


@pytest.mark.parametrize(
    "found",
    [
        b"", b"\xff", b"7", b"[]", b"{}", b"[" * 10_000, b'{"format": 1}',
        b'{"format": 1, "written": {"boottime": "x"}, "period": 1}',
        b'{"format": 1, "written": 7, "period": null}',
    ],
)  # fmt: skip
def test_what_nobody_wrote_is_an_error_of_ours(found: bytes) -> None:
    with pytest.raises(SnapshotError):
        snapshot.loaded(found, 7.0)


@pytest.mark.parametrize("period", ["Infinity", "NaN", "0", "-1", "1e6", "true"])
def test_no_period_keeps_it_fresh_for_ever(period: str) -> None:
    found = written().replace('"period": 1.0', f'"period": {period}')
    assert found != written()
    with pytest.raises(SnapshotError):
        snapshot.loaded(found.encode(), STAMP.boottime + 10)


def test_another_format_is_told() -> None:
    other = json.dumps(json.loads(written()) | {"format": 9}).encode()
    with pytest.raises(SnapshotError, match="format 9"):
        snapshot.loaded(other, STAMP.boottime)


@pytest.mark.parametrize(
    ("changes", "given", "why"),
    [
        ({}, {}, []),
        ({}, {"owned": 0, "weight": 0}, []),
        ({}, {"owned": 0}, ["it owns no bucket"]),
        ({"left": 0.0, "away": 4.2}, {}, ["no lease: the store took no beat for 4 s"]),
        (
            {"left": 0.0, "away": 4.2, "promises": Promised(lacking=("web2", "web3"))},
            {},
            ["no lease: the store took no beat for 4 s (web2, web3 did not promise)"],
        ),
        ({"away": 4.2, "promises": Promised(carried=True)}, {}, []),
        ({"cut_off": "eth0 is down"}, {}, ["can't serve: eth0 is down"]),
        ({"standing": Standing.SETTLING}, {"owned": 0}, ["it is settling"]),
        ({"standing": Standing.SERVING}, {"ordered": True}, ["drained by order"]),
        (
            {"checks": (("tcp 192.0.2.100:80", "tcp 192.0.2.100:80: timed out"),)},
            {},
            ["a check is down: tcp 192.0.2.100:80: timed out"],
        ),
    ],
)
def test_why_a_host_is_not_ready(
    changes: dict[str, Any], given: dict[str, Any], why: list[str]
) -> None:
    facts = {"owned": 128, "weight": 1, "ordered": False, **given}
    well = replace(AGENT, checks=())
    assert snapshot.troubles(replace(well, **changes), **facts) == why
