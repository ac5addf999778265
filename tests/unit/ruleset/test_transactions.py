"""The ruleset as a value: what the golden files don't say in words."""

import json
import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.samples import LISTEN, OWN, small
from vipnft.buckets.phases import phases
from vipnft.host.settings import ipv6_switches, wanted_sysctls
from vipnft.kernel import scratch
from vipnft.model import Affinity, Cluster, Mode, Protocol, Segment, Service
from vipnft.ruleset import transactions
from vipnft.ruleset.nftjson import Command, Commands
from vipnft.ruleset.tables import TABLES

CLUSTER = small(buckets=4, seed=0x6D2F1C3B)
BOTH = small(vips=["192.0.2.100", "2001:db8::100"], buckets=4)
OTHER, OTHER_LISTEN = "02:00:00:00:01:01", "02:bf:c0:00:03:01"
OWNERS = ("web1", "web2", "web2", "web1")


def whole(mode: Mode, *, granted: bool = True, cluster: Cluster = CLUSTER) -> Commands:
    share = phases(OWNERS, {}, "web1", 0)
    macs = {"eth0": OWN, "eth1": OTHER}
    return transactions.whole(cluster, "web1", mode, macs, share, granted=granted)


def rules(commands: Commands, chain: str) -> list[list[dict[str, Any]]]:
    return [
        c["add"]["rule"]["expr"]
        for c in commands
        if kind(c) == ("add", "rule") and c["add"]["rule"]["chain"] == chain
    ]


def kind(command: Command) -> tuple[str, str]:
    verb, body = next(iter(command.items()))
    return verb, next(iter(body))


@pytest.mark.parametrize("mode", Mode)
def test_every_table_is_made_anew_in_the_same_transaction(mode: Mode) -> None:
    commands = whole(mode)
    tables = [(v, c[v]["table"]["family"]) for c in commands for v, k in [kind(c)] if k == "table"]
    families = ["netdev", "arp", "inet"]
    assert tables == [(v, f) for f in families for v in ("add", "delete", "add")]


def test_only_our_tables_are_named() -> None:
    for mode in Mode:
        for command in [*whole(mode), *transactions.nothing()]:
            ((what, body),) = next(iter(command.values())).items()
            assert body["name" if what == "table" else "table"] == "vipnft"


def test_nothing_is_taken_until_it_is_granted() -> None:
    assert transactions.grant()[0] in whole(Mode.SWITCH)
    assert transactions.grant()[0] not in whole(Mode.SWITCH, granted=False)


def test_the_map_is_complete() -> None:
    """A foreign bucket says drop: a map that misses costs more per packet."""
    (elements,) = (
        c["add"]["element"]["elem"]
        for c in whole(Mode.SWITCH)
        if kind(c) == ("add", "element") and c["add"]["element"]["name"] == "buckets"
    )
    assert {bucket: next(iter(verdict)) for bucket, verdict in elements} == {
        0: "jump",
        1: "drop",
        2: "drop",
        3: "jump",
    }


@pytest.mark.parametrize("mode", Mode)
def test_a_foreign_packet_meets_one_rule(mode: Mode) -> None:
    """Address, protocol, hash and lookup: nothing else stands before "not mine"."""
    first = rules(whole(mode), "ingress")[0]
    assert [next(iter(statement)) for statement in first] == ["match", "match", "mangle", "vmap"]


def test_sources_are_written_for_switches_and_the_forward_guard_is_for_hubs() -> None:
    def chains(mode: Mode) -> set[str]:
        return {c["add"]["chain"]["name"] for c in whole(mode) if kind(c) == ("add", "chain")}

    hub = rules(whole(Mode.HUB, cluster=BOTH), "egress")
    for mode in (Mode.SWITCH, Mode.MULTICAST, Mode.IGMP):
        assert chains(Mode.HUB) - chains(mode) == {"forward"}
        assert chains(mode) < chains(Mode.HUB)
        egress = rules(whole(mode, cluster=BOTH), "egress")
        assert egress[-len(hub) :] == hub
        assert "mangle" in json.dumps(egress[: -len(hub)])
    assert "mangle" not in json.dumps(hub)


def test_what_leaves_from_a_vip_meets_the_lease_last() -> None:
    """Of each version one slot at once, the other in a chain of its own."""
    egress = rules(whole(Mode.SWITCH, cluster=BOTH), "egress")[-4:]
    assert [one[-1] for one in egress] == [{"accept": None}, {"goto": {"target": "spoken"}}] * 2
    assert [one[0]["match"]["right"] for one in egress] == [
        *["192.0.2.100"] * 2,
        *["2001:db8::100"] * 2,
    ]
    other, last = rules(whole(Mode.SWITCH), "spoken")
    assert (other[-1], last) == ({"accept": None}, [{"drop": None}])
    for slot, rule in enumerate((egress[0], other)):
        assert [s["match"]["right"] for s in rule[-3:-1]] == [f"@armed{slot}", f"@granted{slot}"]


