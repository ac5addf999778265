"""What a monitoring plugin says: one line with performance data, and an exit code.

By the conventions of Nagios' plugins: 0 is well, 1 a warning, 2 critical, 3 unknown.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from vipnft.observe.status_report import StatusReport
from vipnft.shown import printable


class Code(IntEnum):
    """How bad it is."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def of_snapshot(found: Mapping[str, Any]) -> tuple[Code, str]:
    """Return the code and the line for a fresh snapshot; KeyError and the like for what nobody
    wrote."""
    status, agent = found["status"], found.get("agent")
    why = list(map(str, found["why"]))
    bad = bool(status["drift"]) or bool(status["duplicates"])
    why += [str(one) for one in status["duplicates"]]
    code = Code.OK if found["ready"] and not why else Code.WARNING
    if status["note"] and code is Code.OK:
        code, why = Code.WARNING, [str(status["note"])]
    more = []
    if agent is not None:
        bad = bad or not agent["lease"]["left"] or not agent["store"]["up"]
        more = [f"lease_left={agent['lease']['left']:g}s;;;0;{agent['lease']['seconds']:g}"]
        if not agent["store"]["up"] and agent["lease"]["left"]:
            carried = agent["promises"] and agent["promises"]["carried"]
            by = ": the others' promises carry this host" if carried else ""
            why.append(f"the store took no beat for {agent['store']['away']:.0f} s{by}")
        if agent["promises"] and (deaf := agent["promises"]["unheard"]):
            code = Code.WARNING
            why.append(f"{', '.join(deaf)} does not answer: without the store this host is silent")
        if not agent["hearing"]:
            bad = True
            why.append("no call of another host arrives")
    owned, buckets = len(status["owned"]), status["buckets"]
    draining = [len(one["buckets"]) for one in status["moving"] if one["state"] == "draining"]
    taken = status["taken"]
    return _line(
        Code.CRITICAL if bad else code,
        why or [f"{status['host']} serves {owned} of {buckets} buckets"],
        [
            *_shares(owned, buckets, taken["packets"], taken["bytes"]),
            *more,
            f"draining={sum(draining)}",
        ],
    )


def of_report(report: StatusReport) -> tuple[Code, str]:
    """Return the same for a host without an agent, by what its kernel holds."""
    why = [f"differs from what was applied: {report.drift[0].strip()}"] if report.drift else []
    why += report.duplicates
    code = Code.CRITICAL if why else Code.WARNING if report.note else Code.OK
    why += [report.note] if report.note else []
    owned = len(report.owned)
    return _line(
        code,
        why or [f"{report.host} serves {owned} of {report.buckets} buckets"],
        _shares(owned, report.buckets, report.taken.packets, report.taken.bytes),
    )


def unknown(why: str) -> tuple[Code, str]:
    """Return the same where nothing is known."""
    return _line(Code.UNKNOWN, [why], [])


def _shares(owned: int, buckets: int, packets: int, size: int) -> list[str]:
    return [f"owned={owned};;;0;{buckets}", f"packets={packets}c", f"bytes={size}c"]


def _line(code: Code, why: list[str], data: list[str]) -> tuple[Code, str]:
    # A bar begins the performance data, wherever it stands.
    said = printable("; ".join(why)).replace("|", "/")
    return code, f"VIPNFT {code.name} - {said}" + (f" | {' '.join(data)}" if data else "")
