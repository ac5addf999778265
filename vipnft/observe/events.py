"""What happens to a host, as its agent's log tells it, or a command: each line is an event of one
kind.

Rule 1: a line is of the first kind whose words it begins with; of none of them, it is a note.
Rule 2: a kind keeps its id and its meaning for good: programs and the journal's catalog
        (packaging/vipnft.catalog) go by them.
Rule 3: what anybody on the machine may read has no seed, secret or client's address in it: the
        words of rules and of commands stay in the log.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from vipnft.shown import printable


class Severity(IntEnum):
    """How bad it is, as syslog counts: the less, the worse."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """An id of the journal's, and what lines of this kind begin with; a {name} of `_FIELDS` becomes
    a field of the event."""

    message_id: str
    severity: Severity
    begins: tuple[str, ...] = ()


_ERROR, _WARNING, _NOTICE, _INFO = Severity
NOTE = "note"
KINDS: Mapping[str, Kind] = {
    "started": Kind("550703353b5e93b3f469d85662b9c9ca", _NOTICE, ("agent of ",)),
    "takeover": Kind("307c043a233c6ae52b709cfb64720343", _NOTICE, ("took over from {peer}: ",)),
    "dealt": Kind(
        "4fea892de77fd3ff69a08c0c97ad1c93",
        _NOTICE,
        ("dealt all buckets", "no table in the store"),
    ),
    "gave": Kind(
        "3cfb78905ffc9bb748e537ad1bb8e45b", _NOTICE, ("giving {count} buckets to {peer}",)
    ),
    "took": Kind(
        "4fbe9fee82af4b6b8ce40bd062e2b9b3",
        _NOTICE,
        ("took {count} buckets from {peer}", "took {count} buckets"),
    ),
    "applied": Kind(
        "ec988e420e8d4dad93ebe6e9bce9acdf",
        _NOTICE,
        ("applied: {owned} of {buckets} buckets here",),
    ),
    "share": Kind(
        "2c022e6d13d3888a8a7dc26d5fff0bba", _NOTICE, ("{owned} of {buckets} buckets here",)
    ),
    "drained": Kind("2651b3d77b9ffa6afd0d8260dc2e391d", _NOTICE, ("{count} buckets drained",)),
    "failing": Kind("ab4f763229106900381c666b6eb08f04", _ERROR, ("failing (",)),
    "healthy": Kind("36010e81320e5897d828f457e3a17ff9", _NOTICE, ("healthy",)),
    "settling": Kind("8c9c44dfe6cf22c03f96bb6c0ec9a247", _NOTICE, ("settling",)),
    "stopping": Kind("6bb35ff2dbb4d199e1bad85a338df296", _NOTICE, ("told to stop",)),
    "stopped": Kind(
        "46591de95e1ceeacfde7cfecc0384ba2", _NOTICE, ("gave everything away", "down: ")
    ),
    "renewed": Kind("075a0862835cd4372bafd55a11fe719c", _NOTICE, ("SIGHUP: beginning anew",)),
    "unusable": Kind(
        "9d5e49510d60830d29d5a007f489f61e",
        _ERROR,
        ("SIGHUP: the new configuration can't be used",),
    ),
    "silent": Kind(
        "1fc3d9e1d06934ae7ad9edd5f7e95ffd",
        _ERROR,
        ("SILENT for {seconds} s", "silent: no beat for {seconds} s"),
    ),
    "carried": Kind(
        "e062e522dcbc5e1fd017a78584a8c42d",
        _WARNING,
        (
            "the store is away (",
            "for {seconds} s without the store, ",
            "carrying on with the last table, without the store for {seconds} s",
        ),
    ),
    "store_back": Kind(
        "75d86556093bf6ab39bb759c0abb9ae7",
        _NOTICE,
        ("the store answers again after {seconds} s",),
    ),
    "late": Kind("2f88ab45b0e48bac94fc01ce746c2b74", _WARNING, ("a beat was {seconds} s late",)),
    "mended": Kind("c9db5e9a92fa05216c04d980ca15bc2b", _WARNING, ("found and mended: ",)),
    "cut_off": Kind(
        "1e9ad363405c2da78d4d8938ec777b5d", _ERROR, ("can't serve: ", "can't serve yet: ")
    ),
    "reached": Kind("3a4dcb380e4ff59fdc408c1be8fa6da4", _NOTICE, ("no longer: ",)),
    "duplicate": Kind(
        "db3a2528e299f80b2ba82f15423021af", _ERROR, ("WARNING: another machine on ",)
    ),
    "duplicate_gone": Kind(
        "c4fad2d5e5214c10d606354463561456", _NOTICE, ("no longer, after {seconds} s: ",)
    ),
    "learned": Kind(
        "ca6162541302674692f5114610f3a0be",
        _ERROR,
        ("WARNING: frames came from the listen MAC itself",),
    ),
    "deaf": Kind("246a003a3bb75e03b8e3b77e387a079f", _ERROR, ("WARNING: no call of another host",)),
    "hearing": Kind(
        "7a77d82b9755f1c5e145ff191c579c0f",
        _NOTICE,
        ("calls of other hosts to the listen MAC arrive here again",),
    ),
    "unanswered": Kind(
        "0479d32b45d7965038f1beb10fc4faec",
        _WARNING,
        ("WARNING: {peer} does not answer at UDP port ",),
    ),
    "answered": Kind(
        "24f97676cc6ce7e68d8ccc8106e1ff03", _NOTICE, ("the others answer at UDP port ",)
    ),
    "rival": Kind(
        "93d1082f0fca313ca2a7812971f59086",
        _ERROR,
        ("another agent's key under this name", "another machine's agent under this name"),
    ),
    "strangers": Kind(
        "e89b32cfbaac904cae78fcb25b3fd7be", _WARNING, ("WARNING: in the store are keys",)
    ),
    "hook_failed": Kind("4e5af60340e4f66ff2cde246c662a732", _WARNING, ("hook {hook}: ",)),
    "hook_well": Kind("a94d6609e1c3954cd1ed9ac032ce75d6", _NOTICE, ("hook {hook} is well again",)),
    "hooks_missed": Kind(
        "bd4d20a101cb4e772a99ac8a49acd842", _WARNING, ("the hooks missed {count} events",)
    ),
    "log_lost": Kind(
        "555a85e2a0cb217b23d2e1d9d88323a5", _WARNING, ("{count} lines of this log were lost",)
    ),
    NOTE: Kind("40b8820284f5c5bfc479e6db3ddfab12", _INFO),
}
OF_HOOKS = {"hook_failed", "hook_well", "hooks_missed"}
"""What hooks are not called for: one that fails would be called for its failures."""

_TEXT_CHARS = 500
_RULES = re.compile(r"seed|jhash", re.IGNORECASE)
_NAMES, _COUNT = r"[^\s,]+(?:, [^\s,]+)*", r"\d+"
_FIELDS: Mapping[str, tuple[str, Callable[[str], str | int | float]]] = {
    "peer": (_NAMES, str),
    "hook": (_NAMES, str),
    "count": (_COUNT, int),
    "owned": (_COUNT, int),
    "buckets": (_COUNT, int),
    "seconds": (r"\d+(?:\.\d+)?", float),
}
_PLACE = re.compile(r"\\{(\w+)\\}")
_COMMAND = re.compile(r"\bexec ")


def _pattern(begin: str) -> re.Pattern[str]:
    def value(place: re.Match[str]) -> str:
        return f"(?P<{place[1]}>{_FIELDS[place[1]][0]})"

    return re.compile(_PLACE.sub(value, re.escape(begin)))


_BEGINS = [(name, _pattern(begin)) for name, kind in KINDS.items() for begin in kind.begins]


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log, by number, with the time (seconds since 1970) and its kind."""

    number: int
    time: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where events happen."""

    cluster: str
    host: str


def kind_of(line: str) -> str:
    """Return the kind of a line."""
    return next((name for name, begin in _BEGINS if begin.match(line)), NOTE)


def public(line: str) -> str:
    """Return as much of a line as anybody may read."""
    if _COMMAND.search(line):
        head = line[: line.index("exec ")]
        return f"{printable(head)}exec ...: the agent's log has its words"
    parts = [
        "a rule (the agent's log has its words)" if _RULES.search(part) else part
        for part in line.split("; ")
    ]
    return printable("; ".join(dict.fromkeys(parts)))[:_TEXT_CHARS]


def document(event: Event, place: Place) -> dict[str, Any]:
    """Return an event for programs: what its line has by name stands beside the text."""
    kind = KINDS[event.kind]
    return {
        **asdict(event),
        "severity": kind.severity.name.lower(),
        "message_id": kind.message_id,
        **asdict(place),
        **_named(event),
    }


def journal_fields(event: Event, place: Place, line: str) -> dict[str, str]:
    """Return an event as the journal of systemd holds it: with the whole line, which not everybody
    may read there."""
    kind = KINDS[event.kind]
    own = {"number": event.number, "kind": event.kind, **asdict(place), **_named(event)}
    return {
        "MESSAGE": printable(line),
        "MESSAGE_ID": kind.message_id,
        "PRIORITY": f"{kind.severity:d}",
        "SYSLOG_IDENTIFIER": "vipnft",
        **{f"VIPNFT_{name.upper()}": str(value) for name, value in own.items()},
    }


def _named(event: Event) -> dict[str, str | int | float]:
    found = (begin.match(event.text) for name, begin in _BEGINS if name == event.kind)
    named = next((one.groupdict() for one in found if one), {})
    return {name: _FIELDS[name][1](value) for name, value in named.items()}
