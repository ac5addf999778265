"""The cluster file: every fault line exactly, nothing but ConfigError, and the way back."""

import dataclasses
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vipnft.config.reader import parse
from vipnft.config.writer import render
from vipnft.errors import ConfigError
from vipnft.model import (
    MAX_BUCKETS,
    Affinity,
    Agents,
    Check,
    CheckKind,
    Cluster,
    Host,
    Mode,
    Protocol,
    Segment,
    Service,
    StoreLoss,
    default_listen_mac,
)

HEAD = """\
[cluster]
name = "dns"
seed = 0x6d2f1c3b
vips = ["192.0.2.100"]
interface = "eth0"
"""
HOST = """
[[host]]
name = "web1"
"""
SECOND = HOST.replace("web1", "web2")
SMALL = HEAD + HOST

NAME = 'use a name of 1 to 63 letters, digits, ".", "_" or "-"'
SEED = "a whole number from 0 to 4294967295, the same on every host, kept private"
VIPS = 'use unicast addresses, such as ["192.0.2.100", "2001:db8::100"]'
INTERFACE = 'use a Linux interface name of 1 to 15 characters, such as "eth0"'
BUCKETS = "use a whole number from 1 to 65536"
WEIGHT = "use a whole number from 0 to 1000"
MAC = 'use a unicast MAC, such as "02:00:00:00:00:01"'
TOML = "correct it there (text stands in quotes, a number does not)"
TABLES = "cluster, segment, host, service, check"
CLUSTER_KEYS = (
    "name, seed, vips, interface, buckets, listen_mac, mode, store, lease, beat, on_store_loss"
)


def head(old: str, new: str) -> str:
    """Return the small file with one piece of it replaced."""
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


def vips(*written: str) -> str:
    return head('"192.0.2.100"', ", ".join(f'"{vip}"' for vip in written))


def interface(written: str) -> str:
    return head('"eth0"', f"'{written}'")


def cluster(line: str) -> str:
    return f"{HEAD}{line}\n{HOST}"


def host(*lines: str) -> str:
    return SMALL + "\n".join(lines) + "\n"


def bad_vip(written: str, what: str, fix: str = VIPS) -> tuple[str, list[str]]:
    return vips(written), [f'cluster.vips[0]: is "{written}", {what}; {fix}']


def bad_interface(written: str, shown: str = "") -> tuple[str, list[str]]:
    shown = shown or f'"{written}"'
    return interface(written), [
        f"cluster.interface: is {shown}, not an interface name; {INTERFACE}"
    ]


def bad_name(written: str) -> tuple[str, list[str]]:
    return head('"dns"', f'"{written}"'), [f'cluster.name: is "{written}", not a name; {NAME}']


def bad_mac(written: str, what: str) -> tuple[str, list[str]]:
    line = f'host[0] ("web1").send_mac: is "{written}", {what}; {MAC}'
    return host(f'send_mac = "{written}"'), [line]


GROUP = "a multicast, broadcast or zero address"
HOSTS_300 = HEAD + "".join(HOST.replace("web1", f"web{n}") for n in range(300))

