"""What happens to a host, as its agent's log tells it: each line is an event of one kind.

Rule 1: a line is of the first kind whose words it begins with; of none of them, it is a note.
Rule 2: what anybody on the machine may read has no seed, secret or client's address in it: the
        words of rules and of commands stay in the log.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vipnft.shown import printable

NOTE = "note"
KINDS: Mapping[str, tuple[str, ...]] = {
    "takeover": ("took over from ",),
    "dealt": ("dealt all buckets", "no table in the store"),
    "gave": ("giving ",),
    "share": ("{} of {} buckets here",),
    "drained": ("{} buckets drained",),
    "failing": ("failing (",),
    "healthy": ("healthy",),
    "settling": ("settling",),
    "stopping": ("told to stop",),
    "stopped": ("gave everything away",),
    "renewed": ("SIGHUP: beginning anew",),
    "unusable": ("SIGHUP: the new configuration can't be used",),
    "silent": ("SILENT for ", "silent: no beat for "),
    "carried": (
        "the store is away (",
        "for {} s without the store, ",
        "carrying on with the last table, without the store for ",
    ),
    "store_back": ("the store answers again",),
    "late": ("a beat was ",),
    "mended": ("found and mended: ",),
    "cut_off": ("can't serve: ", "can't serve yet: "),
    "reached": ("no longer: ",),
    "duplicate": ("WARNING: another machine on ",),
    "duplicate_gone": ("no longer, after ",),
    "learned": ("WARNING: frames came from the listen MAC itself",),
    "deaf": ("WARNING: no call of another host",),
    "hearing": ("calls of other hosts to the listen MAC arrive here again",),
    "unanswered": ("WARNING: {} does not answer at UDP port ",),
    "answered": ("the others answer at UDP port ",),
    "rival": ("another agent's key under this name", "another machine's agent under this name"),
    "strangers": ("WARNING: in the store are keys",),
}
"""What lines of each kind begin with; {} is a number, or hosts' names."""

_TEXT_CHARS = 500
_RULES = re.compile(r"seed|jhash", re.IGNORECASE)
_VALUE = r"[^\s,]+(?:, [^\s,]+)*"
_COMMAND = re.compile(r"\bexec ")
_BEGINS = {
    kind: re.compile("|".join(re.escape(one).replace(r"\{\}", _VALUE) for one in several))
    for kind, several in KINDS.items()
}


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log, by number from 1, with the time (seconds since 1970) and its kind."""

    number: int
    time: float
    kind: str
    text: str


def kind_of(line: str) -> str:
    """Return the kind of a line."""
    return next((kind for kind, begins in _BEGINS.items() if begins.match(line)), NOTE)


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