def test_every_jhash_has_the_seed_and_the_buckets() -> None:
    def hashes(value: object) -> list[dict[str, object]]:
        if isinstance(value, dict):
            own = [value["jhash"]] if "jhash" in value else []
            return own + [h for v in value.values() for h in hashes(v)]
        return [h for v in value for h in hashes(v)] if isinstance(value, list) else []

    found = hashes(whole(Mode.SWITCH))
    assert len(found) == 6
    assert len(hashes(whole(Mode.SWITCH, cluster=BOTH))) == 12
    assert {(h["seed"], h["mod"], h["offset"]) for h in found} == {(0x6D2F1C3B, 4, 0)}


@pytest.mark.parametrize("send_mac", [None, "02:00:00:00:0a:0a"])
def test_the_send_mac_replaces_the_listen_mac(send_mac: str | None) -> None:
    macs = {"eth0": send_mac} if send_mac else {}
    hosts = (replace(BOTH.hosts[0], send_macs=macs), BOTH.hosts[1])
    commands = whole(Mode.SWITCH, cluster=replace(BOTH, hosts=hosts))
    sources = [
        one["mangle"]["value"]
        for rule in rules(commands, "egress")
        for one in rule
        if one.get("mangle", {}).get("key") == {"payload": {"protocol": "ether", "field": "saddr"}}
    ]
    assert sources == [send_mac or OWN] * (4 if send_mac else 1)


def test_a_version_that_is_not_served_costs_no_rule() -> None:
    four, six = (
        json.dumps(whole(Mode.SWITCH)),
        json.dumps(whole(Mode.SWITCH, cluster=small(vips=["2001:db8::100"], buckets=4))),
    )
    assert "ip6" not in four
    assert "icmpv6" not in four
    assert '"arp daddr ip"' not in six
    assert '"ip"' not in six


def test_each_segment_has_hooks_of_its_own() -> None:
    more = Segment(interface="eth1", vips=(ip_address("192.0.3.1"),), listen_mac=OTHER_LISTEN)
    cluster = replace(CLUSTER, segments=(*CLUSTER.segments, more))
    commands = whole(Mode.SWITCH, cluster=cluster)
    hooks = {
        (c["add"]["chain"]["hook"], c["add"]["chain"]["dev"])
        for c in commands
        if kind(c) == ("add", "chain") and "dev" in c["add"]["chain"]
    }
    assert hooks == {(hook, dev) for hook in ("ingress", "egress") for dev in ("eth0", "eth1")}
    guards = [json.dumps(rule) for rule in rules(commands, "take") if "drop" in rule[-1]][:2]
    named = ["eth0", "eth1", LISTEN, OTHER_LISTEN, OWN, OTHER]
    assert [[word in guard for word in named] for guard in guards] == [
        [True, False] * 3,
        [False, True] * 3,
    ]


SERVICES = (
    Service(protocol=Protocol.TCP, ports=((80, 80), (8000, 8100))),
    Service(protocol=Protocol.UDP, ports=((53, 53),)),
    Service(protocol=Protocol.UDP, ports=((443, 443),), quic=True),
)


def test_ports_that_all_are_dealt_alike_are_not_looked_at_before_the_bucket() -> None:
    commands = whole(Mode.SWITCH, cluster=replace(BOTH, services=SERVICES))
    assert rules(commands, "ingress") == rules(whole(Mode.SWITCH, cluster=BOTH), "ingress")
    assert "fragment" not in json.dumps(commands)


def test_a_service_that_is_dealt_otherwise_comes_first_behind_fragments() -> None:
    flow = replace(SERVICES[2], affinity=Affinity.FLOW)
    commands = whole(Mode.SWITCH, cluster=replace(CLUSTER, services=(*SERVICES[:2], flow)))
    fragments, special, rest, *_ = rules(commands, "ingress")
    assert fragments[-1] == {"goto": {"target": "fragment"}}
    assert "443" in json.dumps(special)
    assert "th" in json.dumps(special)
    assert "443" not in json.dumps(rest)


@pytest.mark.parametrize("mode", Mode)
def test_conntrack_is_asked_for_quic_and_fragments_alone(mode: Mode) -> None:
    def asks(*services: Service) -> bool:
        commands = whole(mode, cluster=replace(BOTH, services=services))
        return '"ct"' in json.dumps(commands)

    assert not asks()
    assert not asks(*SERVICES[:2])
    assert asks(*SERVICES)
    assert asks(replace(SERVICES[1], affinity=Affinity.FLOW))


