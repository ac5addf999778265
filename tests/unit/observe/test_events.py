"""Events: the kinds of lines, and what of a line anybody may read."""

import ast
from pathlib import Path

import pytest

from vipnft.agent.journal import Journal
from vipnft.observe.events import KINDS, kind_of, public

PACKAGE = Path(__file__).parents[3] / "vipnft"
SOURCES = [*(PACKAGE / "agent").glob("*.py"), *(PACKAGE / "agreement").glob("*.py")]
SOURCES += [PACKAGE / "host/duplicate.py"]


def sentences() -> list[str]:
    """Return every text in the agent's code, as far as it is known before it runs."""
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
    for words in KINDS[kind]:
        begin = words.removeprefix("WARNING: ")
        assert any(one.removeprefix("WARNING: ").startswith(begin) for one in said), words


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("128 of 256 buckets here (128 came, 0 went)", "share"),
        ("12 buckets drained", "drained"),
        ("took over from web2: silent for 1.16 s", "takeover"),
        ("no longer, after 7 s: another machine on eth0 has 192.0.2.100", "duplicate_gone"),
        ("no longer: eth0 has no carrier", "reached"),
        ("the store is away (no answer): going on by the promises of web2", "carried"),
        ("for 61.2 s without the store, by the promises of web2: no answer", "carried"),
        ("WARNING: web2, web3 does not answer at UDP port 5520: if the store were", "unanswered"),
        ("agent of web1 in cluster 'dns', switch mode", "note"),
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


def test_the_log_goes_on_and_the_last_events_are_kept_in_order() -> None:
    said: list[str] = []
    journal = Journal(said.append)
    for number in range(1000):
        journal.say(f"{number} buckets drained")
    journal.say("WARNING: no call of another host to the listen MAC came here for 100 s")
    assert len(said) == 1001
    assert [one.number for one in journal.last] == list(range(952, 1002))
    assert journal.counts["drained"] == 1000
    assert not journal.hearing
    journal.say("calls of other hosts to the listen MAC arrive here again")
    assert journal.hearing


def test_no_word_of_a_kind_hides_another() -> None:
    for kind, several in KINDS.items():
        for words in several:
            assert kind_of(words.replace("{}", "7")) == kind
