"""The snapshot: what a host says of itself and its cluster once a second, for whoever looks.

Rule 1: its format has a number, and a schema: docs/status.schema.json. A field may be added; any
        other change raises the number.
Rule 2: it says when it was written, by the clock that only goes forward: who finds it older than
        three periods has found none.
Rule 3: whoever reads it may read what anybody may have written: what it lacks is an error of ours.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vipnft.agreement.records import Standing
from vipnft.errors import VipnftError
from vipnft.observe.events import Event, public

FORMAT = 1
_PERIODS = 3
_LONGEST_S = 60.0  # a period longer than any
_AHEAD_S = 1.0  # how far ahead of now a stamp may be, seconds: clocks are read one after another


class SnapshotError(VipnftError):
    """There is no snapshot, it is too old, or nothing that this version wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """By which version, and when: seconds since 1970, and since the machine started; the next one
    comes in `period` seconds."""

    version: str
    time: float
    boottime: float
    period: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """What an agent has of the others' promises: `carried`: they renew its lease, as the store is
    away; `lacking`: who did not promise, when they were asked last while it is; `unheard`: who
    beats, and does not answer when this host calls, so that it would lack his."""

    carried: bool = False
    lacking: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """An agent as it is: `since` is in seconds since 1970, `left` what is left of its `lease`, and
    `away` for how long the store took no beat, in seconds. `checks` have a name each, and why it is
    down; `hearing`: whether calls of other hosts arrive; `promises` is None where it does not go on
    by any."""

    standing: Standing
    since: float
    config: str
    lease: float
    left: float
    on_store_loss: str
    store: str
    away: float
    checks: tuple[tuple[str, str], ...]
    hearing: bool
    promises: Promised | None = None
    cut_off: str = ""


def troubles(agent: AgentState, *, owned: int, weight: int, ordered: bool) -> list[str]:
    """Return why this host does not serve as meant, a sentence each; empty: it does."""
    found = []
    if agent.cut_off:
        found.append(f"can't serve: {public(agent.cut_off)}")
    if not agent.left:
        away = f": the store took no beat for {agent.away:.0f} s" if agent.away else ""
        lacking = ", ".join(agent.promises.lacking) if agent.promises else ""
        found.append(f"no lease{away}" + (f" ({lacking} did not promise)" if lacking else ""))
    found += [f"a check is down: {public(why)}" for _, why in agent.checks if why]
    if ordered:
        found.append("drained by order")
    elif agent.standing is not Standing.SERVING and not found:
        found.append(f"it is {agent.standing}")
    if not owned and weight and not found:
        found.append("it owns no bucket")
    return found


def untended(drift: Sequence[str], *, owned: int, weight: int) -> list[str]:
    """Return the same of a host that has no agent, and ways in which its kernel differs."""
    if drift:
        return [f"the kernel differs from what was applied: {drift[0].strip()}"]
    return ["it owns no bucket"] if weight and not owned else []


def document(stamp: Stamp, agent: AgentState | None, reasons: Iterable[str]) -> dict[str, Any]:
    """Return the part of a snapshot that changes each time."""
    said: dict[str, Any] = {
        "format": FORMAT,
        "version": stamp.version,
        "written": {"time": round(stamp.time, 3), "boottime": round(stamp.boottime, 3)},
        "period": stamp.period,
        "ready": not (why := list(reasons)),
        "why": why,
    }
    if agent is not None:
        said["agent"] = {
            "standing": agent.standing,
            "since": round(agent.since, 3),
            "config_sha256": agent.config,
            "lease": {
                "seconds": agent.lease,
                "left": round(agent.left, 3),
                "on_store_loss": agent.on_store_loss,
            },
            "store": {"kind": agent.store, "up": not agent.away, "away": round(agent.away, 3)},
            "checks": [
                {"name": public(name), "up": not why, "why": public(why)}
                for name, why in agent.checks
            ],
            "hearing": agent.hearing,
            "promises": asdict(agent.promises) if agent.promises else None,
        }
    return said


def text(
    head: Mapping[str, Any],
    events: Iterable[Event],
    figures: Mapping[str, Any] | None,
    *,
    status: str,
    cluster: str,
) -> str:
    """Return a snapshot as it is written; `status` and `cluster` are documents as JSON already,
    which change seldom."""
    more = {**head, "events": [asdict(event) for event in events], "figures": figures}
    return f'{json.dumps(more)[:-1]}, "status": {status}, "cluster": {cluster}}}\n'


def loaded(found: bytes, boottime: float) -> dict[str, Any]:
    """Read what `text` wrote; SnapshotError for anything else, and for one that is too old now, by
    seconds since the machine started."""
    try:
        return fresh(json.loads(found), boottime)
    except (ValueError, RecursionError) as error:
        raise SnapshotError("the snapshot is nothing that vipnft wrote") from error


def fresh(said: dict[str, Any], boottime: float) -> dict[str, Any]:
    """Return a snapshot that is not too old; SnapshotError likewise."""
    try:
        known = said["format"]
        age, period = boottime - said["written"]["boottime"], said["period"]
        if known != FORMAT:
            raise SnapshotError(f"the snapshot has format {known!r}, this version reads {FORMAT}")
        if not 0 < period <= _LONGEST_S:
            raise ValueError("no such period")
        if not -_AHEAD_S <= age <= _PERIODS * period:
            raise SnapshotError(f"the snapshot is {age:.1f} s old, and comes every {period:g} s")
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise SnapshotError("the snapshot is nothing that vipnft wrote") from error
    return said
