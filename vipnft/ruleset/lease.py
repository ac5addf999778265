"""The lease in the rules: two slots, each of which counts while it is armed and granted.

Rule 1: it is in two nft tables, for one can't ask another's sets: in netdev's for what is taken
        and for what leaves from a VIP by the segment, in inet's for SYN|ACKs, which may leave by
        another way. Whoever changes one changes both, in one transaction.
"""

from collections.abc import Iterator, Mapping

from vipnft.ruleset.nftjson import Commands, Expr, Stmt, match
from vipnft.ruleset.tables import INET, NETDEV, NftTable

SLOTS = (0, 1)
"""The lease's two slots; without an agent slot 0 is armed for good and granted."""
ALWAYS: Mapping[NftTable, tuple[str, object]] = {NETDEV: ("iface_type", "ether"), INET: ("mark", 0)}
"""The sets of a slot hold this, of such a type, or nothing: the type of every Ethernet interface;
a mark of 0, where there may be no interface."""


def lease(table: NftTable, *, armed: bool) -> Commands:
    """Return the sets of the lease; with slot 0 armed for good if it is to be."""
    kind, held = ALWAYS[table]
    return [
        *(table.set(f"armed{slot}", of=kind, timeout=True) for slot in SLOTS),
        *(table.set(f"granted{slot}", of=kind) for slot in SLOTS),
        *(table.add(f"armed{SLOTS[0]}", [held]) if armed else []),
    ]


def leased(key: Expr, then: Stmt) -> Iterator[list[Stmt]]:
    """Yield the rules that end with `then` where the lease holds."""
    for slot in SLOTS:
        yield [match(key, f"@armed{slot}"), match(key, f"@granted{slot}"), then]
