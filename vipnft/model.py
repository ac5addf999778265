"""Frozen values that everything else is a function of.

Rule 1: `config` alone makes a Cluster from what a person wrote, and checks every value.
Rule 2: no host name, address or MAC is looked up here.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from vipnft.errors import UsageError

MAX_BUCKETS = 65536
"""More than this is a slow table for no finer split (256 buckets split 8 hosts exactly)."""

Owners = tuple[str, ...]
"""The owner's name of each bucket, by bucket number."""

Drains = Mapping[int, Mapping[str, float]]
"""By bucket, the hosts that may still drain it, and until when (CLOCK_BOOTTIME, seconds)."""


class Mode(enum.StrEnum):
    """How the listen MAC is worn: by the interface itself, or only listened for."""

    HUB = "hub"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One server. `send_mac` None: frames from the VIP leave with the interface's own MAC."""

    name: str
    interface: str
    weight: int = 1
    send_mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a host looks whether its service works. Times in seconds; `rise` and `fall` are how
    many results in a row change its mind. `kind` is tcp, http, dns or exec."""

    kind: str
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
    """How a cluster's agents work; `lease` and `beat` in seconds, `on_store_loss` fence or hold."""

    store: str = ""
    lease: float = 1.0
    beat: float = 0.2
    on_store_loss: str = "fence"
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What every host of a cluster has in common; MACs are lower case, colon separated."""

    name: str
    seed: int
    vips: tuple[IPv4Address, ...]
    listen_mac: str
    hosts: tuple[Host, ...]
    buckets: int = 256
    agents: Agents = Agents()

    def host(self, name: str) -> Host:
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
class Applied:
    """What `apply` did to this host, with all that `down` needs to give back what was before.

    `index` and `mac` are the interface's own when it was first touched; `filters` the MACs that
    were put into its unicast filter; `sysctls` the values that stood there; `addresses` the VIPs
    that the host did not carry already; `drains` who drains what; `leased`: an agent keeps the
    lease, and silence is in order where there is none.
    """

    cluster: Cluster
    host: str
    mode: Mode
    owners: Owners
    index: int
    mac: str
    filters: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    drains: Drains = field(default_factory=dict)
    leased: bool = False

    @property
    def me(self) -> Host:
        """This host's part of the cluster."""
        return self.cluster.host(self.host)


def default_listen_mac(vip: IPv4Address) -> str:
    """Return 02:bf and the address's four bytes, as other systems of this kind do."""
    return "02:bf:" + ":".join(f"{byte:02x}" for byte in vip.packed)


def is_unicast_mac(mac: str) -> bool:
    """Tell whether a MAC of six colon-separated bytes is neither group, broadcast nor zero."""
    return not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"
