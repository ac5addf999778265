"""The way back: what was read is written, and read again; any text is refused or accepted."""

import dataclasses
from collections.abc import Sequence
from ipaddress import ip_address

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.unit.config.files import (
    HEAD,
    SMALL,
    cluster,
    head,
    interface,
)
from vipnft.config.reader import parse
from vipnft.config.writer import render
from vipnft.errors import ConfigError
from vipnft.model import (
    MAX_BUCKETS,
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


def segment(interface: str, vips: Sequence[str], listen_mac: str) -> Segment:
    addresses = tuple(ip_address(vip) for vip in vips)
    return Segment(interface=interface, vips=addresses, listen_mac=listen_mac)


SMALL_CLUSTER = Cluster(
    name="dns",
    seed=0x6D2F1C3B,
    segments=(segment("eth0", ["192.0.2.100"], "02:bf:c0:00:02:64"),),
    hosts=(Host(name="web1"),),
)
FULL = """\
[cluster]
name = "dns"
seed = 4294967295
vips = ["192.0.2.100", "169.254.1.2"]
interface = "eth0"
listen_mac = "0A-BF-00-00-00-01"
buckets = 2

[[segment]]
vips = ["2001:db8::100"]
interface = "eth1"
listen_mac = "02:bf:00:00:01:00"

[[host]]
name = "web1"

[[host]]
name = "web2"
weight = 1000
interface = "ens3.100"
interfaces = { "eth1" = "ens4" }
send_mac = "02:00:00:00:00:0A"
send_macs = { "eth1" = "02:00:00:00:01:0A" }

[[host]]
name = "spare"
weight = 0

[[service]]
protocol = "tcp"
ports = [80, "8000-8100"]
affinity = "client"

[[service]]
protocol = "udp"
ports = [53]
affinity = "subnet"
prefix4 = 20
prefix6 = 48
quic = false

[[service]]
protocol = "udp"
ports = [443]
affinity = "flow"
quic = true
"""
FULL_CLUSTER = Cluster(
    name="dns",
    seed=2**32 - 1,
    segments=(
        segment("eth0", ["192.0.2.100", "169.254.1.2"], "0a:bf:00:00:00:01"),
        segment("eth1", ["2001:db8::100"], "02:bf:00:00:01:00"),
    ),
    hosts=(
        Host(name="web1"),
        Host(
            name="web2",
            weight=1000,
            interfaces={"eth0": "ens3.100", "eth1": "ens4"},
            send_macs={"eth0": "02:00:00:00:00:0a", "eth1": "02:00:00:00:01:0a"},
        ),
        Host(name="spare", weight=0),
    ),
    buckets=2,
    services=(
        Service(protocol=Protocol.TCP, ports=((80, 80), (8000, 8100))),
        Service(
            protocol=Protocol.UDP,
            ports=((53, 53),),
            affinity=Affinity.SUBNET,
            prefix4=20,
            prefix6=48,
        ),
        Service(protocol=Protocol.UDP, ports=((443, 443),), affinity=Affinity.FLOW, quic=True),
    ),
)


def test_defaults() -> None:
    assert parse(SMALL, "dns.toml") == SMALL_CLUSTER


def test_all_keys() -> None:
    assert parse(FULL, "dns.toml") == FULL_CLUSTER


def test_limits_are_allowed() -> None:
    assert parse(head("0x6d2f1c3b", "0"), "dns.toml").seed == 0
    assert parse(cluster(f"buckets = {MAX_BUCKETS}"), "dns.toml").buckets == MAX_BUCKETS
    assert parse(interface("e" * 15), "dns.toml").segments[0].interface == "e" * 15
    assert parse(head('"dns"', f'"{"d" * 63}"'), "dns.toml").name == "d" * 63


def test_render_writes_defaults_out_and_what_differs() -> None:
    assert render(FULL_CLUSTER) == (
        FULL.replace("4294967295", "0xffffffff")
        .replace("0A-BF-00-00-00-01", "0a:bf:00:00:00:01")
        .replace('"web1"\n', '"web1"\nweight = 1\n')
        .replace("0:0A", "0:0a")
        .replace("1:0A", "1:0a")
        .replace(
            "buckets = 2\n",
            'buckets = 2\nlease = "1s"\nbeat = "200ms"\non_store_loss = "failsafe"\n'
            'promise_port = 5520\nsettle = "5s"\n',
        )
    )


LETTERS = "abcXYZ019._-"
names = st.text(LETTERS, min_size=1, max_size=63)
interfaces = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='/:*%"\\'),
    min_size=1,
    max_size=15,
).filter(lambda name: name not in {".", "..", "lo"})
macs = st.binary(min_size=6, max_size=6).map(
    lambda raw: bytes([raw[0] & 0xFE | 2, *raw[1:]]).hex(":")
)
addresses = st.sampled_from(
    ["1.0.0.0/8", "169.254.0.0/16", "192.0.2.0/24", "128.0.0.0/2", "2001:db8::/32", "fd00::/8"]
).flatmap(lambda network: st.ip_addresses(network=network))


