"""What can't stand together in a cluster file, though each value by itself is sound.

Rule 1: what is faulty by itself is None here, and nothing is said of it twice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import takewhile
from typing import Any

from vipnft.config import duration
from vipnft.config.schema import DEFAULTS, KINDS, ONLY, CheckShape, checked_mac, port_range
from vipnft.config.writer import quote
from vipnft.model import (
    MAX_BUCKETS,
    Affinity,
    Agents,
    Balance,
    CheckKind,
    Protocol,
    StoreLoss,
    default_listen_mac,
)

Loc = tuple[int | str, ...]
Problem = tuple[Loc, str, str]  # where, what was found, the fix
_Table = Mapping[str, Any]
_Fault = tuple[str, str, str]  # key, what was found, the fix
_Placed = tuple[str | None, Loc]
_AGENTS = Agents()


def cross(document: _Table) -> Iterator[Problem]:
    """Yield what is wrong with values that are sound one by one."""
    cluster = document.get("cluster") or {}
    hosts = [host or {"weight": None} for host in document.get("host") or []]
    segments = [cluster, *(segment or {} for segment in document.get("segment") or [])]
    yield from _segments(segments)
    yield from _hosts(hosts, segments)
    yield from _weights(cluster, hosts)
    yield from _under(("cluster",), _times(cluster))
    services = [service or {} for service in document.get("service") or []]
    for number, service in enumerate(services):
        yield from _under(("service", number), _service(service))
    yield from _overlaps(services)
    yield from _under(("cluster",), _promises(cluster, services))
    for number, check in enumerate(document.get("check") or []):
        yield from _under(("check", number), _check(check or {}))


def place(loc: Loc, hosts: Sequence[_Table | None]) -> str:
    """Return a place as a reader looks for it: `cluster.vips[0]`, `host[2] ("web3").weight`."""
    text = ""
    for part in loc:
        if isinstance(part, str):
            text += "." + (part if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) else show(part))
            continue
        text += f"[{part}]"
        if loc[0] == "host" and loc[-1] != "name" and (name := (hosts[part] or {}).get("name")):
            text += f' ("{name}")'
    return text.removeprefix(".")


def show(value: object) -> str:
    """Return a value as TOML writes it, in one line and of bounded length."""
    if isinstance(value, str):
        return quote(value if len(value) <= 64 else value[:63] + "…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return {"dict": "a table", "list": "a list"}.get(type(value).__name__) or str(value)


def _under(at: Loc, faults: Iterable[_Fault]) -> Iterator[Problem]:
    return (((*at, key), found, fix) for key, found, fix in faults)


def _at(number: int) -> Loc:
    """Return the place of a segment: the first one is [cluster]'s."""
    return ("segment", number - 1) if number else ("cluster",)


def _segments(segments: Sequence[_Table]) -> Iterator[Problem]:
    every = {
        (*_at(number), "vips", i): vip
        for number, segment in enumerate(segments)
        for i, vip in enumerate(segment.get("vips") or [])
    }
    for (_, at), (_, first) in _repeats((_same(vip), at) for at, vip in every.items()):
        where = f"vips[{first[-1]}]" if first[:-1] == at[:-1] else place(first, ())
        yield at, f"is {show(every[at])}, the same as {where}", "remove one of the two"
    names = [(s.get("interface"), (*_at(n), "interface")) for n, s in enumerate(segments)]
    for (name, at), (_, first) in _repeats(names):
        found = f"is {show(name)}, the same as {place(first, ())}"
        yield at, found, "put all VIPs of one interface together"


def _same(vip: str | None) -> str | None:
    return None if vip is None else str(ip_address(vip))


def _hosts(hosts: Sequence[_Table], segments: Sequence[_Table]) -> Iterator[Problem]:
    names = [(host.get("name"), ("host", n, "name")) for n, host in enumerate(hosts)]
    for (name, at), (_, first) in _repeats(names):
        found = f"is {show(name)}, the same as {place(first, hosts)}"
        yield at, found, "give each host a name of its own"
    every = {at: mac for n, host in enumerate(hosts) for mac, at in _macs(host, n)}
    for (_, at), (_, first) in _repeats((_mac(mac), at) for at, mac in every.items()):
        found = f"is {show(every[at])}, the same as {place(first, hosts)}"
        yield at, found, "give each host a MAC of its own"
    listen = {_listen(segment) for segment in segments} - {None}
    for at, mac in every.items():
        if mac and _mac(mac) in listen:
            yield at, f"is {show(mac)}, the listen MAC", "give the host a MAC of its own"
    usual = [segment.get("interface") for segment in segments]
    more = usual[1:]
    for n, host in enumerate(hosts):
        for key in ("interfaces", "send_macs"):
            for segment in host.get(key) or {}:
                if segment not in more and None not in more:
                    known = ", ".join(map(str, more)) or "none: there is no [[segment]]"
                    found = "is no [[segment]]'s interface"
                    yield ("host", n, key, segment), found, f"use one of {known}"
        own = _interfaces(host, usual) if len(set(usual)) == len(usual) else ()
        for (name, at), _ in _repeats([(name, ("host", n, *at)) for name, at in own]):
            found = f"is {show(name)}, this host's interface on another segment"
            yield at, found, "give it one interface a segment"


def _macs(host: _Table, number: int) -> Iterator[tuple[str | None, Loc]]:
    yield host.get("send_mac"), ("host", number, "send_mac")
    for segment, mac in (host.get("send_macs") or {}).items():
        yield mac, ("host", number, "send_macs", segment)


