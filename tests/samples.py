"""Small clusters for tests that need some cluster."""

from collections.abc import Sequence
from ipaddress import ip_address

from vipnft.model import Cluster, Host, Segment, Service, default_listen_mac

LISTEN, OWN = "02:bf:c0:00:02:64", "02:00:00:00:00:01"


def small(
    hosts: int = 2,
    vips: Sequence[str] = ("192.0.2.100",),
    *,
    buckets: int = 256,
    seed: int = 1,
    services: tuple[Service, ...] = (),
) -> Cluster:
    """Return a cluster of web1, web2, ... on eth0."""
    addresses = tuple(ip_address(vip) for vip in vips)
    listen = default_listen_mac(addresses)
    return Cluster(
        name="dns",
        seed=seed,
        segments=(Segment(interface="eth0", vips=addresses, listen_mac=listen),),
        hosts=tuple(Host(name=f"web{n}") for n in range(1, hosts + 1)),
        buckets=buckets,
        services=services,
    )