def milliseconds(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda number: number / 1000)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ports = st.integers(1, 65535)
LAST_SERVED = 60_000
times = milliseconds(1000, 3_600_000).flatmap(
    lambda interval: st.fixed_dictionaries(
        {"interval": st.just(interval), "timeout": milliseconds(10, int(min(interval, 60) * 1000))}
    )
)
ways = st.one_of(
    st.fixed_dictionaries({"kind": st.just(CheckKind.TCP), "port": ports}),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from([CheckKind.HTTP, CheckKind.HTTPS]),
            "port": ports,
            "name": st.just("") | names,
            "path": st.text(st.characters(min_codepoint=33, max_codepoint=126)).map("/{}".format),
            "status": st.integers(200, 599),
            "body": words,
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just(CheckKind.DNS),
            "port": ports,
            "name": names,
            "type": st.sampled_from(["A", "AAAA", "MX"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just(CheckKind.EXEC),
            "command": st.lists(words, min_size=1, max_size=4).map(tuple),
        }
    ),
)
checks = st.builds(
    lambda way, time, rise, fall: Check(**way | time | {"rise": rise, "fall": fall}),
    ways,
    times,
    st.integers(1, 100),
    st.integers(1, 100),
)


@st.composite
def agents(draw: st.DrawFn) -> Agents:
    lease, by_load = draw(st.integers(200, 60_000)), draw(st.booleans())
    return Agents(
        store=draw(st.sampled_from(["", "sqlite:///a", "etcd://a,b"])),
        lease=lease / 1000,
        beat=draw(milliseconds(20, lease // 3)),
        on_store_loss=draw(st.sampled_from(StoreLoss)),
        promise_port=draw(st.integers(LAST_SERVED + 1, 65535)),
        settle=draw(milliseconds(0, 600_000)),
        balance=Balance.LOAD if by_load else Balance.NUMBER,
        balance_every=draw(milliseconds(1000, 3_600_000)) if by_load else 60.0,
        balance_cpu=draw(st.sampled_from(["", "nsd.service", "/", "/a/b c", r"x\x2dy@1.scope"]))
        if by_load
        else "",
        checks=tuple(draw(st.lists(checks, max_size=3))),
    )


@st.composite
def segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    vips = draw(st.lists(addresses, min_size=1, max_size=6, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, len(vips)), max_size=2)) - {len(vips)})
    runs = [vips[a:b] for a, b in zip([0, *cuts], [*cuts, len(vips)], strict=True)]
    names = draw(st.lists(interfaces, min_size=len(runs), max_size=len(runs), unique=True))
    return tuple(
        Segment(
            interface=name,
            vips=tuple(run),
            listen_mac=draw(st.just(default_listen_mac(run)) | macs),
        )
        for name, run in zip(names, runs, strict=True)
    )


