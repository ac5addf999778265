"""What of a packet is hashed: the client's address, its network, or its flow.

Rule 1: an expression here and `key`, its twin, give the same bytes.
Rule 2: where ports decide, a fragment has none: it is put together first, then decided upon.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_network

from vipnft.model import Address, Affinity, Protocol, Service
from vipnft.ruleset.jhash import scaled
from vipnft.ruleset.nftjson import ICMP, ICMPV6, Expr, Stmt, both, concat, match, payload, raw


@dataclass(frozen=True, slots=True)
class HashKey:
    """How a key is made: of so many bits of the address, and of the port or not."""

    prefix4: int = 32
    prefix6: int = 128
    port: bool = False


CLIENT = HashKey()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An IP version: nft's name of its header, its ICMP's number; `any` is all addresses.

    Offsets in bits, of the packet that an ICMP error returns, from the ICMP header on: of its
    protocol, its destination and its ports (no options or extension headers before these).
    """

    header: str
    icmp: int
    errors: tuple[str, ...]
    bits: int
    any: str
    protocol: int
    daddr: int
    ports: int

    def prefix(self, kind: HashKey) -> int:
        """Return how many bits of an address count."""
        return kind.prefix4 if self.bits == V4.bits else kind.prefix6


FRAGMENT_HEADER = 44
"""The next header of an IPv6 packet that was sent in fragments (RFC 8200, 4.5)."""
_ERRORS = ("destination-unreachable", "time-exceeded", "parameter-problem")
V4 = Version(
    header="ip", icmp=ICMP, errors=_ERRORS, bits=32, any=str(IPv4Address(0)),
    protocol=64 + 72, daddr=64 + 128, ports=64 + 160,
)  # fmt: skip
V6 = Version(
    header="ip6", icmp=ICMPV6, errors=(*_ERRORS, "packet-too-big"), bits=128, any="::",
    protocol=64 + 48, daddr=64 + 192, ports=64 + 320,
)  # fmt: skip


def hash_key(service: Service) -> HashKey:
    """Return how a service's packets are dealt."""
    match service.affinity:
        case Affinity.SUBNET:
            return HashKey(service.prefix4, service.prefix6)
        case Affinity.FLOW:
            return HashKey(port=True)
        case Affinity.CLIENT:
            return CLIENT


def serves(service: Service, port: int) -> bool:
    """Tell whether a port is one of a service's."""
    return any(first <= port <= last for first, last in service.ports)


def hash_key_at(services: Sequence[Service], protocol: Protocol, port: int) -> HashKey:
    """Return how packets to a port are dealt."""
    for service in services:
        if service.protocol is protocol and serves(service, port):
            return hash_key(service)
    return dealt(services)[0]


def dealt(services: Sequence[Service]) -> tuple[HashKey, tuple[Service, ...]]:
    """Return how packets are dealt, and the services whose packets are dealt otherwise.

    Without the latter no port need be looked at before a bucket is known.
    """
    kinds = {hash_key(service) for service in services}
    if len(kinds) == 1 and not (only := kinds.pop()).port:
        return only, ()
    return CLIENT, tuple(service for service in services if hash_key(service) != CLIENT)


def source(kind: HashKey, version: Version) -> Expr:
    """Return the key of a client's packet."""
    return _key(kind, version, "saddr", "sport")


def target(kind: HashKey, version: Version) -> Expr:
    """Return the key of a packet to a client: the same bytes as of its answer."""
    return _key(kind, version, "daddr", "dport")


def _key(kind: HashKey, version: Version, address: str, port: str) -> Expr:
    whole = payload(version.header, address)
    part = whole if version.prefix(kind) == version.bits else both(whole, _mask(kind, version))
    return concat(part, payload("th", port)) if kind.port else part


def returned(kind: HashKey, version: Version) -> Expr:
    """Return the key of an ICMP error: of the client whose packet it returns."""
    whole = raw("th", version.daddr, version.bits)
    if kind.port:
        return concat(whole, raw("th", version.ports + 16, 16))
    if version.prefix(kind) == version.bits:
        return whole
    # In pieces: JSON has no number of 128 bits.
    mask = ip_network(f"{version.any}/{version.prefix(kind)}").netmask.packed
    parts = [
        both(raw("th", version.daddr + 8 * at, 32), int.from_bytes(mask[at : at + 4], "big"))
        for at in range(0, len(mask), 4)
    ]
    return parts[0] if len(parts) == 1 else concat(*parts)


def turned(version: Version) -> Version:
    """Return where the client's address and port are in a returned packet that it sent itself."""
    return replace(version, daddr=version.daddr - version.bits, ports=version.ports - 16)


def shapes(version: Version, number: int) -> Iterator[tuple[list[Stmt], Version]]:
    """Yield what a returned packet of a protocol looks like, and where its fields are then: in
    IPv6 a packet that was sent in fragments has a header for that."""
    yield [match(raw("th", version.protocol, 8), number)], version
    if version is not V4:
        behind = replace(version, ports=version.ports + 64)
        fragment = match(raw("th", version.protocol, 8), FRAGMENT_HEADER)
        yield [fragment, match(raw("th", version.ports, 8), number)], behind


def _mask(kind: HashKey, version: Version) -> str:
    return str(ip_network(f"{version.any}/{version.prefix(kind)}").netmask)


def key(kind: HashKey, client: Address, port: int = 0) -> bytes:
    """Return the bytes that are hashed of a client, and of its port where that counts."""
    prefix = kind.prefix4 if isinstance(client, IPv4Address) else kind.prefix6
    address = ip_network(f"{client}/{prefix}", strict=False).network_address.packed
    return address + (port.to_bytes(2, "big") + bytes(2) if kind.port else b"")


def bucket(kind: HashKey, client: Address, seed: int, buckets: int, port: int = 0) -> int:
    """Return a client's bucket, 0..buckets-1, as the kernel decides it."""
    return scaled(key(kind, client, port), seed, buckets)
