"""What one host loads into the kernel: three nft tables, always in one transaction."""

from collections.abc import Collection, Mapping, Sequence

from vipnft.buckets.phases import Phase
from vipnft.model import Cluster, Mode
from vipnft.ruleset import elements
from vipnft.ruleset.arp import arp
from vipnft.ruleset.egress import egress
from vipnft.ruleset.inet import inet
from vipnft.ruleset.lease import ALWAYS, SLOTS
from vipnft.ruleset.netdev import netdev
from vipnft.ruleset.nftjson import Commands
from vipnft.ruleset.tables import ARP, INET, NETDEV, TABLES

STAND_IN_MAC = "02:00:00:00:00:00"
"""Shown where a ruleset is printed for an interface that is not on this machine."""

_FIRST = f"granted{SLOTS[0]}"


def whole(
    cluster: Cluster,
    name: str,
    mode: Mode,
    macs: Mapping[str, str],
    phases: Sequence[Phase],
    tagged: Collection[str] = (),
    *,
    granted: bool,
    leased: bool = False,
) -> Commands:
    """Return the one transaction that puts all three nft tables in place, whatever was there.

    `phases` says what host `name` does with each bucket; `macs` are its interfaces' own MACs; on
    those in `tagged` VLANs stand; `granted` False loads rules that take nothing yet; `leased` ones
    that take nothing until an agent arms and grants a slot.
    """
    nics = cluster.nics(name)
    return [
        *NETDEV.fresh(),
        *netdev(cluster, nics, mode, macs, tagged, armed=not leased),
        *egress(nics, mode, macs, tagged),
        *ARP.fresh(),
        *arp(nics, mode),
        *INET.fresh(),
        *inet(cluster, nics, mode, armed=not leased),
        *elements.fill(phases),
        *(grant() if granted and not leased else []),
    ]


def grant() -> Commands:
    """Return the commands by which a host begins to answer: lease slot 0 is granted."""
    return [c for table, (_, held) in ALWAYS.items() for c in table.add(_FIRST, [held])]


def revoke() -> Commands:
    """Return the commands by which a host falls silent at once."""
    return [c for table, (_, held) in ALWAYS.items() for c in table.delete(_FIRST, [held])]


def nothing() -> Commands:
    """Return the transaction that removes all three nft tables, there or not."""
    return [command for table in TABLES for command in table.remove()]
