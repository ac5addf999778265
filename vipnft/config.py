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
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vipnft.errors import ConfigError, Fault
from vipnft.model import MAX_BUCKETS, Cluster, Host, default_listen_mac, is_unicast_mac

_Loc = tuple[int | str, ...]
_Problem = tuple[_Loc, str, str]  # where, what was found, the fix
_Table = Mapping[str, Any]
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in (*fields(Cluster), *fields(Host))}

_REFUSED = (
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv4Network("0.0.0.0/8"), "an unspecified address"),
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv4Network("240.0.0.0/4"), "a reserved address"),
)


def _vip(text: str) -> str:
    """Check a VIP; here and below a ValueError holds what it is and, if it has its own, the fix."""
    head, slash, _ = text.partition("/")
    try:
        address = ip_address(head)
    except ValueError:
        raise ValueError("not an IPv4 address") from None
    if not isinstance(address, IPv4Address):
        raise ValueError("an IPv6 address", "use an IPv4 address: this version serves no other")
    for network, what in _REFUSED:
        if address in network:
            raise ValueError(what)
    if slash:
        raise ValueError("with a prefix length", f'write the address alone: "{head}"')
    return text


# Linux refuses "/", ":" and white space; nft reads "*" as a wildcard, and quotes names with '"'.
_INTERFACE = re.compile(r'[^\x00-\x20/:*%"\\\x7f-\U0010ffff]{1,15}')


def _interface(text: str) -> str:
    if text == "lo":
        raise ValueError("loopback, which faces no segment")
    if text in {".", ".."} or not _INTERFACE.fullmatch(text):
        raise ValueError("not an interface name")
    return text


_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}")


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError("not a MAC address")
    mac = text.lower().replace("-", ":")
    if not is_unicast_mac(mac):
        raise ValueError("a multicast, broadcast or zero address")
    return mac


def _whole(low: int, high: int, more: str = "") -> Any:
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}{more}")


_Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{1,63}$"),
    Field(description='a name of 1 to 63 letters, digits, ".", "_" or "-"'),
]
_Interface = Annotated[
    str,
    AfterValidator(_interface),
    Field(description='a Linux interface name of 1 to 15 characters, such as "eth0"'),
]
_Mac = Annotated[
    str, AfterValidator(_mac), Field(description='a unicast MAC, such as "02:00:00:00:00:01"')
]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _ClusterShape(_Shape):
    name: _Name
    seed: Annotated[int, _whole(0, 2**32 - 1, ", the same on every host, kept private")]
    vips: Annotated[list[Annotated[str, AfterValidator(_vip)]], Field(min_length=1)] = Field(
        description='unicast IPv4 addresses, such as ["192.0.2.100"]'
    )
    interface: _Interface
    buckets: Annotated[int, _whole(1, MAX_BUCKETS)] = _DEFAULTS["buckets"]
    listen_mac: _Mac = ""


class _HostShape(_Shape):
    name: _Name
    weight: Annotated[int, _whole(0, 1000)] = _DEFAULTS["weight"]
    interface: _Interface = ""
    send_mac: _Mac = ""


class _FileShape(_Shape):
    cluster: _ClusterShape = Field(description="one [cluster] table")
    host: list[_HostShape] = Field(min_length=1, description="a [[host]] table for each host")


_TABLES: dict[str, type[_Shape]] = {"cluster": _ClusterShape, "host": _HostShape}


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
    shape: _FileShape | None = None
    problems: list[_Problem] = []
    try:
        shape = _FileShape.model_validate(document)
    except ValidationError as error:
        problems = [_translate(dict(item)) for item in error.errors(include_url=False)]
    sound = _sound(document, (), {at for at, *_ in problems})
    cluster = sound.get("cluster") or {}
    hosts = [host or {"weight": None} for host in sound.get("host") or []]
    problems += _cross(cluster, hosts)
    if shape is None or problems:
        raise ConfigError([Fault(file, _key(at, hosts), *rest) for at, *rest in sorted(problems)])
    return _build(shape.cluster, shape.host)


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
    ]
    for host in cluster.hosts:
        lines += ["", "[[host]]", f"name = {_quote(host.name)}", f"weight = {host.weight}"]
        if host.interface != common:
            lines.append(f"interface = {_quote(host.interface)}")
        if host.send_mac:
            lines.append(f"send_mac = {_quote(host.send_mac)}")
    return "\n".join(lines) + "\n"


def _build(shape: _ClusterShape, hosts: Iterable[_HostShape]) -> Cluster:
    said = shape.model_dump(exclude_unset=True, exclude={"interface"})
    vips = tuple(IPv4Address(vip) for vip in shape.vips)
    each = [{"interface": shape.interface} | host.model_dump(exclude_unset=True) for host in hosts]
    said |= {"vips": vips, "hosts": tuple(Host(**host) for host in each)}
    return Cluster(**{"listen_mac": default_listen_mac(vips[0])} | said)


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
    macs = [_mac(mac) if (mac := host.get("send_mac")) else None for host in hosts]
    for key, values, what in (("name", names, "name"), ("send_mac", macs, "MAC")):
        for number, first in _repeats(values):
            found = f"is {_show(values[number])}, the same as {_key(('host', first, key), hosts)}"
            yield ("host", number, key), found, f"give each host a {what} of its own"

    default = default_listen_mac(IPv4Address(vips[0])) if vips[0] else None
    listen = _mac(mac) if (mac := cluster.get("listen_mac", default)) else None
    for number, mac in enumerate(macs):
        if mac and mac == listen:
            found = f"is {_show(mac)}, the listen MAC"
            yield ("host", number, "send_mac"), found, "give the host a MAC of its own"

    weights = [host.get("weight", _DEFAULTS["weight"]) for host in hosts]
    if weights and all(weight == 0 for weight in weights):
        yield ("host",), "has weight 0 everywhere", "give one host at least weight 1"
    working = sum(bool(weight) for weight in weights)
    buckets = cluster.get("buckets", _DEFAULTS["buckets"])
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
    known = (_TABLES[keys[0]] if len(keys) > 1 else _FileShape).model_fields
    if kind == "extra_forbidden":
        fix = _suggest(keys[-1], list(known))
    elif kind == "value_error" and len(context["error"].args) > 1:
        fix = context["error"].args[1]
    else:
        fix = f"{'add' if kind == 'missing' else 'use'} {known[keys[-1]].description}"
    return loc, found.format(value=_show(error["input"]), **context), fix


def _suggest(key: str, known: list[str]) -> str:
    for header, shape in (("[cluster]", _ClusterShape), ("[[host]]", _HostShape)):
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
    return json.dumps(text, ensure_ascii=not text.isprintable())
