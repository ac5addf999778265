"""A Cluster to TOML text that `config.parse` turns into an equal one, every default written out."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from vipnft.config import duration
from vipnft.config.schema import KINDS
from vipnft.model import (
    Affinity,
    Agents,
    Balance,
    Check,
    Cluster,
    Host,
    Protocol,
    Segment,
    Service,
    Xdp,
)


def render(cluster: Cluster) -> str:
    """Return the text of a cluster file."""
    first, *others = cluster.segments
    lines = [
        "[cluster]",
        f"name = {quote(cluster.name)}",
        f"seed = {cluster.seed:#x}",
        *([f"secret = {quote(cluster.secret)}"] if cluster.secret else []),
        *_segment(first),
        f"buckets = {cluster.buckets}",
        *([f"mode = {quote(cluster.mode)}"] if cluster.mode else []),
        *([f"xdp = {quote(cluster.xdp)}"] if cluster.xdp is not Xdp.OFF else []),
        *_agents(cluster.agents),
    ]
    for segment in others:
        lines += ["", "[[segment]]", *_segment(segment)]
    for host in cluster.hosts:
        lines += ["", "[[host]]", *_host(host, first.interface)]
    for service in cluster.services:
        lines += ["", "[[service]]", *_service(service)]
    for check in cluster.agents.checks:
        lines += ["", "[[check]]", *_check(check)]
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    """Return a TOML basic string of one line."""
    letters = json.dumps(text, ensure_ascii=False)  # its \\u can't say what is above U+FFFF
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in letters)


def _segment(segment: Segment) -> Iterator[str]:
    yield f"vips = {_list(str(vip) for vip in segment.vips)}"
    yield f"interface = {quote(segment.interface)}"
    yield f"listen_mac = {quote(segment.listen_mac)}"


def _agents(agents: Agents) -> Iterator[str]:
    if agents.store:
        yield f"store = {quote(agents.store)}"
    if agents.password_file:
        yield f"password_file = {quote(agents.password_file)}"
    yield f"lease = {quote(duration.text(agents.lease))}"
    yield f"beat = {quote(duration.text(agents.beat))}"
    yield f"on_store_loss = {quote(agents.on_store_loss)}"
    yield f"promise_port = {agents.promise_port}"
    yield f"settle = {quote(duration.text(agents.settle))}"
    if agents.balance is not Balance.NUMBER:
        yield f"balance = {quote(agents.balance)}"
        yield f"balance_every = {quote(duration.text(agents.balance_every))}"
        if agents.balance_cpu:
            yield f"balance_cpu = {quote(agents.balance_cpu)}"


def _host(host: Host, first: str) -> Iterator[str]:
    yield f"name = {quote(host.name)}"
    yield f"weight = {host.weight}"
    for key, several in (("interface", host.interfaces), ("send_mac", host.send_macs)):
        if first in several:
            yield f"{key} = {quote(several[first])}"
        rest = {segment: value for segment, value in several.items() if segment != first}
        if rest:
            yield f"{key}s = {_table(rest)}"


def _service(service: Service) -> Iterator[str]:
    yield f"protocol = {quote(service.protocol)}"
    ports = (str(a) if a == b else quote(f"{a}-{b}") for a, b in service.ports)
    yield f"ports = [{', '.join(ports)}]"
    yield f"affinity = {quote(service.affinity)}"
    if service.affinity is Affinity.SUBNET:
        yield f"prefix4 = {service.prefix4}"
        yield f"prefix6 = {service.prefix6}"
    if service.protocol is Protocol.UDP:
        yield f"quic = {str(service.quic).lower()}"


def _check(check: Check) -> Iterator[str]:
    yield f"kind = {quote(check.kind)}"
    yield f"interval = {quote(duration.text(check.interval))}"
    yield f"timeout = {quote(duration.text(check.timeout))}"
    yield f"rise = {check.rise}"
    yield f"fall = {check.fall}"
    for key in KINDS[check.kind]:
        value = getattr(check, "name" if key == "host" else key)
        if isinstance(value, tuple):
            yield f"{key} = {_list(value)}"
        elif value != "":
            yield f"{key} = {value if isinstance(value, int) else quote(value)}"


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(quote, values))}]"


def _table(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{quote(k)} = {quote(v)}" for k, v in values.items()) + " }"


def digest(cluster: Cluster) -> str:
    """Return what two hosts' files have in common if they say the same, but for what is secret: of
    a seed of 32 bits a digest would tell, of a password perhaps."""
    agents = replace(cluster.agents, store="", password_file="")
    said = render(replace(cluster, seed=0, secret="", agents=agents))
    return hashlib.sha256(said.encode()).hexdigest()
