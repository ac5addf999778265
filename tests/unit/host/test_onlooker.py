"""What can be seen of a host without an agent: where one was, nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.host.test_record import APPLIED
from vipnft.host import locks, published, record
from vipnft.host.onlooker import Onlooker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "DIRECTORY", tmp_path)
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    monkeypatch.setattr(published, "PATH", tmp_path / "status.json")
    return tmp_path


def onlooker() -> Onlooker:
    return Onlooker(lambda _: "")


@pytest.mark.usefixtures("home")
def test_an_agent_that_is_gone_leaves_no_fresh_snapshot() -> None:
    """Its lease is over: the kernel holds what was applied, and serves nobody."""
    record.save(replace(APPLIED, leased=True))
    published.write("the agent's last")
    onlooker().write()
    assert published.read() == b"the agent's last"


@pytest.mark.usefixtures("home")
def test_where_nothing_is_applied_there_is_none() -> None:
    published.write("of what was applied")
    onlooker().write()
    assert not published.PATH.exists()
