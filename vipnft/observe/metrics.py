"""The snapshot in Prometheus' text format, by its conventions.

Rule 1: without a snapshot there is no metric but the build's: what is old is never told as new.
Rule 2: no label takes values without bound; buckets are told only to who asks for them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vipnft.agreement.records import Standing

_STATES = (*(str(one) for one in Standing), "silent", "unheard")
_STAGED = ("native", "generic")
Sample = tuple[Mapping[str, object], float]


def text(found: Mapping[str, Any] | None, version: str, *, buckets: bool = False) -> str:
    """Return all metrics of a snapshot; None: of none."""
    lines = list(_family("vipnft_build_info", "gauge", "Of vipnft.", [({"version": version}, 1)]))
    if found is not None:
        for name, kind, told, samples in _families(found, buckets):
            lines += _family(f"vipnft_{name}", kind, told, samples)
        lines += _agent_lines(found)
    return "\n".join(lines) + "\n"


def _families(
    found: Mapping[str, Any], buckets: bool
) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    """Yield what every host has: name, kind, what it tells, samples."""
    status = found["status"]
    host = {key: status[key] for key in ("cluster", "host", "mode")}
    moving = {
        state: sum(len(one["buckets"]) for one in status["moving"] if one["state"] == state)
        for state in ("draining", "joining")
    }
    owned = len(status["owned"])
    draining = sum(m["connections"] for m in status["moving"] if m["state"] == "draining")
    yield "host_info", "gauge", "Who this is.", [(host, 1)]
    if said := (found.get("agent") or found).get("config_sha256"):
        yield "config_info", "gauge", "What the file says.", [({"sha256": said}, 1)]
    yield "snapshot_timestamp_seconds", "gauge", "When this was so.", _one(found["written"]["time"])
    yield "ready", "gauge", "Whether this host serves as meant.", _one(found["ready"])
    yield "cluster_buckets", "gauge", "Buckets of the cluster.", _one(status["buckets"])
    yield (
        "buckets",
        "gauge",
        "Buckets of this host; joining ones are among the owned.",
        [({"state": state}, n) for state, n in {"owned": owned, **moving}.items()],
    )
    yield (
        "draining_connections",
        "gauge",
        "Connections of buckets that were given away.",
        _one(draining),
    )
    taken = status["taken"]
    told = "Packets that this host took."
    yield "taken_packets_total", "counter", told, _one(taken["packets"])
    yield "taken_bytes_total", "counter", "Bytes that this host took.", _one(taken["bytes"])
    yield "drift", "gauge", "Ways in which the kernel can't be mended.", _one(len(status["drift"]))
    yield (
        "duplicates",
        "gauge",
        "Other machines that have a VIP.",
        _one(len(status["duplicates"])),
    )
    strays = [({"interface": nic["interface"]}, nic["strays"]) for nic in status["nics"]]
    yield "stray_frames_total", "counter", "Frames that came from the listen MAC.", strays
    yield from _stage_families({nic["interface"]: nic["stage"] for nic in status["nics"]})
    if buckets:
        load = [({"bucket": b}, n) for b, n in enumerate(status["bucket_packets"])]
        yield "bucket_packets_total", "counter", "Packets that this host took of a bucket.", load


def _stage_families(
    stages: Mapping[str, Mapping[str, Any] | None],
) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    """Yield what there is of the XDP stage, where there is or should be one; what cannot be read
    is not told."""
    known = {interface: one for interface, one in stages.items() if one is not None}
    if known:
        attached = [
            ({"interface": interface, "where": where}, one["where"] == where)
            for interface, one in known.items()
            for where in _STAGED
        ]
        yield "stage_attached", "gauge", "Whether the XDP stage is on, and where.", attached
    if dropped := [
        ({"interface": interface}, sum(one["dropped"]))
        for interface, one in known.items()
        if one["dropped"]
    ]:
        told = "Packets of other hosts' buckets that the XDP stage dropped."
        yield "stage_dropped_packets_total", "counter", told, dropped


def _agent_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what only a host with an agent has."""
    agent, figures = found.get("agent"), found["figures"]
    if agent is None or figures is None:
        return
    lease, store = agent["lease"], agent["store"]
    serving = lease["left"] > 0 and bool(found["status"]["owned"])
    events = figures["events"]
    members = found["cluster"]["hosts"]
    states = [
        ({"member": host, "state": state}, one["state"] == state)
        for host, one in members.items()
        for state in _STATES
    ]
    checks = [
        ({"check": f"{n} {one['name']}"}, one["up"]) for n, one in enumerate(agent["checks"], 1)
    ]
    requests = [({"result": result}, n) for result, n in figures["store_requests"].items()]
    for name, kind, told, samples in (
        ("serving", "gauge", "Whether this host answers anybody.", _one(serving)),
        ("lease_seconds", "gauge", "How long a lease lasts.", _one(lease["seconds"])),
        ("lease_left_seconds", "gauge", "What is left of it.", _one(lease["left"])),
        ("store_up", "gauge", "Whether the store took the last beat.", _one(store["up"])),
        ("store_requests_total", "counter", "Requests to the store.", requests),
        ("takeovers_total", "counter", "Takeovers by this host.", _one(events.get("takeover", 0))),
        ("repairs_total", "counter", "Times the kernel was mended.", _one(events.get("mended", 0))),
        (
            "events_total",
            "counter",
            "Lines of the agent's log.",
            [({"kind": kind}, n) for kind, n in events.items()],
        ),
        ("hearing", "gauge", "Whether other hosts' calls arrive.", _one(agent["hearing"])),
        ("check_up", "gauge", "Whether a check succeeds.", checks),
        ("member_state", "gauge", "1 for the state that each host is in.", states),
    ):
        yield from _family(f"vipnft_{name}", kind, told, samples)
    if agent["promises"]:
        yield from _promise_lines(agent["promises"], set(members) - {found["status"]["host"]})
    for name, told in (
        ("beat_seconds", "How long a beat took."),
        ("store_request_seconds", "How long the store took."),
    ):
        one = figures[name]
        full = f"vipnft_{name.removesuffix('_seconds')}_duration_seconds"
        yield from _histogram(full, told, one)


def _promise_lines(promises: Mapping[str, Any], others: Iterable[str]) -> Iterator[str]:
    """Yield what only a host has that goes on by the others' promises."""
    told = "Whether the others' promises renew the lease, without the store."
    yield from _family("vipnft_promises_carry", "gauge", told, _one(promises["carried"]))
    told = "Whether a host beats, and does not answer when this one calls it, as for its promise."
    unheard = [({"member": host}, host in promises["unheard"]) for host in sorted(others)]
    yield from _family("vipnft_member_unheard", "gauge", told, unheard)


def _one(value: float) -> list[Sample]:
    return [({}, value)]


def _family(name: str, kind: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {_number(value)}"


def _histogram(name: str, told: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} histogram"
    total = 0
    for bound, count in zip([*found["bounds"], "+Inf"], found["counts"], strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {_number(found['sum'])}"
    yield f"{name}_count {total}"


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items()) + "}"


def _quoted(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, bool) else f"{value:.15g}"
