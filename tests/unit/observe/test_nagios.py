"""What a monitoring plugin says: the line, its performance data, the exit code."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.observe.snapshots import AGENT, written
from tests.unit.observe.test_status_report import facts
from vipnft.observe import nagios
from vipnft.observe.nagios import Code
from vipnft.observe.snapshot import Promised

# label=value[unit];[warn];[crit];[min];[max], by the guidelines of Nagios' plugins
DATA = re.compile(r"[\w]+=-?[\d.]+(s|%|B|c)?(;[^; ]*){0,4}")
WELL = replace(AGENT, checks=(), promises=Promised())


def said(agent: Any = WELL, why: tuple[str, ...] = (), **status: Any) -> tuple[Code, str]:
    found = json.loads(written(agent, why))
    found["status"] |= status
    code, line = nagios.of_snapshot(found)
    _, bar, data = line.partition(" | ")
    assert bar
    assert all(DATA.fullmatch(one) for one in data.split(" ")), data
    return code, line


def test_the_line_of_a_host_that_is_well() -> None:
    assert said() == (
        Code.OK,
        "VIPNFT OK - web1 serves 3 of 6 buckets | owned=3;;;0;6 packets=1010c bytes=50500c"
        " lease_left=0.8s;;;0;1 draining=1",
    )


@pytest.mark.parametrize(
    ("agent", "why", "status", "code"),
    [
        (WELL, ("a check is down: x",), {}, Code.WARNING),
        (replace(WELL, left=0.0), ("no lease",), {}, Code.CRITICAL),
        (replace(WELL, away=3.0), (), {}, Code.CRITICAL),
        (replace(WELL, promises=Promised(unheard=("web3",))), (), {}, Code.WARNING),
        (replace(WELL, hearing=False), (), {}, Code.CRITICAL),
        (WELL, ("can't serve: x",), {"drift": ["x"]}, Code.CRITICAL),
        (WELL, (), {"duplicates": ["another machine has it"]}, Code.CRITICAL),
        (None, (), {}, Code.OK),
    ],
)
def test_how_bad_it_is(agent: Any, why: tuple[str, ...], status: Any, code: Code) -> None:
    found, line = said(agent, why, **status)
    assert found == code
    assert line.startswith(f"VIPNFT {code.name} - ")
    assert all(one in line for one in why)


def test_who_is_carried_by_promises_says_so() -> None:
    code, line = said(replace(WELL, away=3.0, promises=Promised(carried=True)))
    assert code == Code.CRITICAL
    assert "the store took no beat for 3 s: the others' promises carry this host |" in line


def test_what_others_wrote_is_one_line_with_one_bar() -> None:
    _, line = said(why=("a | b\nc",))
    assert "a / b\\nc | owned" in line


def test_a_host_without_an_agent() -> None:
    assert nagios.of_report(facts())[0] == Code.OK
    assert nagios.of_report(facts(stale="the file has changed"))[0] == Code.WARNING
    code, line = nagios.of_report(facts(drift=("  - address 192.0.2.100",), stale="changed"))
    assert code == Code.CRITICAL
    assert "differs from what was applied: - address 192.0.2.100; changed | owned=3" in line


def test_nothing_known() -> None:
    assert nagios.unknown("no snapshot") == (Code.UNKNOWN, "VIPNFT UNKNOWN - no snapshot")