def _interfaces(host: _Table, usual: Sequence[str | None]) -> Iterator[_Placed]:
    """Yield a host's interface on each segment, and where that is said."""
    first, *more = usual
    yield host.get("interface", first), ("interface",)
    own = host.get("interfaces") or {}
    for name in more:
        if name is not None and name in own:
            yield own[name], ("interfaces", name)
        else:
            yield name, ("interfaces",)


def _mac(text: str | None) -> str | None:
    return checked_mac(text) if text else None


def _listen(segment: _Table) -> str | None:
    if "listen_mac" in segment:
        return _mac(segment["listen_mac"])
    sound = list(takewhile(lambda vip: vip is not None, segment.get("vips") or []))
    addresses = [ip_address(vip) for vip in sound]
    if len(sound) == len(segment.get("vips") or [None]) or any(a.version == 4 for a in addresses):
        return default_listen_mac(addresses)
    return None  # a faulty one may be the first IPv4 VIP


def _weights(cluster: _Table, hosts: Sequence[_Table]) -> Iterator[Problem]:
    weights = [host.get("weight", DEFAULTS["weight"]) for host in hosts]
    if weights and all(weight == 0 for weight in weights):
        yield ("host",), "has weight 0 everywhere", "give one host at least weight 1"
    working = sum(bool(weight) for weight in weights)
    buckets = cluster.get("buckets", DEFAULTS["buckets"])
    if buckets is not None and buckets < working:
        by_default = "" if "buckets" in cluster else " by default"
        found = f"is {buckets}{by_default}, below the number of hosts with a weight above 0"
        yield ("cluster", "buckets"), found, f"use a whole number from {working} to {MAX_BUCKETS}"


def _times(cluster: _Table) -> Iterator[_Fault]:
    lease, beat = cluster.get("lease", "1s"), cluster.get("beat")
    slack = 1e-9  # 0.3 / 3 < 0.1
    if lease and beat and duration.seconds(beat) > duration.seconds(lease) / 3 + slack:
        found = f"is {show(beat)}, more than a third of the lease"
        fix = f"use {duration.text(duration.seconds(lease) / 5)}, or a longer lease"
        yield "beat", found, fix
    by_number = cluster.get("balance", Balance.NUMBER) == Balance.NUMBER
    for key in ("balance_every", "balance_cpu"):
        if key in cluster and by_number:
            found = "does not belong to buckets that are dealt by number"
            yield key, found, 'remove it, or use balance = "load"'


def _service(service: _Table) -> Iterator[_Fault]:
    """Yield what is wrong with a service as a whole."""
    protocol = service.get("protocol")
    if "quic" in service and protocol not in {Protocol.UDP, None}:
        yield "quic", f"does not belong to {_a(protocol)} service", "remove it"
    affinity = service.get("affinity", Affinity.CLIENT)
    for key in ("prefix4", "prefix6"):
        if key in service and affinity not in {Affinity.SUBNET, None}:
            found = f"does not belong to affinity {show(affinity)}"
            yield key, found, 'remove it, or use affinity = "subnet"'


def _overlaps(services: Sequence[_Table]) -> Iterator[Problem]:
    """Yield the ports that stand in two services, or twice in one."""
    seen: list[tuple[str, int, int, Loc]] = []
    for number, service in enumerate(services):
        protocol = service.get("protocol")
        for i, value in enumerate(service.get("ports") or []):
            at: Loc = ("service", number, "ports", i)
            if value is None or protocol is None:
                continue
            first, last = port_range(value)
            for other, low, high, there in seen:
                if other == protocol and first <= high and low <= last:
                    found = f"is {show(value)}, of which {place(there, ())} has some already"
                    yield at, found, "give each port to one service"
                    break
            seen.append((protocol, first, last, at))


def _promises(cluster: _Table, services: Sequence[_Table]) -> Iterator[_Fault]:
    """Yield that agents can't have their port: a server has it, most likely at any address."""
    port = cluster.get("promise_port", _AGENTS.promise_port)
    if port is None or cluster.get("on_store_loss", _AGENTS.on_store_loss) != StoreLoss.FAILSAFE:
        return
    for number, service in enumerate(services):
        for value in service.get("ports") or []:
            if value is None or service.get("protocol") != Protocol.UDP:
                continue
            first, last = port_range(value)
            if first <= port <= last:
                by_default = "" if "promise_port" in cluster else " by default"
                found = f"is {port}{by_default}, which service[{number}] serves"
                yield "promise_port", found, "use another, the same on every host"


def _check(check: _Table) -> Iterator[_Fault]:
    """Yield what is wrong with a check as a whole."""
    kind = check.get("kind")
    if kind is None:
        return
    required = {CheckKind.TCP: "port", CheckKind.DNS: "name", CheckKind.EXEC: "command"}.get(kind)
    if required and required not in check:
        fix = f"add {CheckShape.model_fields[required].description}"
        yield required, f"is missing in {_a(kind)} check", fix
    for key in set(check) & set(ONLY) - set(KINDS[kind]):
        yield key, f"does not belong to {_a(kind)} check", "remove it"
    interval, timeout = check.get("interval", "1s"), check.get("timeout")
    if interval and timeout and duration.seconds(timeout) > duration.seconds(interval):
        found = f"is {show(timeout)}, longer than the interval"
        yield "timeout", found, f"use {interval} at most, or a longer interval"


def _repeats(values: Iterable[_Placed]) -> Iterator[tuple[_Placed, _Placed]]:
    """Yield each value that stood before, and the same one where it first stood."""
    seen: dict[str, _Placed] = {}
    for value, at in values:
        if value is not None and (first := seen.setdefault(value, (value, at)))[1] != at:
            yield (value, at), first


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
