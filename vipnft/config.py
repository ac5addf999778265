"""The cluster file: TOML text to a Cluster, a Cluster to TOML text.

Rule 1: `parse` reports every fault at once; one fault never hides another.
Rule 2: a fault is one line: the place as its reader wrote it, what stands there, what to do.
Rule 3: pydantic checks each value; `_cross` checks values together, as far as they are sound.
Rule 4: only a Cluster leaves; pydantic, its models and its errors stay in here.
"""

import difflib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from pydantic import ValidationError

from vipnft import duration
from vipnft.errors import ConfigError, Fault
from vipnft.model import MAX_BUCKETS, Agents, Check, Cluster, Host, default_listen_mac
from vipnft.shape import (
    AGENTS,
    DEFAULTS,
    KINDS,
    ONLY,
    PORTS,
    SHAPES,
    CheckShape,
    ClusterShape,
    FileShape,
    HostShape,
    checked_mac,
)

_Loc = tuple[int | str, ...]
_Problem = tuple[_Loc, str, str]  # where, what was found, the fix
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
    problems: list[_Problem] = []
    try:
        shape = FileShape.model_validate(document)
    except ValidationError as error:
        problems = [_translate(dict(item)) for item in error.errors(include_url=False)]
    sound = _sound(document, (), {at for at, *_ in problems})
    cluster = sound.get("cluster") or {}
    hosts = [host or {"weight": None} for host in sound.get("host") or []]
    problems += _cross(cluster, hosts)
    problems += _cross_times(cluster)
    for number, check in enumerate(sound.get("check") or []):
        problems += (
            (("check", number, key), found, fix) for key, found, fix in _cross_check(check or {})
        )
    if shape is None or problems:
        raise ConfigError([Fault(file, _key(at, hosts), *rest) for at, *rest in sorted(problems)])
    return _build(shape.cluster, shape.host, shape.check)


def render(cluster: Cluster) -> str:
    """Return TOML text that `parse` turns into an equal Cluster, every default written out."""
    common = Counter(host.interface for host in cluster.hosts).most_common(1)[0][0]
    lines = [
        "[cluster]",
        f"name = {_quote(cluster.name)}",
        f"seed = {cluster.seed:#x}",
        f"vips = [{', '.join(_quote(str(vip)) for vip in cluster.vips)}]",
        f"interface = {_quote(common)}",
        f"buckets = {cluster.buckets}",
        f"listen_mac = {_quote(cluster.listen_mac)}",
        *_render_agents(cluster.agents),
    ]
    for host in cluster.hosts:
        lines += ["", "[[host]]", f"name = {_quote(host.name)}", f"weight = {host.weight}"]
        if host.interface != common:
            lines.append(f"interface = {_quote(host.interface)}")
        if host.send_mac:
            lines.append(f"send_mac = {_quote(host.send_mac)}")
    for check in cluster.agents.checks:
        lines += ["", "[[check]]", *_render_check(check)]
    return "\n".join(lines) + "\n"


def _render_agents(agents: Agents) -> list[str]:
    return [
        *([f"store = {_quote(agents.store)}"] if agents.store else []),
        f"lease = {_quote(duration.text(agents.lease))}",
        f"beat = {_quote(duration.text(agents.beat))}",
        f"on_store_loss = {_quote(agents.on_store_loss)}",
    ]


def _render_check(check: Check) -> Iterator[str]:
    yield f"kind = {_quote(check.kind)}"
    yield f"interval = {_quote(duration.text(check.interval))}"
    yield f"timeout = {_quote(duration.text(check.timeout))}"
    yield f"rise = {check.rise}"
    yield f"fall = {check.fall}"
    for key in KINDS[check.kind]:
        value = getattr(check, key)
        if isinstance(value, tuple):
            yield f"{key} = [{', '.join(map(_quote, value))}]"
        elif value != "":
            yield f"{key} = {value if isinstance(value, int) else _quote(value)}"


def _build(
    shape: ClusterShape, hosts: Iterable[HostShape], checks: Iterable[CheckShape]
) -> Cluster:
    said = shape.model_dump(exclude_unset=True, exclude={"interface", *AGENTS})
    lease = duration.seconds(shape.lease)
    said["agents"] = Agents(
        store=shape.store,
        lease=lease,
        beat=duration.seconds(shape.beat) if shape.beat else lease / 5,
        on_store_loss=shape.on_store_loss,
        checks=tuple(_check(check) for check in checks),
    )
    vips = tuple(IPv4Address(vip) for vip in shape.vips)
    each = [{"interface": shape.interface} | host.model_dump(exclude_unset=True) for host in hosts]
    said |= {"vips": vips, "hosts": tuple(Host(**host) for host in each)}
    return Cluster(**{"listen_mac": default_listen_mac(vips[0])} | said)


def _check(shape: CheckShape) -> Check:
    said = shape.model_dump(exclude_unset=True)
    said |= {key: duration.seconds(getattr(shape, key)) for key in ("interval", "timeout")}
    said["timeout"] = min(said["timeout"], said["interval"])
    said["command"] = tuple(shape.command)
    port = shape.port or PORTS.get(shape.kind, 0)
    return Check(**said | {"port": port})


def _cross_times(cluster: _Table) -> Iterator[_Problem]:
    lease, beat = cluster.get("lease", "1s"), cluster.get("beat")
    if (
        lease and beat and duration.seconds(beat) > duration.seconds(lease) / 3 + 1e-9
    ):  # 0.3 / 3 < 0.1
        found = f"is {_show(beat)}, more than a third of the lease"
        fix = f"use {duration.text(duration.seconds(lease) / 5)}, or a longer lease"
        yield ("cluster", "beat"), found, fix


