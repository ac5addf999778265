"""Who is who in a lab: names, numbers, addresses. Pure; everything else asks here.

Rule 1: a name, MAC or address follows from its number alone, so that two labs are alike.
Rule 2: no socket, file, clock or process here.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from vipnft.errors import UsageError
from vipnft.model import Cluster, Host, Mode, Segment, default_listen_mac

VIP, VIP6 = IPv4Address("192.0.2.100"), IPv6Address("2001:db8::100")
"""The service addresses; hosts that carry them are told so by the lab's cluster file only."""

SEED = 0x6D2F1C3B
"""A fixed seed: the same clients meet the same hosts in every lab."""

ROUTER, CLIENTS, SEGMENT = "router", "clients", "segment"
"""The nodes that are no host; the segment is the bridge and nothing else."""

BRIDGE = "br0"
NEAR = 99
"""Hosts 1 to 99 live in the VIP's own /24; the rest in FAR_NET on the same segment."""
NEAR_NET, FAR_NET = IPv4Network("192.0.2.0/24"), IPv4Network("198.18.0.0/16")
NEAR_ROUTER, FAR_ROUTER = IPv4Address("192.0.2.254"), IPv4Address("198.18.255.254")
UPLINK, DOWNLINK = IPv4Address("10.255.0.1"), IPv4Address("10.255.0.2")
"""The router's and the clients' end of the link between them, a /30."""
CLIENT_NET = IPv4Network("10.64.0.0/10")
"""Any address in it may be bound to in the clients node."""
NET6, ROUTER6 = IPv6Network("2001:db8::/64"), IPv6Address("2001:db8::fe")
UPLINK6, DOWNLINK6 = IPv6Address("fd00::1"), IPv6Address("fd00::2")
CLIENT_NET6 = IPv6Network("2001:db8:64::/48")
"""The same for IPv6; all hosts are in one network."""

ROUTER_MAC, BRIDGE_MAC = "02:00:00:01:00:00", "02:00:00:02:00:00"
MAX_HOSTS = 1022
"""A Linux bridge has 1,023 ports; the router needs one."""
MIN_MTU = 576
MIN_MTU6 = 1280
"""Below this a link has no IPv6 (RFC 8200, 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a lab is made of. `mtu` is the router's towards the clients (for path-MTU tests)."""

    hosts: int = 4
    mode: Mode = Mode.SWITCH
    mtu: int = 1500

    def __post_init__(self) -> None:
        if not 1 <= self.hosts <= MAX_HOSTS:
            raise UsageError(
                f"a lab of {self.hosts} hosts can't be made", fix=f"give 1 to {MAX_HOSTS} hosts"
            )
        if not MIN_MTU <= self.mtu <= 1500:
            raise UsageError(
                f"an MTU of {self.mtu} can't be had on the link to the clients",
                fix=f"give {MIN_MTU} to 1500",
            )

    @property
    def host_names(self) -> tuple[str, ...]:
        """web1 to webN, in order."""
        return tuple(host_name(number) for number in range(1, self.hosts + 1))

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node: the segment first, as the others plug into it."""
        return (SEGMENT, ROUTER, CLIENTS, *self.host_names)


def host_name(number: int) -> str:
    """Name host `number`, from 1."""
    return f"web{number}"


def host_mac(number: int) -> str:
    """Return the hardware address of host `number`'s eth0."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def host_address(number: int) -> IPv4Address:
    """Return host `number`'s own address (never the VIP, never the router's)."""
    return (NEAR_NET if number <= NEAR else FAR_NET)[number]


def host_address6(number: int) -> IPv6Address:
    """Return host `number`'s own IPv6 address."""
    return NET6[0x10000 + number]


def host_network(number: int) -> IPv4Network:
    """Return the network host `number` believes itself in."""
    return NEAR_NET if number <= NEAR else FAR_NET


def host_gateway(number: int) -> IPv4Address:
    """Return the router's address in host `number`'s network."""
    return NEAR_ROUTER if number <= NEAR else FAR_ROUTER


def client_address(number: int) -> IPv4Address:
    """Return the address of client `number`, from 0."""
    return CLIENT_NET[1 + number]


def client_address6(number: int) -> IPv6Address:
    """Return the IPv6 address of client `number`, from 0: each in a network of its own."""
    return CLIENT_NET6[(1 + number) << 64 | 1 + number]


def cluster(hosts: int, *, seed: int = SEED, buckets: int = 256) -> Cluster:
    """Return the cluster that the hosts of a lab form, all of equal weight."""
    return Cluster(
        name="lab",
        seed=seed,
        segments=(
            Segment(interface="eth0", vips=(VIP, VIP6), listen_mac=default_listen_mac((VIP,))),
        ),
        hosts=tuple(Host(name=host_name(n)) for n in range(1, hosts + 1)),
        buckets=buckets,
    )
