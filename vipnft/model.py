"""Frozen values that everything else is a function of.

Rule 1: `config` alone makes a Cluster from what a person wrote, and checks every value.
Rule 2: no host name, address or MAC is looked up here.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vipnft.errors import UsageError

MAX_BUCKETS = 65536
"""More than this is a slow table for no finer split (256 buckets split 8 hosts exactly)."""

NAME = r"[A-Za-z0-9._-]{1,63}"
"""What a cluster or a host may be called, as a pattern."""
BROADCAST = "ff:ff:ff:ff:ff:ff"
EVERY_MAC = "promiscuous"
"""What stands in an interface's filter for every MAC."""

Address = IPv4Address | IPv6Address

Owners = tuple[str, ...]
"""The owner's name of each bucket, by bucket number."""

Drains = Mapping[int, Mapping[str, float]]
"""By bucket, the hosts that may still drain it, and until when (CLOCK_BOOTTIME, seconds)."""


class Entry(NamedTuple):
    """A key's value in the agents' store. `version` is unique and growing for the key; 0 means
    there is no key."""

    value: bytes
    version: int


Snapshot = Mapping[str, Entry]
"""Every key of a cluster in the store, as they were together at one moment."""


class Mode(enum.StrEnum):
    """How the listen MAC is worn: by the interface itself, only listened for, or as a group's."""

    HUB = "hub"
    SWITCH = "switch"
    MULTICAST = "multicast"
    IGMP = "igmp"


class Affinity(enum.StrEnum):
    """What of a packet decides who answers: the client's address, its network, or its flow."""

    CLIENT = "client"
    SUBNET = "subnet"
    FLOW = "flow"


class Protocol(enum.StrEnum):
    """What has ports."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


class CheckKind(enum.StrEnum):
    """How a service is asked whether it works: by a connection, a page, a name, a command."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    DNS = "dns"
    EXEC = "exec"


class Xdp(enum.StrEnum):
    """Where foreign packets are dropped before the rules see them: nowhere; in the driver, if it
    can; there, and it is a fault if it can't; or right behind it, as any interface can."""

    OFF = "off"
    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"


class StoreLoss(enum.StrEnum):
    """What agents do while the store is away: go on as long as all the others promise not to take
    over, fall silent, or carry on with the last table."""

    FAILSAFE = "failsafe"
    FENCE = "fence"
    HOLD = "hold"