def _cross_check(check: _Table) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a check as a whole: its key, what was found, the fix."""
    kind = check.get("kind")
    if kind is None:
        return
    required = {"tcp": "port", "dns": "name", "exec": "command"}.get(kind)
    if required and required not in check:
        fix = f"add {CheckShape.model_fields[required].description}"
        yield required, f"is missing in {_a(kind)} check", fix
    for key in set(check) & set(ONLY) - set(KINDS[kind]):
        yield key, f"does not belong to {_a(kind)} check", "remove it"
    interval, timeout = check.get("interval", "1s"), check.get("timeout")
    if interval and timeout and duration.seconds(timeout) > duration.seconds(interval):
        found = f"is {_show(timeout)}, longer than the interval"
        yield "timeout", found, f"use {interval} at most, or a longer interval"


def _sound(value: Any, loc: _Loc, bad: set[_Loc]) -> Any:
    """Return the document with None for each faulty value, so that faulty is not absent."""
    if loc in bad:
        return None
    if isinstance(value, dict):
        return {key: _sound(item, (*loc, key), bad) for key, item in value.items()}
    if isinstance(value, list):
        return [_sound(item, (*loc, number), bad) for number, item in enumerate(value)]
    return value


def _cross(cluster: _Table, hosts: list[_Table]) -> Iterator[_Problem]:
    vips = cluster.get("vips") or [None]
    for number, first in _repeats(vips):
        found = f"is {_show(vips[number])}, the same as vips[{first}]"
        yield ("cluster", "vips", number), found, "remove one of the two"

    names = [host.get("name") for host in hosts]
    macs = [checked_mac(mac) if (mac := host.get("send_mac")) else None for host in hosts]
    for key, values, what in (("name", names, "name"), ("send_mac", macs, "MAC")):
        for number, first in _repeats(values):
            found = f"is {_show(values[number])}, the same as {_key(('host', first, key), hosts)}"
            yield ("host", number, key), found, f"give each host a {what} of its own"

    default = default_listen_mac(IPv4Address(vips[0])) if vips[0] else None
    listen = checked_mac(mac) if (mac := cluster.get("listen_mac", default)) else None
    for number, mac in enumerate(macs):
        if mac and mac == listen:
            found = f"is {_show(mac)}, the listen MAC"
            yield ("host", number, "send_mac"), found, "give the host a MAC of its own"

    weights = [host.get("weight", DEFAULTS["weight"]) for host in hosts]
    if weights and all(weight == 0 for weight in weights):
        yield ("host",), "has weight 0 everywhere", "give one host at least weight 1"
    working = sum(bool(weight) for weight in weights)
    buckets = cluster.get("buckets", DEFAULTS["buckets"])
    if buckets is not None and buckets < working:
        by_default = "" if "buckets" in cluster else " by default"
        found = f"is {buckets}{by_default}, below the number of hosts with a weight above 0"
        yield ("cluster", "buckets"), found, f"use a whole number from {working} to {MAX_BUCKETS}"


def _repeats(values: Iterable[str | None]) -> Iterator[tuple[int, int]]:
    """Yield the place of each value that stood before, and the place where it first stood."""
    seen: dict[str, int] = {}
    for number, value in enumerate(values):
        if value is not None and (first := seen.setdefault(value, number)) != number:
            yield number, first


_FOUND = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "int_type": "is {value}, not a whole number",
    "string_type": "is {value}, not text",
    "list_type": "is {value}, not a list",
    "model_type": "is {value}, not a table",
    "too_short": "is an empty list",
    "greater_than_equal": "is {value}, below {ge}",
    "less_than_equal": "is {value}, above {le}",
    "string_pattern_mismatch": "is {value}, not a name",
    "value_error": "is {value}, {error.args[0]}",
}


def _translate(error: _Table) -> _Problem:
    """Turn one of pydantic's errors into ours."""
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    found = _FOUND.get(kind, "is {value}, which can't be used")
    keys = [part for part in loc if isinstance(part, str)]
    known = (SHAPES[keys[0]] if len(keys) > 1 else FileShape).model_fields
    if kind == "extra_forbidden":
        fix = _suggest(keys[-1], list(known))
    elif kind == "value_error" and len(context["error"].args) > 1:
        fix = context["error"].args[1]
    else:
        fix = f"{'add' if kind == 'missing' else 'use'} {known[keys[-1]].description}"
    return loc, found.format(value=_show(error["input"]), **context), fix


def _suggest(key: str, known: list[str]) -> str:
    for header, shape in (
        ("[cluster]", ClusterShape),
        ("[[host]]", HostShape),
        ("[[check]]", CheckShape),
    ):
        if key in shape.model_fields:
            return f"move it to {header}"
    near = difflib.get_close_matches(key[:64].lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"remove it, or use one of {', '.join(known)}"


def _key(loc: _Loc, hosts: list[_Table]) -> str:
    """Return a place as a reader looks for it: `cluster.vips[0]`, `host[2] ("web3").weight`."""
    text = ""
    for part in loc:
        if isinstance(part, str):
            text += "." + (part if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) else _show(part))
            continue
        text += f"[{part}]"
        if loc[0] == "host" and loc[-1] != "name" and (name := hosts[part].get("name")):
            text += f' ("{name}")'
    return text.removeprefix(".")


def _show(value: object) -> str:
    """Return a value as TOML writes it, in one line and of bounded length."""
    if isinstance(value, str):
        return _quote(value if len(value) <= 64 else value[:63] + "…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return {"dict": "a table", "list": "a list"}.get(type(value).__name__) or str(value)


def _quote(text: str) -> str:
    letters = json.dumps(text, ensure_ascii=False)  # its \\u can't say what is above U+FFFF
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in letters)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
