"""What the XDP stage in front of the rules is told: which packets are surely another host's.

Rule 1: it is made of what the rules are made of, and drops no packet that they would not drop:
        whoever changes what a packet's bucket is, or what stands before the look at it, reads this.
Rule 2: a bit is a bucket's whose packets the rules drop whatever they are: of one that drains here
        some are taken. So what comes is first let through, and then taken; what goes is first
        dropped by the rules.
Rule 3: the layout is that of `struct told` in vipnft/bpf/foreign.c.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_network

from vipnft.model import Cluster, Drains, Nic, Owners
from vipnft.ruleset import affinity

MOST = 16
"""VIPs of an IP version on an interface that the program looks for."""
VLANS = "VLANs stand on it, and their tags may be off a frame before the stage sees it"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """The XDP program on an interface: `where` it runs, "" without one; its `number`; `ours`, or
    another's; `old`: of another version, and another process's. As far as it can be read: what it
    was `told`, the buckets that it drops, 64 to one of `words`, and how many packets it `dropped`
    of each. `refused`: why there is none."""

    where: str = ""
    number: int = 0
    ours: bool = False
    old: bool = False
    told: bytes | None = None
    words: tuple[int, ...] | None = None
    dropped: tuple[int, ...] = ()
    refused: str = ""


def unfit(cluster: Cluster, *, tagged: bool) -> str:
    """Return why nothing can be dropped on an interface of a cluster before the rules see it; ""
    if it can. `tagged`: VLANs stand there."""
    if affinity.dealt(cluster.services)[1]:
        return "ports decide whose a packet is, where services differ in affinity or have flow's"
    return VLANS if tagged else ""


def told(cluster: Cluster, nic: Nic) -> bytes:
    """Return what the program is told of an interface: VIPs beyond the 16th of a version pass."""
    kind, _ = affinity.dealt(cluster.services)
    v4, v6 = nic.v4[:MOST], nic.v6[:MOST]
    return b"".join(
        [
            struct.pack("<4I", cluster.seed, cluster.buckets, len(v4), len(v6)),
            ip_network(f"0.0.0.0/{kind.prefix4}").netmask.packed,
            ip_network(f"::/{kind.prefix6}").netmask.packed,
            b"".join(vip.packed for vip in v4).ljust(4 * MOST, b"\0"),
            b"".join(vip.packed for vip in v6).ljust(16 * MOST, b"\0"),
        ]
    )


def foreign(owners: Owners, drains: Drains, me: str) -> frozenset[int]:
    """Return the buckets whose packets host `me` drops whatever they are. Where its drain ended
    by the kernel's own timer, nobody was there to say so: the rules go on dropping those."""
    return frozenset(
        b for b, owner in enumerate(owners) if owner != me and me not in drains.get(b, {})
    )


def words(buckets: Collection[int], size: int) -> list[int]:
    """Return the bits of so many buckets, 64 to a number."""
    found = [0] * -(-size // 64)
    for bucket in buckets:
        found[bucket // 64] |= 1 << bucket % 64
    return found
