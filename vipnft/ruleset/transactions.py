# What one host loads into the kernel: three nft tables, always in one transaction.
"""Cluster, host, mode and owners to libnftables commands."""

from collections.abc import Mapping, Sequence

from vipnft.buckets.phases import Phase
from vipnft.model import Cluster, Mode, Nic
from vipnft.ruleset import elements
from vipnft.ruleset.affinity import V4
from vipnft.ruleset.inet import inet
from vipnft.ruleset.netdev import ALWAYS, SLOTS, netdev, vips
from vipnft.ruleset.nftjson import DROP, Commands, assign, match, one_of, payload
from vipnft.ruleset.tables import ARP, INET, NETDEV, TABLES

STAND_IN_MAC = "02:00:00:00:00:00"
"""Shown where a ruleset is printed for an interface that is not on this machine."""


def whole(
    cluster: Cluster,
    name: str,
    mode: Mode,
    macs: Mapping[str, str],
    phases: Sequence[Phase],
    *,
    granted: bool,
    leased: bool = False,
) -> Commands:
    """Return the one transaction that puts all three nft tables in place, whatever was there.

    `phases` says what host `name` does with each bucket; `macs` are its interfaces' own MACs;
    `granted` False loads rules that take nothing yet; `leased` ones that take nothing until an
    agent arms and grants a slot.
    """
    nics = cluster.nics(name)
    return [
        *NETDEV.fresh(),
        *netdev(cluster, nics, mode, macs, armed=not leased),
        *(grant() if granted and not leased else []),
        *ARP.fresh(),
        *_arp(nics, mode),
        *INET.fresh(),
        *inet(cluster, nics, mode),
        *elements.fill(phases),
    ]


def grant() -> Commands:
    """Return the command by which a host begins to answer: lease slot 0 is granted."""
    return NETDEV.add(f"granted{SLOTS[0]}", [ALWAYS])


def revoke() -> Commands:
    """Return the command by which a host falls silent at once."""
    return NETDEV.delete(f"granted{SLOTS[0]}", [ALWAYS])


def nothing() -> Commands:
    """Return the transaction that removes all three nft tables, there or not."""
    return [command for table in TABLES for command in table.remove()]


def _arp(nics: Sequence[Nic], mode: Mode) -> Commands:
    made: Commands = []
    every = [vip for nic in nics for vip in vips(nic, V4)]
    if every:
        request = match(payload("arp", "operation"), "request")
        about = match(payload("arp", "daddr ip"), one_of(every))
        # Ours were answered at ingress; one that gets here came by another interface.
        made += ARP.chain("input", [request, about, DROP], hook="input", prio=0)
    # A query from the VIP must not teach the router this host's own MAC.
    queries = [
        [
            match(payload("arp", "saddr ip"), one_of(vips(nic, V4))),
            assign(payload("arp", "saddr ether"), nic.listen_mac(mode)),
        ]
        for nic in nics
        if nic.v4
    ]
    return made + (ARP.chain("output", *queries, hook="output", prio=0) if queries else [])
