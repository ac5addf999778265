"""Faults of segments, services, agents and checks, and what is no fault."""

import pytest

from tests.unit.config.files import SEGMENT, SMALL, check, cluster, service
from vipnft.config.reader import parse
from vipnft.config.writer import render
from vipnft.errors import ConfigError
from vipnft.model import (
    Agents,
    Balance,
    Check,
    CheckKind,
    StoreLoss,
)

PORTS = 'use a list of ports, such as [80, "8000-8100"]'
TCP, UDP = 'protocol = "tcp"', 'protocol = "udp"'
MORE_FAULTS = {
    SMALL + SEGMENT.replace("2001:db8::1", "192.0.2.100"): (
        'segment[0].vips[0]: is "192.0.2.100", the same as cluster.vips[0]; remove one of the two'
    ),
    SMALL + SEGMENT.replace("eth1", "eth0"): (
        'segment[0].interface: is "eth0", the same as cluster.interface;'
        " put all VIPs of one interface together"
    ),
    SMALL + "interfaces = { eth1 = 'ens4' }": (
        'host[0] ("web1").interfaces.eth1: is no [[segment]]\'s interface;'
        " use one of none: there is no [[segment]]"
    ),
    SMALL + "interfaces = { eth2 = 'ens4' }" + SEGMENT: (
        'host[0] ("web1").interfaces.eth2: is no [[segment]]\'s interface; use one of eth1'
    ),
    SMALL + "interfaces = { eth1 = 'eth0' }" + SEGMENT: (
        'host[0] ("web1").interfaces.eth1: is "eth0", this host\'s interface on another segment;'
        " give it one interface a segment"
    ),
    SMALL + "interface = 'eth1'" + SEGMENT: (
        'host[0] ("web1").interfaces: is "eth1", this host\'s interface on another segment;'
        " give it one interface a segment"
    ),
    SMALL + "interfaces = { eth1 = 'lo' }" + SEGMENT: (
        'host[0] ("web1").interfaces.eth1: is "lo", loopback, which faces no segment;'
        ' use such as { eth1 = "ens4" }, by [[segment]]'
    ),
    SMALL + "send_macs = { eth1 = '02:bf:0d:b8:00:01' }" + SEGMENT.replace("::1", ":1::db8:1"): (
        'host[0] ("web1").send_macs.eth1: is "02:bf:0d:b8:00:01", the listen MAC;'
        " give the host a MAC of its own"
    ),
    SMALL + "interfaces = 'eth1'": (
        'host[0] ("web1").interfaces: is "eth1", not a table;'
        ' use such as { eth1 = "ens4" }, by [[segment]]'
    ),
    service("ports = [80]"): 'service[0].protocol: is missing; add "tcp", "udp" or "sctp"',
    service(TCP): f"service[0].ports: is missing; {PORTS.replace('use', 'add')}",
    service(TCP, "ports = []"): f"service[0].ports: is an empty list; {PORTS}",
    service('protocol = "icmp"', "ports = [1]"): (
        'service[0].protocol: is "icmp", not one of those there are; use "tcp", "udp" or "sctp"'
    ),
    **{
        service(TCP, f"ports = [{value}]"): (
            f"service[0].ports[0]: is {value}, no port and no rising range of ports; {PORTS}"
        )
        for value in ('"http"', "0", "65536", "-1", "1.5", "true", '"90-80"', '"80-"', '"0-5"')
    },
    service(TCP, 'ports = [80, "79-81"]'): (
        'service[0].ports[1]: is "79-81", of which service[0].ports[0] has some already;'
        " give each port to one service"
    ),
    service(TCP, "ports = [80]", "[[service]]", TCP, 'ports = ["1-100"]'): (
        'service[1].ports[0]: is "1-100", of which service[0].ports[0] has some already;'
        " give each port to one service"
    ),
    service(UDP, 'ports = ["5000-6000"]'): (
        "cluster.promise_port: is 5520 by default, which service[0] serves;"
        " use another, the same on every host"
    ),
    service(TCP, "ports = [80]", "quic = true"): (
        "service[0].quic: does not belong to a tcp service; remove it"
    ),
    service(UDP, "ports = [80]", "quic = 1"): (
        "service[0].quic: is 1, neither true nor false; use true or false"
    ),
    service(UDP, "ports = [80]", "prefix4 = 20"): (
        'service[0].prefix4: does not belong to affinity "client";'
        ' remove it, or use affinity = "subnet"'
    ),
    service(UDP, "ports = [80]", 'affinity = "net"'): (
        'service[0].affinity: is "net", not one of those there are;'
        ' use "client", "subnet" or "flow"'
    ),
    service(UDP, "ports = [80]", 'affinity = "subnet"', "prefix6 = 129"): (
        "service[0].prefix6: is 129, above 128; use a whole number from 1 to 128"
    ),
}


@pytest.mark.parametrize(("text", "line"), MORE_FAULTS.items(), ids=lambda _: "")
def test_faults_of_segments_and_services(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "dns.toml")
    assert str(caught.value) == f"dns.toml: {line}"