def test_what_a_rule_says_of_a_segment_it_says_of_its_interface() -> None:
    """ARP queries, and what a host may not begin from a VIP."""
    commands = whole(Mode.SWITCH)
    (query,) = rules(commands, "output")[:1]
    assert query[0]["match"]["left"] == {"meta": {"key": "oifname"}}
    beyond = [one for one in rules(commands, "outgoing") if "oifname" in json.dumps(one)]
    assert [one[-1] for one in beyond] == [{"accept": None}] * 2


def test_tags_are_looked_at_where_vlans_stand_and_nowhere_else() -> None:
    """What comes in a VLAN came by another interface, and has no bucket here."""
    share = phases(OWNERS, {}, "web1", 0)
    commands = transactions.whole(
        BOTH, "web1", Mode.SWITCH, {"eth0": OWN}, share, {"eth0"}, granted=True
    )
    found = [json.dumps(rule) for rule in rules(commands, "ingress")]
    tags = ['"right": 33024', '"right": 34984']  # the EtherTypes of 802.1Q and 802.1ad
    for first in (0, 3):
        for rule, tag in zip(found[first : first + 2], tags, strict=True):
            assert tag in rule
            assert '"accept"' in rule
    out = [json.dumps(rule) for rule in rules(commands, "egress")[-8:]]
    assert [tag in rule and '"accept"' in rule for rule in out for tag in tags] == [
        *(True, False, False, True, False, False, False, False),
        *(True, False, False, True, False, False, False, False),
    ]
    for chain in ("ingress", "egress"):
        bare = json.dumps(rules(whole(Mode.SWITCH, cluster=BOTH), chain))
        assert not [tag for tag in tags if tag in bare]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("services", [(), "SERVICES", "FLOW"])
def test_the_kernel_takes_the_rules_where_vlans_stand(mode: Mode, services: str) -> None:
    flow = replace(SERVICES[1], affinity=Affinity.FLOW)
    several = {"SERVICES": SERVICES, "FLOW": (SERVICES[0], flow, SERVICES[2])}.get(services, ())
    share = phases(OWNERS, {}, "web1", 0)
    commands = transactions.whole(
        replace(BOTH, services=several), "web1", mode, {"eth0": OWN}, share, {"eth0"}, granted=True
    )
    listed = scratch.listing(commands, TABLES, ["eth0"])
    assert "0x88a8" in "".join(listed.values())


def test_each_base_chain_means_the_interface_that_the_theory_says() -> None:
    """docs/design.md, "Which interface a rule means"."""
    text = (Path(__file__).parents[3] / "docs/design.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| (netdev|arp|inet) `([\w-]+)` \| \w+ \| ([^|]+) \|", text, re.MULTILINE)
    flow = replace(SERVICES[1], affinity=Affinity.FLOW)
    found: dict[tuple[str, str], str] = {}
    for mode in Mode:
        for services in ((), SERVICES, (SERVICES[0], flow, SERVICES[2])):
            commands = whole(mode, cluster=replace(BOTH, services=services))
            for chain in (c["add"]["chain"] for c in commands if kind(c) == ("add", "chain")):
                if "hook" in chain:
                    found[chain["family"], chain["name"]] = meant(commands, chain)
    assert {(family, name): where for family, name, where in said} == found


def test_each_setting_is_one_that_the_theory_names() -> None:
    """Likewise; what is not the segment's is `lo`'s."""
    text = (Path(__file__).parents[3] / "docs/design.md").read_text(encoding="utf-8")
    _, _, text = text.partition("## Which interface a rule means")
    text, _, _ = text.partition("\n## ")
    rows = re.findall(r"^\| (`[a-z0-9_`, ]+`) \| [^|]* \| ([^|]+) \|", text, re.MULTILINE)
    said = {name: where for names, where in rows for name in re.findall(r"`(\w+)`", names)}
    nic = BOTH.nics("web1")[0]
    keys = {key for mode in Mode for key in wanted_sysctls([nic.interface], mode)}
    assert all(f"/{nic.interface}/" in key for key in keys)
    found = {key.rpartition("/")[2]: "the segment's" for key in keys}
    assert set(ipv6_switches([nic]).values()) == {nic.interface, "lo"}
    found["disable_ipv6"] = "the segment's and `lo`"
    assert said == found


def meant(commands: Commands, chain: dict[str, Any]) -> str:
    """Return which interface a base chain's own rules ask for."""
    if chain.get("dev"):
        return "device"
    own = [
        c["add"]["rule"]["expr"]
        for c in commands
        if kind(c) == ("add", "rule")
        and (c["add"]["rule"]["family"], c["add"]["rule"]["chain"])
        == (chain["family"], chain["name"])
    ]
    words = [json.dumps([s["match"]["left"] for s in rule if "match" in s]) for rule in own]
    if all("oifname" in rule for rule in words):
        return "oifname"
    if all("iifname" in rule or "dport" in rule for rule in words):
        return "iifname"
    return "iifname, not these" if "iifname" in words[0] else "any"
