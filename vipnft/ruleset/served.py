"""What is served, as rules say it: VIPs, IP versions, ports, buckets."""

from collections.abc import Sequence

from vipnft.model import Cluster, Nic, Service
from vipnft.ruleset.affinity import V4, V6, Version
from vipnft.ruleset.nftjson import (
    MARK,
    Expr,
    Stmt,
    assign,
    jhash,
    match,
    one_of,
    payload,
    span,
)


def vips(nic: Nic, version: Version) -> list[str]:
    """Return the VIPs of a version as text."""
    return [str(vip) for vip in (nic.v4 if version is V4 else nic.v6)]


def versions(nics: Sequence[Nic]) -> list[Version]:
    """Return the IP versions that are served at all."""
    return [version for version in (V4, V6) if any(vips(nic, version) for nic in nics)]


def to_vip(nic: Nic, version: Version, field: str = "daddr") -> Stmt:
    """Return the match of packets to a VIP, or from one."""
    return match(payload(version.header, field), one_of(vips(nic, version)))


def ports(service: Service) -> object:
    """Return a service's ports as the right side of a match."""
    return one_of(span(*pair) for pair in service.ports)


def hashed(cluster: Cluster, of: Expr) -> Stmt:
    """Return the statement that marks a packet with its bucket."""
    return assign(MARK, jhash(of, mod=cluster.buckets, seed=cluster.seed))
