"""The ruleset as a value: what the golden files don't say in words."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vipnft import ruleset
from vipnft.expr import Command, Commands
from vipnft.model import Cluster, Host, Mode
from vipnft.moving import phases

CLUSTER = Cluster(
    name="dns",
    seed=0x6D2F1C3B,
    vips=(IPv4Address("192.0.2.100"),),
    listen_mac="02:bf:c0:00:02:64",
    hosts=(Host(name="web1", interface="eth0"), Host(name="web2", interface="eth0")),
    buckets=4,
)
OWN = "02:00:00:00:00:01"
OWNERS = ("web1", "web2", "web2", "web1")


def whole(mode: Mode, *, granted: bool = True, cluster: Cluster = CLUSTER) -> Commands:
    host = cluster.hosts[0]
    share = phases(OWNERS, {}, host.name, 0)
    return ruleset.whole(cluster, host, mode, OWN, share, granted=granted)


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
        for command in [*whole(mode), *ruleset.nothing()]:
            ((what, body),) = next(iter(command.values())).items()
            assert body["name" if what == "table" else "table"] == "vipnft"


def test_nothing_is_taken_until_it_is_granted() -> None:
    assert ruleset.grant()[0] in whole(Mode.SWITCH)
    assert ruleset.grant()[0] not in whole(Mode.SWITCH, granted=False)


def test_the_map_is_complete() -> None:
    """A foreign bucket says drop: a map that misses costs more per packet."""
    (elements,) = (
        c["add"]["element"]["elem"]
        for c in whole(Mode.SWITCH)
        if kind(c) == ("add", "element") and c["add"]["element"]["name"] == "buckets"
    )
    assert {e["elem"]["val"]: next(iter(v)) for e, v in elements} == {
        0: "jump",
        1: "drop",
        2: "drop",
        3: "jump",
    }


def test_egress_is_for_switches_and_the_forward_guard_for_hubs() -> None:
    def chains(mode: Mode) -> set[str]:
        return {c["add"]["chain"]["name"] for c in whole(mode) if kind(c) == ("add", "chain")}

    assert chains(Mode.SWITCH) - chains(Mode.HUB) == {"egress"}
    assert chains(Mode.HUB) - chains(Mode.SWITCH) == {"forward"}


def test_every_jhash_has_the_seed_and_the_buckets() -> None:
    def hashes(value: object) -> list[dict[str, object]]:
        if isinstance(value, dict):
            own = [value["jhash"]] if "jhash" in value else []
            return own + [h for v in value.values() for h in hashes(v)]
        return [h for v in value for h in hashes(v)] if isinstance(value, list) else []

    found = hashes(whole(Mode.SWITCH))
    assert len(found) == 5
    assert {(h["seed"], h["mod"], h["offset"]) for h in found} == {(0x6D2F1C3B, 4, 0)}


@pytest.mark.parametrize(("send_mac", "expected"), [(None, OWN), ("02:00:00:00:0a:0a",) * 2])
def test_the_send_mac_replaces_the_listen_mac(send_mac: str | None, expected: str) -> None:
    hosts = (replace(CLUSTER.hosts[0], send_mac=send_mac), CLUSTER.hosts[1])
    commands = whole(Mode.SWITCH, cluster=replace(CLUSTER, hosts=hosts))
    egress = [
        c["add"]["rule"]["expr"]
        for c in commands
        if kind(c) == ("add", "rule") and c["add"]["rule"]["chain"] == "egress"
    ]
    assert len(egress) == (3 if send_mac else 1)
    assert all(rule[-1]["mangle"]["value"] == expected for rule in egress)
