"""The cluster file: every fault line exactly, and nothing but ConfigError."""

from ipaddress import IPv4Address

import pytest

from tests.unit.config.files import (
    BUCKETS,
    CLUSTER_KEYS,
    HEAD,
    HOST,
    INTERFACE,
    MAC,
    NAME,
    SECOND,
    SEED,
    SMALL,
    TABLES,
    TOML,
    VIPS,
    WEIGHT,
    bad_interface,
    bad_mac,
    bad_name,
    bad_vip,
    cluster,
    head,
    host,
    vips,
)
from vipnft.config.reader import parse
from vipnft.errors import ConfigError

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


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str) -> None:
    text, expected = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        parse(text, "dns.toml")
    assert str(caught.value).split("\n") == [f"dns.toml: {line}" for line in expected]
