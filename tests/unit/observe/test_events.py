"""Events: the kinds of lines, and what of a line anybody may read."""

import ast
import re
from pathlib import Path

import pytest

from vipnft.observe.events import (
    KINDS,
    OF_HOOKS,
    Event,
    Place,
    document,
    journal_fields,
    kind_of,
    public,
)

PACKAGE = Path(__file__).parents[3] / "vipnft"
SOURCES = [*(PACKAGE / "agent").glob("*.py"), *(PACKAGE / "agreement").glob("*.py")]
SOURCES += [PACKAGE / f"host/{one}.py" for one in ("deeds", "down", "duplicate", "hooks")]
PLACE = re.compile(r"\{\w+\}")
WHERE = Place("dns", "web1")


def sentences() -> list[str]:
    """Return every text in the code, as far as it is known before it runs."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
                found.append("".join(map(str, parts)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_begins_with_is_said_somewhere(kind: str) -> None:
    """A sentence that is changed would make its events notes."""
    said = sentences()
    for words in KINDS[kind].begins:
        begin = PLACE.sub("{}", words).removeprefix("WARNING: ")
        assert any(one.removeprefix("WARNING: ").startswith(begin) for one in said), words


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("128 of 256 buckets here (128 came, 0 went)", "share"),
        ("12 buckets drained", "drained"),
        ("took over from web2: silent for 1.16 s", "takeover"),
        ("took over from web2, web3: 256 of 256 buckets here (128 came, 0 went)", "takeover"),
        ("took 12 buckets from web2 (0-11): 128 of 256 buckets here (12 came, 0 went)", "took"),
        ("applied: 128 of 256 buckets here (128 came, 0 went), switch mode on eth0", "applied"),
        ("down: this host is as it was", "stopped"),
        ("no longer, after 7 s: another machine on eth0 has 192.0.2.100", "duplicate_gone"),
        ("no longer: eth0 has no carrier", "reached"),
        ("the store is away (no answer): going on by the promises of web2", "carried"),
        ("for 61.2 s without the store, by the promises of web2: no answer", "carried"),
        ("WARNING: web2, web3 does not answer at UDP port 5520: if the store were", "unanswered"),
        ("agent of web1 in cluster 'dns', switch mode", "started"),
        ("hook 10-mail: exit code 1", "hook_failed"),
        ("hook 10-mail is well again", "hook_well"),
        ("the hooks missed 12 events: they take too long", "hooks_missed"),
        ("12 lines of this log were lost: it took no more", "log_lost"),
        ("whatever else is said", "note"),
    ],
)
def test_a_line_is_of_a_kind(line: str, kind: str) -> None:
    assert kind_of(line) == kind


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "found and mended: address gone; - meta mark set jhash ip saddr mod 256 seed 0xabc;"
            " + jhash ip saddr mod 256 seed 0xdef",
            "found and mended: address gone; a rule (the agent's log has its words)",
        ),
        (
            "failing (exec /usr/bin/ask --password hunter2: wrong hunter2): giving all away",
            "failing (exec ...: the agent's log has its words",
        ),
        ("plain\x1b[31m", "plain\\x1b[31m"),
    ],
)
def test_what_is_secret_stays_in_the_log(line: str, shown: str) -> None:
    assert public(line) == shown


def test_a_long_line_is_cut() -> None:
    assert len(public("x" * 10_000)) == 500


def test_no_word_of_a_kind_hides_another() -> None:
    for name, kind in KINDS.items():
        for words in kind.begins:
            assert kind_of(PLACE.sub("7", words)) == name


def test_an_id_is_of_one_kind() -> None:
    ids = {kind.message_id for kind in KINDS.values()}
    assert len(ids) == len(KINDS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    assert set(KINDS) > OF_HOOKS


def event(line: str) -> Event:
    return Event(7, 1.5e9, kind_of(line), public(line))


def test_an_event_for_programs_has_by_name_what_its_line_has() -> None:
    said = document(event("took over from web2, web3: silent for 1.20 s"), WHERE)
    assert said == {
        "number": 7,
        "time": 1.5e9,
        "kind": "takeover",
        "text": "took over from web2, web3: silent for 1.20 s",
        "severity": "notice",
        "message_id": KINDS["takeover"].message_id,
        "cluster": "dns",
        "host": "web1",
        "peer": "web2, web3",
    }
    assert document(event("128 of 256 buckets here (1 came, 0 went)"), WHERE)["owned"] == 128
    assert document(event("giving 9 buckets to web3"), WHERE)["peer"] == "web3"
    assert document(event("SILENT for 7.0 s, as"), WHERE)["seconds"] == 7.0


def test_the_journal_of_systemd_holds_the_whole_line() -> None:
    line = "failing (exec /usr/bin/ask --password hunter2: wrong\nhunter2): giving all away"
    fields = journal_fields(event(line), WHERE, line)
    assert fields["MESSAGE"] == line.replace("\n", "\\n")
    assert fields["PRIORITY"] == "3"
    assert fields["MESSAGE_ID"] == KINDS["failing"].message_id
    assert fields["VIPNFT_KIND"] == "failing"
    assert fields["VIPNFT_HOST"] == "web1"
    assert fields["VIPNFT_NUMBER"] == "7"
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in fields)