class Balance(enum.StrEnum):
    """What agents deal by weight: the number of buckets, or the load."""

    NUMBER = "number"
    LOAD = "load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Ports that are served, as pairs of first and last.

    `prefix4` and `prefix6` are what a client's network is, for affinity to it; `quic`: connections
    that move as TCP's do.
    """

    protocol: Protocol
    ports: tuple[tuple[int, int], ...]
    affinity: Affinity = Affinity.CLIENT
    prefix4: int = 24
    prefix6: int = 64
    quic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment that all hosts are on: its VIPs, its listen MAC (unicast), and what the interface
    there is called, unless a host says otherwise."""

    interface: str
    vips: tuple[Address, ...]
    listen_mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One server. `interfaces` and `send_macs`: its own, by the segment's interface; without a
    send MAC frames from the VIP leave with the interface's own."""

    name: str
    weight: int = 1
    interfaces: Mapping[str, str] = field(default_factory=dict)
    send_macs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A host's interface on one segment, and what is served there."""

    interface: str
    vips: tuple[Address, ...]
    unicast_mac: str
    send_mac: str | None = None

    @property
    def v4(self) -> tuple[IPv4Address, ...]:
        """The IPv4 VIPs."""
        return tuple(vip for vip in self.vips if isinstance(vip, IPv4Address))

    @property
    def v6(self) -> tuple[IPv6Address, ...]:
        """The IPv6 VIPs."""
        return tuple(vip for vip in self.vips if isinstance(vip, IPv6Address))

    def listen_mac(self, mode: Mode) -> str:
        """Return the MAC to which routers send VIP traffic in a mode."""
        if mode is Mode.IGMP:  # the group's (RFC 1112, 6.4): 01:00:5e and its last 23 bits
            tail = self.group.packed[1:]
            return "01:00:5e:" + bytes([tail[0] & 0x7F, *tail[1:]]).hex(":")
        if mode is Mode.MULTICAST:
            return f"{int(self.unicast_mac[:2], 16) | 1:02x}{self.unicast_mac[2:]}"
        return self.unicast_mac

    @property
    def group(self) -> IPv4Address:
        """The multicast group that hosts join in IGMP mode: 239.255, the VIP's last two bytes,
        as other systems of this kind have it."""
        return IPv4Address(bytes([239, 255]) + self.vips[0].packed[-2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a host looks whether its service works. Times in seconds; `rise` and `fall` are how
    many results in a row change its mind; `name` is whom a DNS server is asked for, or by what
    name a web server is asked, in Host and SNI ("": by its address)."""

    kind: CheckKind
    interval: float = 1.0
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3
    port: int = 0
    path: str = "/"
    status: int = 200
    body: str = ""
    name: str = ""
    type: str = "A"
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """How a cluster's agents work; `lease`, `beat` and `settle` (how long a host is well before it
    takes buckets) in seconds. `password_file` has the password of the store's user, where the URL
    has none; `promise_port` is where they ask each other, by UDP; `balance_every` is how often they
    move a bucket of each host to even the load, in seconds, and `balance_cpu` is whose CPU that is:
    a systemd unit, or a control group's path."""

    store: str = ""
    password_file: str = ""
    lease: float = 1.0
    beat: float = 0.2
    on_store_loss: StoreLoss = StoreLoss.FAILSAFE
    promise_port: int = 5520  # IANA gives 5508 to 5549 to nobody; no kernel picks it (below 32768)
    settle: float = 5.0
    balance: Balance = Balance.NUMBER
    balance_every: float = 60.0
    balance_cpu: str = ""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What every host of a cluster has in common; MACs are lower case, colon separated. `mode` is
    how hosts wear the listen MAC, unless the command line says so. `secret`, in hexadecimal digits,
    keeps hosts' names from telling who owns what; `xdp`: where they drop what is another's."""

    name: str
    seed: int
    segments: tuple[Segment, ...]
    hosts: tuple[Host, ...]
    buckets: int = 256
    services: tuple[Service, ...] = ()
    agents: Agents = Agents()
    mode: Mode | None = None
    secret: str = ""
    xdp: Xdp = Xdp.OFF

    @property
    def salt(self) -> bytes:
        """What is hashed in front of hosts' names: nothing without a secret."""
        return bytes.fromhex(self.secret)

    @property
    def vips(self) -> tuple[Address, ...]:
        """Every service address."""
        return tuple(vip for segment in self.segments for vip in segment.vips)

    def nics(self, name: str) -> tuple[Nic, ...]:
        """Return host `name`'s interfaces, one a segment."""
        host = self.require_host(name)
        return tuple(
            Nic(
                interface=host.interfaces.get(s.interface, s.interface),
                vips=s.vips,
                unicast_mac=s.listen_mac,
                send_mac=host.send_macs.get(s.interface),
            )
            for s in self.segments
        )

    def require_host(self, name: str) -> Host:
        """Return the host called `name`; UsageError names those there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise UsageError(
            f"host {name!r} is not in cluster {self.name!r} (it has {names})",
            fix="give one of these with --host, or add a [[host]] to the cluster file",
        )

    @property
    def weights(self) -> dict[str, int]:
        """Each host's weight by name, in the file's order."""
        return {host.name: host.weight for host in self.hosts}


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRecord:
    """An interface as it was when first touched: its index and own MAC; and what was put on it:
    MACs into its filter, a group that it joined."""

    index: int
    mac: str
    filters: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` did to this host, with all that `down` needs to give back what was before.

    `worn` has the interfaces by name; `sysctls` the values that stood there; `addresses` the VIPs
    that the host did not carry already; `drains` who drains what; `leased`: an agent keeps the
    lease, and silence is in order where there is none.
    """

    cluster: Cluster
    host: str
    mode: Mode
    owners: Owners
    worn: Mapping[str, InterfaceRecord]
    sysctls: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    drains: Drains = field(default_factory=dict)
    leased: bool = False

    @property
    def nics(self) -> tuple[Nic, ...]:
        """This host's interfaces, one a segment."""
        return self.cluster.nics(self.host)


def default_listen_mac(vips: Sequence[Address]) -> str:
    """Return 02:bf and the first IPv4 VIP's four bytes, as other systems of this kind do; the
    last four of the first VIP where all are IPv6."""
    first = next((vip for vip in vips if isinstance(vip, IPv4Address)), vips[0])
    return "02:bf:" + first.packed[-4:].hex(":")


def is_unicast_mac(mac: str) -> bool:
    """Tell whether a MAC of six colon-separated bytes is neither group, broadcast nor zero."""
    return not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"


def send_mac(nic: Nic, mode: Mode, macs: Mapping[str, str]) -> str:
    """Return the MAC that frames from the VIP leave with."""
    if mode is Mode.HUB:
        return nic.listen_mac(mode)
    return nic.send_mac or macs[nic.interface]


def heard_as(kind: str, listen: str, mode: Mode) -> str:
    """Return what an interface needs in its filter to hear the listen MAC, by its kind.

    A bridge that had it as a MAC of its own would keep frames that its guests send there from the
    other hosts: it is made promiscuous instead, and passes them on, too.
    """
    return EVERY_MAC if kind == "bridge" and mode is Mode.SWITCH else listen