# name: (text, the fault lines without the file)
FAULTS: dict[str, tuple[str, list[str]]] = {
    # The file as a whole
    "empty": ("", ["is empty; add a [cluster] table, and a [[host]] table for each host"]),
    "only a comment": (
        "# nothing\n",
        ["is empty; add a [cluster] table, and a [[host]] table for each host"],
    ),
    "text without quotes": (
        head('"dns"', "dns"),
        [f"is broken TOML: Invalid value (at line 2, column 8); {TOML}"],
    ),
    "line without =": (
        head('name = "dns"', "name"),
        [
            "is broken TOML: Expected '=' after a key in a key/value pair "
            f"(at line 2, column 5); {TOML}"
        ],
    ),
    "key twice": (
        cluster('name = "dns"'),
        [f"is broken TOML: Cannot overwrite a value (at line 6, column 13); {TOML}"],
    ),
    # Tables
    "no cluster": (HOST, ["cluster: is missing; add one [cluster] table"]),
    "no host": (HEAD, ["host: is missing; add a [[host]] table for each host"]),
    "empty list of hosts": (
        "host = []\n" + HEAD,
        ["host: is an empty list; use a [[host]] table for each host"],
    ),
    "[host] for [[host]]": (
        head("[[host]]", "[host]"),
        ["host: is a table, not a list; use a [[host]] table for each host"],
    ),
    "[[cluster]] for [cluster]": (
        head("[cluster]", "[[cluster]]"),
        ["cluster: is a list, not a table; use one [cluster] table"],
    ),
    "a host that is no table": (
        'host = [3, { name = "web1" }]\n' + HEAD + "buckets = 1",
        ["host[0]: is 3, not a table; use a [[host]] table for each host"],
    ),
    "no keys": (
        "[cluster]\n[[host]]\n",
        [
            f"cluster.interface: is missing; {INTERFACE.replace('use', 'add', 1)}",
            f"cluster.name: is missing; {NAME.replace('use', 'add', 1)}",
            f"cluster.seed: is missing; add {SEED}",
            f"cluster.vips: is missing; {VIPS.replace('use', 'add', 1)}",
            f"host[0].name: is missing; {NAME.replace('use', 'add', 1)}",
        ],
    ),
    # Unknown keys
    "unknown table, near": (
        "[hosts]\n" + SMALL,
        ["hosts: is not a known key; did you mean host?"],
    ),
    "unknown table": (
        "[vrrp]\n" + SMALL,
        [f"vrrp: is not a known key; remove it, or use one of {TABLES}"],
    ),
    "unknown key, near": (
        cluster("BUCKETS = 256"),
        ["cluster.BUCKETS: is not a known key; did you mean buckets?"],
    ),
    "unknown key": (
        cluster("frob = 1"),
        [f"cluster.frob: is not a known key; remove it, or use one of {CLUSTER_KEYS}"],
    ),
    "unknown key of a host, near": (
        host("wieght = 1"),
        ['host[0] ("web1").wieght: is not a known key; did you mean weight?'],
    ),
    "key of the cluster in a host": (
        host("buckets = 512"),
        ['host[0] ("web1").buckets: is not a known key; move it to [cluster]'],
    ),
    "key of a host in the cluster": (
        cluster("weight = 1"),
        ["cluster.weight: is not a known key; move it to [[host]]"],
    ),
    "key outside of the tables": (
        "buckets = 1\n" + SMALL,
        ["buckets: is not a known key; move it to [cluster]"],
    ),
    "key with a line break": (
        cluster(r'"a\nb" = 1'),
        [rf'cluster."a\nb": is not a known key; remove it, or use one of {CLUSTER_KEYS}'],
    ),
    "key of 65, cut short": (
        cluster(f"{'k' * 65} = 1"),
        [f'cluster."{"k" * 63}…": is not a known key; remove it, or use one of {CLUSTER_KEYS}'],
    ),
    # Types
    "text for a number": (
        cluster('buckets = "64"'),
        [f'cluster.buckets: is "64", not a whole number; {BUCKETS}'],
    ),
    "bool for a number": (
        host("weight = true"),
        [f'host[0] ("web1").weight: is true, not a whole number; {WEIGHT}'],
    ),
    "float for a number": (
        host("weight = 1.5"),
        [f'host[0] ("web1").weight: is 1.5, not a whole number; {WEIGHT}'],
    ),
    "whole float for a number": (
        host("weight = 1.0"),
        [f'host[0] ("web1").weight: is 1.0, not a whole number; {WEIGHT}'],
    ),
    "date for a number": (
        head("0x6d2f1c3b", "2001-02-03"),
        [f"cluster.seed: is 2001-02-03, not a whole number; use {SEED}"],
    ),
    "list for text": (
        head('"dns"', '["dns"]'),
        [f"cluster.name: is a list, not text; {NAME}"],
    ),
    "table for text": (
        head('"dns"', "{}"),
        [f"cluster.name: is a table, not text; {NAME}"],
    ),
    "text for a list": (
        head('["192.0.2.100"]', '"192.0.2.100"'),
        [f'cluster.vips: is "192.0.2.100", not a list; {VIPS}'],
    ),
    "number for a VIP": (
        head('"192.0.2.100"', "5"),
        [f"cluster.vips[0]: is 5, not text; {VIPS}"],
    ),
    # Names
    "name empty": bad_name(""),
    "name with a space": bad_name("d ns"),
    "name not ASCII": bad_name("dñs"),
    "name with a line break": bad_name(r"dns\n"),
    "name of 64": bad_name("d" * 64),
    "name of 65, cut short": (
        head('"dns"', f'"{"d" * 65}"'),
        [f'cluster.name: is "{"d" * 63}…", not a name; {NAME}'],
    ),
    "host without a sound name": (
        head('"web1"', '"web 1"\nweight = -1'),
        [
            f'host[0].name: is "web 1", not a name; {NAME}',
            f"host[0].weight: is -1, below 0; {WEIGHT}",
        ],
    ),
    "host twice": (
        SMALL + HOST,
        ['host[1].name: is "web1", the same as host[0].name; give each host a name of its own'],
    ),
    # Seed
    "seed below": (head("0x6d2f1c3b", "-1"), [f"cluster.seed: is -1, below 0; use {SEED}"]),
    "seed above": (
        head("0x6d2f1c3b", "0x1_0000_0000"),
        [f"cluster.seed: is 4294967296, above 4294967295; use {SEED}"],
    ),
    "seed of 20,000 bits": (
        head("0x6d2f1c3b", "0x" + "f" * 5000),
        [f"cluster.seed: is a number of 20000 bits, above 4294967295; use {SEED}"],
    ),
    # VIPs
    "no VIP": (vips(), [f"cluster.vips: is an empty list; {VIPS}"]),
    "VIP of three bytes": bad_vip("192.0.2", "not an IP address"),
    "VIP with zeros in front": bad_vip("192.0.2.010", "not an IP address"),
    "VIP that is a name": bad_vip("dns.example", "not an IP address"),
    "VIP empty": bad_vip("", "not an IP address"),
    "VIP with a prefix length": bad_vip(
        "192.0.2.100/24", "with a prefix length", 'write the address alone: "192.0.2.100"'
    ),
    "VIP IPv6 with a prefix length": bad_vip(
        "2001:db8::1/64", "with a prefix length", 'write the address alone: "2001:db8::1"'
    ),
    "VIP IPv6 with a zone": bad_vip("2001:db8::1%eth0", "not an IP address"),
    "VIP IPv6 unspecified": bad_vip("::", "an unspecified address"),
    "VIP IPv6 loopback": bad_vip("::1", "a loopback address"),
    "VIP IPv6 multicast": bad_vip("ff02::1", "a multicast address"),
    "VIP IPv6 link-local": bad_vip("fe80::1", "a link-local address, which no router forwards to"),
    "VIP IPv6 mapped": bad_vip("::ffff:192.0.2.1", "an IPv4 address in IPv6's clothes"),
    "VIP IPv6 twice, written otherwise": (
        vips("2001:db8::1", "2001:DB8:0::1"),
        ['cluster.vips[1]: is "2001:DB8:0::1", the same as vips[0]; remove one of the two'],
    ),
    "VIP unspecified": bad_vip(str(IPv4Address(0)), "an unspecified address"),
    "VIP in 0/8": bad_vip("0.1.2.3", "an unspecified address"),
    "VIP loopback": bad_vip("127.0.0.1", "a loopback address"),
    "VIP multicast": bad_vip("224.0.0.18", "a multicast address"),
    "VIP reserved": bad_vip("240.0.0.1", "a reserved address"),
    "VIP broadcast": bad_vip("255.255.255.255", "the broadcast address"),
    "VIP twice": (
        vips("192.0.2.1", "192.0.2.2", "192.0.2.1"),
        ['cluster.vips[2]: is "192.0.2.1", the same as vips[0]; remove one of the two'],
    ),
    # Interfaces
    "interface empty": bad_interface(""),
    "interface of 16": bad_interface("e" * 16),
    "interface with a slash": bad_interface("eth/0"),
    "interface with a colon": bad_interface("eth0:1"),
    "interface with a space": bad_interface("eth 0"),
    "interface with a tab": bad_interface("eth\t0", r'"eth\t0"'),
    "interface with a wildcard": bad_interface("eth*"),
    "interface with a quote": bad_interface('eth"', r'"eth\""'),
    "interface with a backslash": bad_interface("eth\\", r'"eth\\"'),
    "interface not ASCII": bad_interface("ethö"),
    "interface .": bad_interface("."),
    "interface ..": bad_interface(".."),
    "interface lo": (
        host('interface = "lo"'),
        ['host[0] ("web1").interface: is "lo", loopback, which faces no segment; ' + INTERFACE],
    ),
    # Buckets
    "buckets 0": (cluster("buckets = 0"), [f"cluster.buckets: is 0, below 1; {BUCKETS}"]),
    "buckets negative": (cluster("buckets = -4"), [f"cluster.buckets: is -4, below 1; {BUCKETS}"]),
    "buckets too many": (
        cluster("buckets = 65537"),
        [f"cluster.buckets: is 65537, above 65536; {BUCKETS}"],
    ),
    "buckets fewer than hosts": (
        cluster("buckets = 1") + SECOND,
        [
            "cluster.buckets: is 1, below the number of hosts with a weight above 0; "
            "use a whole number from 2 to 65536"
        ],
    ),
    "buckets by default fewer than hosts": (
        HOSTS_300,
        [
            "cluster.buckets: is 256 by default, below the number of hosts with a weight above 0; "
            "use a whole number from 300 to 65536"
        ],
    ),
    # MACs
    "MAC malformed": bad_mac("02:00:00:00:00", "not a MAC address"),
    "MAC empty": bad_mac("", "not a MAC address"),
    "MAC with mixed separators": bad_mac("02:00-00:00-00:01", "not a MAC address"),
    "MAC of digits that are not ASCII": bad_mac("02:00:00:00:00:0٣", "not a MAC address"),
    "MAC multicast": bad_mac("01:00:5e:00:00:12", GROUP),
    "MAC broadcast": bad_mac("ff:ff:ff:ff:ff:ff", GROUP),
    "MAC broadcast, upper case": bad_mac("FF-FF-FF-FF-FF-FF", GROUP),
    "MAC zero": bad_mac("00:00:00:00:00:00", GROUP),
    "mode that is none": (
        cluster('mode = "swich"'),
        [
            'cluster.mode: is "swich", not one of those there are;'
            ' use "hub", "switch", "multicast" or "igmp"'
        ],
    ),
    "listen MAC malformed": (
        cluster('listen_mac = "02bfc0000264"'),
        [f'cluster.listen_mac: is "02bfc0000264", not a MAC address; {MAC}'],
    ),
    "send MAC is the listen MAC": (
        cluster('listen_mac = "02-00-00-00-00-0A"') + 'send_mac = "02:00:00:00:00:0a"',
        [
            'host[0] ("web1").send_mac: is "02:00:00:00:00:0a", the listen MAC; '
            "give the host a MAC of its own"
        ],
    ),
    "send MAC is the listen MAC by default": (
        host('send_mac = "02:bf:c0:00:02:64"'),
        [
            'host[0] ("web1").send_mac: is "02:bf:c0:00:02:64", the listen MAC; '
            "give the host a MAC of its own"
        ],
    ),
    "send MAC twice": (
        host('send_mac = "02:00:00:00:00:0a"', SECOND, 'send_mac = "02-00-00-00-00-0A"'),
        [
            'host[1] ("web2").send_mac: is "02-00-00-00-00-0A", the same as '
            'host[0] ("web1").send_mac; give each host a MAC of its own'
        ],
    ),
    # Weights
    "weight negative": (
        host("weight = -1"),
        [f'host[0] ("web1").weight: is -1, below 0; {WEIGHT}'],
    ),
    "weight above": (
        host("weight = 1001"),
        [f'host[0] ("web1").weight: is 1001, above 1000; {WEIGHT}'],
    ),
    "weight 0 everywhere": (
        host("weight = 0", SECOND, "weight = 0"),
        ["host: has weight 0 everywhere; give one host at least weight 1"],
    ),
    "weight 0 everywhere but for one that is faulty": (
        host("weight = 0", SECOND, "weight = -1"),
        [f'host[1] ("web2").weight: is -1, below 0; {WEIGHT}'],
    ),
    # Everything at once: no fault hides another
    "many": (
        """\
ttl = 1
[cluster]
name = "d ns"
vips = ["192.0.2.1", "ff02::1", "192.0.2.1", "192.0.2.256"]
interface = "eth0"
bucket = 4
buckets = 1
[[host]]
name = "web1"
weight = -1
send_mac = "02:bf:c0:00:02:01"
[[host]]
name = "web1"
weight = 1.5
interface = "lo"
[[host]]
name = "web3"
send_mac = "33:33:00:00:00:01"
[[host]]
name = "web4"
wait = 1
""",
        [
            "cluster.bucket: is not a known key; did you mean buckets?",
            "cluster.buckets: is 1, below the number of hosts with a weight above 0; "
            "use a whole number from 2 to 65536",
            f'cluster.name: is "d ns", not a name; {NAME}',
            f"cluster.seed: is missing; add {SEED}",
            f'cluster.vips[1]: is "ff02::1", a multicast address; {VIPS}',
            'cluster.vips[2]: is "192.0.2.1", the same as vips[0]; remove one of the two',
            f'cluster.vips[3]: is "192.0.2.256", not an IP address; {VIPS}',
            'host[0] ("web1").send_mac: is "02:bf:c0:00:02:01", the listen MAC; '
            "give the host a MAC of its own",
            f'host[0] ("web1").weight: is -1, below 0; {WEIGHT}',
            'host[1] ("web1").interface: is "lo", loopback, which faces no segment; ' + INTERFACE,
            'host[1].name: is "web1", the same as host[0].name; give each host a name of its own',
            f'host[1] ("web1").weight: is 1.5, not a whole number; {WEIGHT}',
            f'host[2] ("web3").send_mac: is "33:33:00:00:00:01", {GROUP}; {MAC}',
            'host[3] ("web4").wait: is not a known key; did you mean weight?',
            f"ttl: is not a known key; remove it, or use one of {TABLES}",
        ],
    ),
}


