"""What may stand in a cluster file, value by value.

Rule 1: a ValueError of a validator holds what the value is and, if it has one of its own, the
        fix; else the fix is "use" and the field's description.
Rule 2: values are checked one by one here; together, in vipnft.config.consistency.
"""

import re
from dataclasses import fields
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vipnft.config import duration
from vipnft.model import (
    MAX_BUCKETS,
    NAME,
    Affinity,
    Agents,
    Balance,
    CheckKind,
    Cluster,
    Host,
    Mode,
    Protocol,
    Service,
    StoreLoss,
    Xdp,
    is_unicast_mac,
)

DEFAULTS: dict[str, Any] = {
    f.name: f.default for each in (Cluster, Host, Service) for f in fields(each)
}
_LEASES = Agents()

_REFUSED = (
    ("255.255.255.255/32", "the broadcast address"),
    ("0.0.0.0/8", "an unspecified address"),
    ("127.0.0.0/8", "a loopback address"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "a loopback address"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6's clothes"),
    ("fe80::/10", "a link-local address, which no router forwards to"),
    ("ff00::/8", "a multicast address"),
)


def _vip(text: str) -> str:
    """Check a VIP; here and below a ValueError holds what it is and, if it has its own, the fix."""
    head, slash, _ = text.partition("/")
    try:
        if "%" in head:
            raise ValueError
        address = ip_address(head)
    except ValueError:
        raise ValueError("not an IP address") from None
    for network, what in _REFUSED:
        if address in ip_network(network):
            raise ValueError(what)
    if slash:
        raise ValueError("with a prefix length", f'write the address alone: "{head}"')
    return str(address)


# Linux refuses "/", ":" and white space; nft reads "*" as a wildcard, and quotes names with '"'.
_INTERFACE = re.compile(r'[^\x00-\x20/:*%"\\\x7f-\U0010ffff]{1,15}')


def checked_interface(text: str) -> str:
    """Return an interface's name; ValueError says what else it is."""
    if text == "lo":
        raise ValueError("loopback, which faces no segment")
    if text in {".", ".."} or not _INTERFACE.fullmatch(text):
        raise ValueError("not an interface name")
    return text


_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}")


def checked_mac(text: str) -> str:
    """Return a unicast MAC in lower case with colons; ValueError says what else it is."""
    if not _MAC.fullmatch(text):
        raise ValueError("not a MAC address")
    mac = text.lower().replace("-", ":")
    if not is_unicast_mac(mac):
        raise ValueError("a multicast, broadcast or zero address")
    return mac


def _whole(low: int, high: int, more: str = "") -> Any:
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}{more}")


def _between(low: str, high: str) -> tuple[Any, Any]:
    """Return what makes a text a time from `low` to `high`."""

    def check(text: str) -> str:
        if not duration.seconds(low) <= duration.seconds(text) <= duration.seconds(high):
            raise ValueError(f"not a time from {low} to {high}")
        return text

    description = f'a time from {low} to {high}, such as "{low}"'
    return AfterValidator(check), Field(description=description)


def _url(text: str) -> str:
    if not text.isprintable() or "://" not in text:
        raise ValueError("not a URL")
    return text


