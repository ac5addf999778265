"""What `status` says: one report, as JSON or as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vipnft.buckets.phases import Phase, State
from vipnft.buckets.ranges import ranges
from vipnft.model import Applied, send_mac

_MANY = 2  # former owners of what is joined; more of them share a line
_RANGES = 50  # characters of a list of buckets that a line has room for
Counters = Mapping[int, tuple[int, int]]


def report(
    applied: Applied,
    counters: Counters,
    phases: Sequence[Phase | None],
    connections: Mapping[int, int],
    drift: Sequence[str],
    stale: str,
    macs: Mapping[str, str],
) -> dict[str, Any]:
    """Return the facts of this host, in plain values.

    `macs` are the interfaces' own. Counters and phases are the kernel's, by bucket; `connections`
    the live ones of each bucket.
    """
    owned = [b for b, owner in enumerate(applied.owners) if owner == applied.host]
    return {
        "cluster": applied.cluster.name,
        "host": applied.host,
        "mode": applied.mode.value,
        "nics": [
            {
                "interface": nic.interface,
                "vips": [str(vip) for vip in nic.vips],
                "listen_mac": nic.listen_mac(applied.mode),
                "send_mac": send_mac(nic, applied.mode, macs),
            }
            for nic in applied.nics
        ],
        "buckets": applied.cluster.buckets,
        "owned": owned,
        "share": len(owned) / applied.cluster.buckets,
        "taken": _sum(counters),
        "moving": _moving(applied, phases, connections),
        "hosts": list(applied.cluster.weights),
        "owners": list(applied.owners),
        "bucket_packets": [counters.get(b, (0, 0))[0] for b in range(applied.cluster.buckets)],
        "drift": list(drift),
        "note": stale,
    }


def text(facts: Mapping[str, Any]) -> str:
    """Return the report as a person reads it."""
    taken, nics = facts["taken"], facts["nics"]
    on = ", ".join(nic["interface"] for nic in nics)
    lines = [f"{facts['cluster']}: host {facts['host']}, {facts['mode']} mode on {on}"]
    for nic in nics:
        lines += [
            f"VIP         {', '.join(nic['vips'])}",
            f"listen MAC  {nic['listen_mac']}",
            f"send MAC    {nic['send_mac']}",
        ]
    lines += [
        f"buckets     {len(facts['owned'])} of {facts['buckets']} ({facts['share']:.1%}):"
        f" {_short(ranges(facts['owned']))}",
        f"taken       {taken['packets']:,} packets, {taken['bytes']:,} bytes",
    ]
    for one in facts["moving"]:
        preposition = "to" if one["state"] == "draining" else "from"
        whom = " or ".join(one["with"])
        lines.append(
            f"{one['state']:<11} {_short(ranges(one['buckets']))} {preposition} {whom},"
            f" {_time(one['seconds_left'])}, {one['connections']} connections here"
        )
    if facts["note"]:
        lines.append(f"note        {facts['note']}")
    if facts["drift"]:
        lines += ["kernel      differs from what was applied:"]
        lines += [f"  {line}" for line in facts["drift"]]
    else:
        lines.append("kernel      holds what was applied")
    return "\n".join(lines)


def _moving(
    applied: Applied, phases: Sequence[Phase | None], connections: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return what moves, grouped by state and by whom it concerns."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for b, phase in enumerate(phases):
        if phase is None or phase.left <= 0:
            continue
        drainers = tuple(sorted(set(applied.drains.get(b, {})) - {applied.host}))
        whom = drainers if phase.state is State.JOINING else (applied.owners[b],)
        groups.setdefault((phase.state.value, whom), []).append(b)
    # A newcomer joins what anybody may have served: one line, not one a host.
    joining = [key for key in groups if key[0] == State.JOINING.value]
    if len(joining) > _MANY:
        several = sorted(b for key in joining for b in groups.pop(key))
        groups[State.JOINING.value, tuple(sorted({n for _, who in joining for n in who}))] = several
    return [
        {
            "state": state,
            "with": list(whom),
            "buckets": several,
            "seconds_left": _seconds(max(p.left for b in several if (p := phases[b]))),
            "connections": sum(connections.get(b, 0) for b in several),
        }
        for (state, whom), several in sorted(groups.items())
    ]


def _seconds(left: float) -> float | None:
    """Return the time left; None where an agent will end it."""
    return None if math.isinf(left) else round(left, 1)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "until its connections end"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"


def _short(several: str) -> str:
    """Cut a long list at a comma; --json has it whole."""
    if len(several) <= _RANGES:
        return several
    return several[:_RANGES].rpartition(",")[0] + ",..."


def _sum(counters: Counters) -> dict[str, int]:
    several = counters.values()
    return {"packets": sum(p for p, _ in several), "bytes": sum(n for _, n in several)}