LEASE = 'use a time from 200ms to 60s, such as "200ms"'
NONE = "not one of those there are"
NO_GROUP = (
    'not a unit or a path; use a systemd unit, such as "nsd.service", or a path as in'
    " /proc/PID/cgroup"
)
AGENT_FAULTS = {
    'lease = "fast"': f'lease: is "fast", not a time; {LEASE}',
    'lease = "100ms"': f'lease: is "100ms", not a time from 200ms to 60s; {LEASE}',
    'lease = "2m"': f'lease: is "2m", not a time from 200ms to 60s; {LEASE}',
    'lease = "1"': f'lease: is "1", not a time; {LEASE}',
    "lease = 1": f"lease: is 1, not text; {LEASE}",
    'beat = "500ms"': 'beat: is "500ms", more than a third of the lease;'
    " use 200ms, or a longer lease",
    'on_store_loss = "die"': f'on_store_loss: is "die", {NONE}; use "failsafe", "fence" or "hold"',
    "promise_port = 80": "promise_port: is 80, below 1024; use a whole number from 1024 to 65535",
    'promise_port = "x"': 'promise_port: is "x", not a whole number;'
    " use a whole number from 1024 to 65535",
    'xdp = "on"': f'xdp: is "on", {NONE}; use "off", "auto", "native" or "generic"',
    'settle = "11m"': 'settle: is "11m", not a time from 0s to 10m;'
    ' use a time from 0s to 10m, such as "0s"',
    'balance = "fair"': f'balance: is "fair", {NONE}; use "number" or "load"',
    'balance_every = "1s"': "balance_every: does not belong to buckets that are dealt by number;"
    ' remove it, or use balance = "load"',
    'balance_cpu = "a.service"': "balance_cpu: does not belong to buckets that are dealt by number;"
    ' remove it, or use balance = "load"',
    **{
        f'balance = "load"\nbalance_cpu = "{name}"': f'balance_cpu: is "{name}", {NO_GROUP}'
        for name in ("nsd", "a/b.service", "/a/../b", "/..", "/a//b", "/a/", ".", "nsd.timer")
    },
    'balance = "load"\nbalance_every = "2h"': 'balance_every: is "2h", not a time from 1s to 1h;'
    ' use a time from 1s to 1h, such as "1s"',
    'store = "etcd"': 'store: is "…", not a URL; use "sqlite:///path" or "etcd://host:port,..."',
}
CHECK_FAULTS = {
    'kind = "ftp"': f'kind: is "ftp", {NONE}; use "tcp", "http", "https", "dns" or "exec"',
    'kind = "tcp"': "port: is missing in a tcp check; add a whole number from 1 to 65535",
    'kind = "dns"': "name: is missing in a dns check; add a name to ask for",
    'kind = "exec"': "command: is missing in an exec check; add a command: a list of words",
    'kind = "http"\nname = "a"': "name: does not belong to a http check; remove it",
    'kind = "http"\ntimeout = "2s"': 'timeout: is "2s", longer than the interval;'
    " use 1s at most, or a longer interval",
    'kind = "http"\npath = "x"': 'path: is "x", not a path; use a path, such as "/"',
    'kind = "http"\nrise = 0': "rise: is 0, below 1; use a whole number from 1 to 100",
    'kind = "exec"\ncommand = []': "command: is an empty list; use a command: a list of words",
    'kind = "http"\nport = 65536': "port: is 65536, above 65535;"
    " use a whole number from 1 to 65535",
}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        *((cluster(line), f"cluster.{found}") for line, found in AGENT_FAULTS.items()),
        *((check(line), f"check[0].{found}") for line, found in CHECK_FAULTS.items()),
    ],
)
def test_faults_of_agents_and_checks(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "dns.toml")
    assert str(caught.value) == f"dns.toml: {line}"


def test_agents_and_checks() -> None:
    text = cluster(
        'store = "sqlite:///x"\nlease = "300ms"\non_store_loss = "hold"\nsettle = "0s"'
        '\npromise_port = 7000\nbalance = "load"\nbalance_every = "2m"'
        '\nbalance_cpu = "nsd@1.service"'
    ) + (
        '[[check]]\nkind = "http"\nbody = "ok"\n[[check]]\nkind = "exec"\ncommand = ["true"]\n'
        '[[check]]\nkind = "dns"\nname = "a.test"\ninterval = "500ms"\n'
    )
    found = parse(text, "dns.toml")
    assert found.agents == Agents(
        store="sqlite:///x",
        lease=0.3,
        beat=0.06,
        on_store_loss=StoreLoss.HOLD,
        promise_port=7000,
        settle=0.0,
        balance=Balance.LOAD,
        balance_every=120.0,
        balance_cpu="nsd@1.service",
        checks=(
            Check(kind=CheckKind.HTTP, port=80, body="ok"),
            Check(kind=CheckKind.EXEC, command=("true",)),
            Check(kind=CheckKind.DNS, port=53, name="a.test", interval=0.5, timeout=0.5),
        ),
    )
    assert parse(render(found), "dns.toml") == found


@pytest.mark.parametrize(
    "text",
    [
        cluster('lease = "300ms"\nbeat = "100ms"'),  # 0.3 / 3 < 0.1
        cluster('lease = "200.000001ms"'),
        cluster('lease = "0.5m"'),
        check('kind = "http"', 'interval = "1h"'),
        check('kind = "http"', 'interval = "3600000ms"'),
        check('kind = "http"', 'body = "a\\n\U0001f600"'),
    ],
)
def test_what_is_accepted_can_be_written_and_read_again(text: str) -> None:
    found = parse(text, "dns.toml")
    assert parse(render(found), "again") == found