def check(*lines: str) -> str:
    return SMALL + "\n[[check]]\n" + "\n".join(lines) + "\n"


SEGMENT = '\n[[segment]]\nvips = ["2001:db8::1"]\ninterface = "eth1"\n'


def service(*lines: str) -> str:
    return SMALL + "\n[[service]]\n" + "\n".join(lines) + "\n"


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
AGENT_FAULTS = {
    'lease = "fast"': f'lease: is "fast", not a time; {LEASE}',
    'lease = "100ms"': f'lease: is "100ms", not a time from 200ms to 60s; {LEASE}',
    'lease = "2m"': f'lease: is "2m", not a time from 200ms to 60s; {LEASE}',
    'lease = "1"': f'lease: is "1", not a time; {LEASE}',
    "lease = 1": f"lease: is 1, not text; {LEASE}",
    'beat = "500ms"': 'beat: is "500ms", more than a third of the lease;'
    " use 200ms, or a longer lease",
    'on_store_loss = "die"': f'on_store_loss: is "die", {NONE}; use "fence" or "hold"',
    'store = "etcd"': 'store: is "etcd", not a URL; use "sqlite:///path" or "etcd://host:port,..."',
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
    text = cluster('store = "sqlite:///x"\nlease = "300ms"\non_store_loss = "hold"') + (
        '[[check]]\nkind = "http"\nbody = "ok"\n[[check]]\nkind = "exec"\ncommand = ["true"]\n'
        '[[check]]\nkind = "dns"\nname = "a.test"\ninterval = "500ms"\n'
    )
    found = parse(text, "dns.toml")
    assert found.agents == Agents(
        store="sqlite:///x",
        lease=0.3,
        beat=0.06,
        on_store_loss=StoreLoss.HOLD,
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


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str) -> None:
    text, expected = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        parse(text, "dns.toml")
    assert str(caught.value).split("\n") == [f"dns.toml: {line}" for line in expected]


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
            'buckets = 2\nlease = "1s"\nbeat = "200ms"\non_store_loss = "fence"\n',
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
    lease = draw(st.integers(200, 60_000))
    return Agents(
        store=draw(st.sampled_from(["", "sqlite:///a", "etcd://a,b"])),
        lease=lease / 1000,
        beat=draw(milliseconds(20, lease // 3)),
        on_store_loss=draw(st.sampled_from(StoreLoss)),
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
        port_ranges = cut(draw(st.lists(ports, min_size=2, max_size=8, unique=True)))
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
