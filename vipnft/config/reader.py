"""The cluster file: TOML text to a Cluster, or every fault in it.

Rule 1: `parse` reports every fault at once; one fault never hides another.
Rule 2: a fault is one line: the place as its reader wrote it, what stands there, what to do.
Rule 3: pydantic checks each value; `cross` checks values together, as far as they are sound.
Rule 4: only a Cluster leaves; pydantic, its models and its errors stay in here.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from vipnft.config import duration
from vipnft.config.consistency import Loc, Problem, cross, place, show
from vipnft.config.schema import (
    PORTS,
    SHAPES,
    CheckShape,
    ClusterShape,
    FileShape,
    HostShape,
    SegmentShape,
    ServiceShape,
    port_range,
)
from vipnft.errors import ConfigError, Fault
from vipnft.model import (
    Affinity,
    Agents,
    Balance,
    Check,
    CheckKind,
    Cluster,
    Host,
    Mode,
    Protocol,
    Segment,
    Service,
    StoreLoss,
    Xdp,
    default_listen_mac,
)

_Table = Mapping[str, Any]


def parse(text: str, file: str) -> Cluster:
    """Return the cluster that TOML `text` describes; ConfigError lists every fault in it.

    `file` is only what the faults call the text's origin; nothing is opened.
    """
    try:
        document = tomllib.loads(str(text.encode(), "utf-8"))
    except (ValueError, RecursionError) as error:  # also: half a surrogate, 5,000 digits, [[[[…
        found = f"is broken TOML: {' '.join(str(error).split())}"
        fix = "correct it there (text stands in quotes, a number does not)"
        raise ConfigError([Fault(file, "", found, fix)]) from None
    if not document:
        fix = "add a [cluster] table, and a [[host]] table for each host"
        raise ConfigError([Fault(file, "", "is empty", fix)])
    shape: FileShape | None = None
    problems: list[Problem] = []
    try:
        shape = FileShape.model_validate(document)
    except ValidationError as error:
        problems = [_translate(dict(item)) for item in error.errors(include_url=False)]
    sound = _sound(document, (), {at for at, *_ in problems})
    problems += cross(sound)
    if shape is None or problems:
        hosts = sound.get("host") or []
        raise ConfigError([Fault(file, place(at, hosts), *rest) for at, *rest in sorted(problems)])
    return _build(shape)


def _build(shape: FileShape) -> Cluster:
    c = shape.cluster
    first = c.interface
    return Cluster(
        name=c.name,
        secret=c.secret,
        seed=c.seed,
        segments=(_segment(c), *map(_segment, shape.segment)),
        hosts=tuple(_host(one, first) for one in shape.host),
        buckets=c.buckets,
        services=tuple(_service(one) for one in shape.service),
        agents=_agents(c, shape.check),
        mode=Mode(c.mode) if c.mode else None,
        xdp=Xdp(c.xdp),
    )


def _segment(shape: ClusterShape | SegmentShape) -> Segment:
    vips = tuple(ip_address(vip) for vip in shape.vips)
    listen = shape.listen_mac or default_listen_mac(vips)
    return Segment(interface=shape.interface, vips=vips, listen_mac=listen)


def _host(shape: HostShape, first: str) -> Host:
    own = {first: shape.interface} | shape.interfaces
    macs = {first: shape.send_mac} | shape.send_macs
    return Host(
        name=shape.name,
        weight=shape.weight,
        interfaces={segment: name for segment, name in own.items() if name not in {"", segment}},
        send_macs={segment: mac for segment, mac in macs.items() if mac},
    )


def _service(shape: ServiceShape) -> Service:
    said = shape.model_dump(exclude_unset=True)
    ports = tuple(sorted(port_range(value) for value in shape.ports))
    return Service(
        **said
        | {
            "protocol": Protocol(shape.protocol),
            "ports": ports,
            "affinity": Affinity(shape.affinity),
        }
    )


def _agents(shape: ClusterShape, checks: Iterable[CheckShape]) -> Agents:
    lease = duration.seconds(shape.lease)
    return Agents(
        store=shape.store,
        password_file=shape.password_file,
        lease=lease,
        beat=duration.seconds(shape.beat) if shape.beat else lease / 5,
        on_store_loss=StoreLoss(shape.on_store_loss),
        promise_port=shape.promise_port,
        settle=duration.seconds(shape.settle),
        balance=Balance(shape.balance),
        balance_every=duration.seconds(shape.balance_every),
        balance_cpu=shape.balance_cpu,
        checks=tuple(_check(check) for check in checks),
    )


def _check(shape: CheckShape) -> Check:
    said = shape.model_dump(exclude_unset=True)
    said |= {key: duration.seconds(getattr(shape, key)) for key in ("interval", "timeout")}
    said["timeout"] = min(said["timeout"], said["interval"])
    said["command"] = tuple(shape.command)
    said["name"] = said.pop("host", shape.name)
    kind = CheckKind(shape.kind)
    return Check(**said | {"kind": kind, "port": shape.port or PORTS.get(kind, 0)})


def _sound(value: Any, loc: Loc, bad: set[Loc]) -> Any:
    """Return the document with None for each faulty value, so that faulty is not absent."""
    if loc in bad:
        return None
    if isinstance(value, dict):
        return {key: _sound(item, (*loc, key), bad) for key, item in value.items()}
    if isinstance(value, list):
        return [_sound(item, (*loc, number), bad) for number, item in enumerate(value)]
    return value


_FOUND = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "int_type": "is {value}, not a whole number",
    "string_type": "is {value}, not text",
    "list_type": "is {value}, not a list",
    "bool_type": "is {value}, neither true nor false",
    "model_type": "is {value}, not a table",
    "dict_type": "is {value}, not a table",
    "too_short": "is an empty list",
    "greater_than_equal": "is {value}, below {ge}",
    "less_than_equal": "is {value}, above {le}",
    "string_pattern_mismatch": "is {value}, not a name",
    "value_error": "is {value}, {error.args[0]}",
}


_SECRET, _HIDDEN = {"store", "secret"}, '"…"'  # it may hold a password


def _translate(error: _Table) -> Problem:
    """Turn one of pydantic's errors into ours."""
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    found = _FOUND.get(kind, "is {value}, which can't be used")
    keys = [part for part in loc if isinstance(part, str)]
    known = (SHAPES[keys[0]] if len(keys) > 1 else FileShape).model_fields
    key = keys[min(len(keys), 2) - 1]  # deeper ones are a table's own
    if kind == "extra_forbidden":
        fix = _suggest(keys[-1], list(known))
    elif kind == "value_error" and len(context["error"].args) > 1:
        fix = context["error"].args[1]
    else:
        fix = f"{'add' if kind == 'missing' else 'use'} {known[key].description}"
    value = _HIDDEN if key in _SECRET else show(error["input"])
    return loc, found.format(value=value, **context), fix


def _suggest(key: str, known: list[str]) -> str:
    for table, shape in SHAPES.items():
        if key in shape.model_fields:
            return f"move it to {'[cluster]' if table == 'cluster' else f'[[{table}]]'}"
    near = difflib.get_close_matches(key[:64].lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"remove it, or use one of {', '.join(known)}"