def _matching(pattern: str, what: str, description: str) -> tuple[Any, Any]:
    """Return what makes a text match a pattern; else it is "not" `what`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"not {what}")
        return text

    return AfterValidator(check), Field(description=description)


def _one_of(*words: str) -> tuple[Any, Any]:
    *most, last = (f'"{word}"' for word in words)
    either = f"{', '.join(most)} or {last}"
    return _matching("|".join(words), "one of those there are", either)


_Name = Annotated[
    str,
    Field(pattern=f"^{NAME}$"),
    Field(description='a name of 1 to 63 letters, digits, ".", "_" or "-"'),
]
_Interface = Annotated[
    str,
    AfterValidator(checked_interface),
    Field(description='a Linux interface name of 1 to 15 characters, such as "eth0"'),
]
_Vips = Annotated[
    list[Annotated[str, AfterValidator(_vip)]],
    Field(min_length=1, description='unicast addresses, such as ["192.0.2.100", "2001:db8::100"]'),
]
_Mac = Annotated[
    str,
    AfterValidator(checked_mac),
    Field(description='a unicast MAC, such as "02:00:00:00:00:01"'),
]


KINDS = {  # and which keys each has of its own
    CheckKind.TCP: ("port",),
    CheckKind.HTTP: ("port", "host", "path", "status", "body"),
    CheckKind.HTTPS: ("port", "host", "path", "status", "body"),
    CheckKind.DNS: ("port", "name", "type"),
    CheckKind.EXEC: ("command",),
}
ONLY = {key for keys in KINDS.values() for key in keys}
PORTS = {CheckKind.HTTP: 80, CheckKind.HTTPS: 443, CheckKind.DNS: 53}


# systemd.unit(5); a path has no ".." that would lead out of the tree.
_UNIT = r"[A-Za-z0-9:_.\\@-]{1,247}\.(service|scope|slice)"
_GROUP = rf"{_UNIT}|/|(/(?!\.\.?(/|$))[^/\x00-\x1f\x7f]{{1,255}}){{1,32}}"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)


class _DealShape(_Shape):
    """Of the [cluster] table what all hosts deal clients by, and where."""

    name: _Name
    seed: Annotated[int, _whole(0, 2**32 - 1, ", the same on every host, kept private")]
    secret: Annotated[
        str,
        *_matching(
            "[0-9a-f]{32}",
            "32 hexadecimal digits",
            "32 hexadecimal digits, the same on every host, kept private: openssl rand -hex 16",
        ),
    ] = ""
    vips: _Vips
    interface: _Interface
    buckets: Annotated[int, _whole(1, MAX_BUCKETS)] = DEFAULTS["buckets"]
    listen_mac: _Mac = ""
    mode: Annotated[str, *_one_of(*Mode)] = ""
    xdp: Annotated[str, *_one_of(*Xdp)] = DEFAULTS["xdp"]


class ClusterShape(_DealShape):
    """The [cluster] table; here, how its agents work."""

    store: Annotated[str, AfterValidator(_url)] = Field(
        "", description='"sqlite:///path" or "etcd://host:port,..."'
    )
    password_file: Annotated[
        str,
        *_matching(
            r"[^\x00-\x1f\x7f]{1,4096}",
            "a path",
            "the path of a file with the password, or its name in systemd's LoadCredential=",
        ),
    ] = ""
    lease: Annotated[str, *_between("200ms", "60s")] = "1s"
    beat: Annotated[str, *_between("20ms", "20s")] = ""
    on_store_loss: Annotated[str, *_one_of(*StoreLoss)] = _LEASES.on_store_loss
    # Below 1024 it would take a capability more.
    promise_port: Annotated[int, _whole(1024, 65535)] = _LEASES.promise_port
    settle: Annotated[str, *_between("0s", "10m")] = "5s"
    balance: Annotated[str, *_one_of(*Balance)] = _LEASES.balance
    balance_every: Annotated[str, *_between("1s", "1h")] = "60s"
    balance_cpu: Annotated[
        str,
        *_matching(
            _GROUP,
            "a unit or a path",
            'a systemd unit, such as "nsd.service", or a path as in /proc/PID/cgroup',
        ),
    ] = ""


class SegmentShape(_Shape):
    """A [[segment]] table: one more interface, with VIPs of its own."""

    interface: _Interface
    vips: _Vips
    listen_mac: _Mac = ""


class HostShape(_Shape):
    """A [[host]] table."""

    name: _Name
    weight: Annotated[int, _whole(0, 1000)] = DEFAULTS["weight"]
    interface: _Interface = ""
    send_mac: _Mac = ""
    interfaces: Annotated[
        dict[str, _Interface], Field(description='such as { eth1 = "ens4" }, by [[segment]]')
    ] = {}
    send_macs: Annotated[
        dict[str, _Mac],
        Field(description='such as { eth1 = "02:00:00:00:00:01" }, by [[segment]]'),
    ] = {}


_PORT = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


def port_range(value: object) -> tuple[int, int]:
    """Return first and last of ports such as 80 or "8000-8100"; ValueError says what else it is."""
    found = _PORT.fullmatch(value) if isinstance(value, str) else None
    first, last = (int(found[1]), int(found[2])) if found else (value, value)
    if type(first) is not int or type(last) is not int or not 1 <= first <= last <= 65535:
        raise ValueError("no port and no rising range of ports")
    return first, last


def _port(value: object) -> object:
    port_range(value)
    return value


class ServiceShape(_Shape):
    """A [[service]] table."""

    protocol: Annotated[str, *_one_of(*Protocol)]
    ports: Annotated[
        list[Annotated[Any, AfterValidator(_port)]],
        Field(min_length=1, description='a list of ports, such as [80, "8000-8100"]'),
    ]
    affinity: Annotated[str, *_one_of(*Affinity)] = Affinity.CLIENT
    prefix4: Annotated[int, _whole(1, 32)] = DEFAULTS["prefix4"]
    prefix6: Annotated[int, _whole(1, 128)] = DEFAULTS["prefix6"]
    quic: Annotated[bool, Field(description="true or false")] = DEFAULTS["quic"]


class _AgainShape(_Shape):
    """What is looked at again and again: how often, and how many results change a mind."""

    interval: Annotated[str, *_between("100ms", "3600s")] = "1s"
    timeout: Annotated[str, *_between("10ms", "60s")] = "1s"
    rise: Annotated[int, _whole(1, 100)] = 2
    fall: Annotated[int, _whole(1, 100)] = 3


class CheckShape(_AgainShape):
    """A [[check]] table; which keys go with which kind, KINDS tells."""

    kind: Annotated[str, *_one_of(*CheckKind)]
    port: Annotated[int, _whole(1, 65535)] = 0
    host: Annotated[
        str,
        *_matching(
            "[A-Za-z0-9._-]{1,253}", "a host's name", 'a host\'s name, such as "www.example.com"'
        ),
    ] = ""
    path: Annotated[str, *_matching("/[!-~]*", "a path", 'a path, such as "/"')] = "/"
    status: Annotated[int, _whole(100, 599)] = 200
    body: Annotated[str, Field(description="text that the answer contains")] = ""
    name: Annotated[str, *_matching("[!-~]{1,253}", "a name", "a name to ask for")] = ""
    type: Annotated[str, *_matching("[A-Z0-9]{1,10}", "a type", 'a type, such as "A"')] = "A"
    command: Annotated[
        list[str], Field(min_length=1, description="a command: a list of words")
    ] = []


class FileShape(_Shape):
    """A cluster file."""

    cluster: ClusterShape = Field(description="one [cluster] table")
    segment: list[SegmentShape] = Field([], description="a [[segment]] table for each more")
    host: list[HostShape] = Field(min_length=1, description="a [[host]] table for each host")
    service: list[ServiceShape] = Field([], description="a [[service]] table for each service")
    check: list[CheckShape] = Field([], description="a [[check]] table for each check")


SHAPES: dict[str, type[_Shape]] = {
    "cluster": ClusterShape,
    "segment": SegmentShape,
    "host": HostShape,
    "service": ServiceShape,
    "check": CheckShape,
}