def cut(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    """Return rising ranges that don't touch, out of distinct numbers."""
    rising = sorted(numbers)
    return tuple(zip(rising[::2], rising[1::2], strict=False))


@st.composite
def services(draw: st.DrawFn) -> tuple[Service, ...]:
    found = []
    for protocol in draw(st.sets(st.sampled_from(Protocol))):
        served = st.integers(1, LAST_SERVED)  # agents' port is no service's
        port_ranges = cut(draw(st.lists(served, min_size=2, max_size=8, unique=True)))
        affinity = draw(st.sampled_from(Affinity))
        subnet, udp = affinity is Affinity.SUBNET, protocol is Protocol.UDP
        quic = draw(st.booleans()) if udp else False
        found.append(
            Service(
                protocol=protocol,
                ports=port_ranges,
                affinity=affinity,
                prefix4=draw(st.integers(1, 32)) if subnet else 24,
                prefix6=draw(st.integers(1, 128)) if subnet else 64,
                quic=quic,
            )
        )
    return tuple(found)


@st.composite
def hosts_on(draw: st.DrawFn, several: tuple[Segment, ...]) -> tuple[Host, ...]:
    listen = {segment.listen_mac for segment in several}
    named = [segment.interface for segment in several]
    used: set[str] = set(listen)
    found = []
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        own, sends = {}, {}
        for number, segment in enumerate(named):
            if draw(st.booleans()):
                other = f"nic{number}"
                if other not in named:
                    own[segment] = other
            mac = draw(st.none() | macs)
            if mac and mac not in used:
                sends[segment] = mac
                used.add(mac)
        weight = draw(st.integers(0, 1000))
        found.append(Host(name=name, weight=weight, interfaces=own, send_macs=sends))
    return tuple(found)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    several = draw(segments())
    hosts = draw(hosts_on(several))
    assume(any(host.weight for host in hosts))
    return Cluster(
        name=draw(names),
        seed=draw(st.integers(0, 2**32 - 1)),
        segments=several,
        hosts=hosts,
        buckets=draw(st.integers(9, MAX_BUCKETS)),
        services=draw(services()),
        agents=draw(agents()),
        mode=draw(st.none() | st.sampled_from(Mode)),
        xdp=draw(st.sampled_from(Xdp)),
    )


@given(clusters())
def test_round_trip(cluster: Cluster) -> None:
    assert parse(render(cluster), "applied") == cluster


def refuse_or_accept(text: str) -> None:
    """Parse and, if that is refused, look at the form of each fault."""
    try:
        cluster = parse(text, "dns.toml")
    except ConfigError as error:
        refused = error
    else:
        assert parse(render(cluster), "again") == cluster
        return
    lines = [str(fault) for fault in refused.faults]
    assert lines
    assert str(refused).splitlines() == lines
    for fault in refused.faults:
        assert fault.fix
        assert fault.key or fault.found.startswith(("is empty", "is broken TOML"))


@given(st.text())
@example("a = " + "[" * 5000)
@example("a = " + "1" * 5000)
@example(".".join("a" * 3000) + " = 1")
@example('"\udc80" = 1\n[cluster]\nname = "\udc80"\n')
def test_any_text(text: str) -> None:
    refuse_or_accept(text)


@given(st.lists(st.tuples(st.integers(0, len(FULL)), st.integers(0, 9), st.text(max_size=5))))
def test_any_mutation(edits: list[tuple[int, int, str]]) -> None:
    text = FULL
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    refuse_or_accept(text)


def quoted(text: str) -> str:
    """Return any text as a TOML basic string."""
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in text) + '"'


VALUES = ["1", "-1", "0", "1.5", "nan", "inf", "true", "[]", "{}", "[[]]", "[{}]", "1979-05-27"]
VALUES += ['"1s"', '"20ms"', '"61s"', '"http"', '"exec"', '"fence"', '"sqlite:///a"']
VALUES += ['""', '"eth0"', '"lo"', '"1.2.3.4"', '["1.2.3.4", "1.2.3.4", 1]', '"02:00:00:00:00:01"']
values = st.sampled_from(VALUES) | st.text().map(quoted) | st.integers().map(str)
VALUES += ['["80", 53, "1-2", "2-1", 0, true]', '[80, "80-90"]', '"subnet"', '"udp"', '"::1"']
VALUES += ['{ eth1 = "eth2" }', "{ eth1 = 5 }", '{ eth1 = "02:00:00:00:00:01" }', "false"]
SHAPES = (Cluster, Segment, Host, Service, Agents, Check)
KEYS = [field.name for each in SHAPES for field in dataclasses.fields(each)]
keys = st.sampled_from([*KEYS, "cluster", "host", "check", "interface", "send_mac"])
keys |= st.text().map(quoted)
tables = st.dictionaries(keys, values, max_size=6).map(
    lambda table: "".join(f"{key} = {value}\n" for key, value in table.items())
)


@given(
    st.booleans(),
    tables,
    st.sampled_from(["[cluster]", "[[cluster]]", ""]),
    tables,
    st.lists(
        st.tuples(st.sampled_from(["segment", "host", "host", "service", "check"]), tables),
        max_size=6,
    ),
)
def test_any_tables(
    good: bool, root: str, header: str, body: str, more: list[tuple[str, str]]
) -> None:
    cluster = HEAD if good else f"{header}\n{body}"
    refuse_or_accept(root + cluster + "".join(f"[[{name}]]\n{table}" for name, table in more))
