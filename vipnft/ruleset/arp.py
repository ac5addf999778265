"""The arp nft table: what this host's own ARP queries say, and which it hears."""

from collections.abc import Sequence

from vipnft.model import Mode, Nic
from vipnft.ruleset.affinity import V4
from vipnft.ruleset.nftjson import DROP, OIFNAME, Commands, assign, match, one_of, payload
from vipnft.ruleset.served import vips
from vipnft.ruleset.tables import ARP


def arp(nics: Sequence[Nic], mode: Mode) -> Commands:
    """Return what the arp nft table holds."""
    made: Commands = []
    every = [vip for nic in nics for vip in vips(nic, V4)]
    if every:
        request = match(payload("arp", "operation"), "request")
        about = match(payload("arp", "daddr ip"), one_of(every))
        # Ours were answered at ingress; one that gets here came by another interface.
        made += ARP.chain("input", [request, about, DROP], hook="input", prio=0)
    # A query from the VIP must not teach the router this host's own MAC; beyond the segments it
    # must teach just that.
    queries = [
        [
            match(OIFNAME, nic.interface),
            match(payload("arp", "saddr ip"), one_of(vips(nic, V4))),
            assign(payload("arp", "saddr ether"), nic.listen_mac(mode)),
        ]
        for nic in nics
        if nic.v4
    ]
    return made + (ARP.chain("output", *queries, hook="output", prio=0) if queries else [])
