"""What the kernel holds of our nft tables, in its own bytes: so short a look that it may be often.

libnftables takes 1.3 s of a processor to tell of 65,536 buckets, as text and as JSON; here it is
0.15 s, and 1 ms of 256 (Linux 6.18).

Rule 1: bytes are compared with earlier bytes of the same kernel. That they differ says nothing yet
        but that somebody has to look closely.
Rule 2: of other nft tables nothing is asked but the names of their chains, in our families.
Rule 3: no step holds the interpreter for longer than it takes to read one datagram.
"""

import functools
import hashlib
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from vipnft.kernel import netlink
from vipnft.ruleset.tables import TABLES, NftTable

_FAMILIES = {"inet": 1, "arp": 3, "netdev": 5}  # linux/netfilter.h: NFPROTO_...
_NFTABLES = 10 << 8  # linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES
# linux/netfilter/nf_tables.h: NFT_MSG_GET...; what changes by itself, or with elements, of each:
# NFTA_TABLE_USE; NFTA_CHAIN_USE, _COUNTERS; none of a rule; NFTA_SET_COUNT.
_TABLE, _CHAIN, _RULE, _SET, _ELEMENTS = 1, 4, 7, 10, 13
_PASSING = {_TABLE: {3}, _CHAIN: {6, 8}, _RULE: set[int](), _SET: {20}}
_BELONGS, _SET_NAME, _SET_FLAGS, _ANONYMOUS = 1, 2, 3, 1
_LIST = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_DATA, _EXPRESSION, _VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 2, 7, 2, 1, 2
_EXPRESSION_DATA, _PACKETS = 2, 2  # NFTA_EXPR_DATA, NFTA_COUNTER_PACKETS
_DROP = bytes(4)  # NF_DROP
_NFGENMSG_BYTES = 4
_LENGTH = struct.Struct("=H")
_COUNT = struct.Struct("!Q")

Elements = dict[bytes, str]
"""Of a set or map by key, as bytes: the verdict's chain, or "" without one; "?" and its bytes for
what an agent would not have put there, such as a timeout."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Our nft tables: a digest of what stays, the elements of what moves, and how many packets
    each element of a set that counts has counted, both by the set's name."""

    staying: bytes
    moving: Mapping[str, Elements]
    packets: Mapping[str, Mapping[bytes, int]]


def rules(moving: Collection[str], passing: Collection[str]) -> Rules:
    """Return what our nft tables hold: the elements of the sets and maps in `moving`, a digest of
    all else but the elements of those in `passing`. KernelError if the kernel does not tell."""
    digest = hashlib.sha256()
    found: dict[str, Elements] = {}
    packets: dict[str, dict[bytes, int]] = {}
    with closing(netlink.opened(netlink.NETFILTER)) as kernel:
        for table in TABLES:
            for kind in (_TABLE, _CHAIN, _RULE):
                for one in _told(kernel, kind, table):
                    digest.update(_kept(one, kind))
            for one in list(_told(kernel, _SET, table)):  # whose elements are asked for meanwhile
                digest.update(_kept(one, _SET))
                if (name := _named(one)) is None or name in passing:
                    continue
                if name in moving:
                    found[name] = {key: _word(rest) for key, rest in elements(kernel, table, name)}
                    continue
                counted = dict(_counted(elements(kernel, table, name)))
                packets[name] = {key: count for key, (_, count) in counted.items()}
                digest.update(b"".join(sorted(key + rest for key, (rest, _) in counted.items())))
    return Rules(digest.digest(), found, packets)


def _told(kernel: socket.socket, kind: int, table: NftTable) -> Iterator[bytes]:
    """Yield the attributes of each table, chain, rule or set of an nft table."""
    name = table.name.encode() + b"\0"
    own = netlink.attribute(_BELONGS, name)
    narrowed = own if kind in {_RULE, _SET} else b""
    for _, data, begin, end in netlink.dump(
        kernel, _NFTABLES | kind, _nfgenmsg(table) + narrowed, "its nft tables"
    ):
        if data.startswith(own, begin + _NFGENMSG_BYTES):  # it comes first in all of them
            yield data[begin + _NFGENMSG_BYTES : end]


def _kept(one: bytes, kind: int) -> bytes:
    """Return what of it does not change by itself."""
    passing = _PASSING[kind]
    return b"".join(
        one[at - 4 : stop]
        for attribute, at, stop in netlink.attributes(one, 0, len(one))
        if attribute not in passing
    )


def _named(one: bytes) -> str | None:
    """Return a set's name; None for one that is part of a rule, and can't change."""
    found = {kind: one[at:stop] for kind, at, stop in netlink.attributes(one, 0, len(one))}
    if int.from_bytes(found.get(_SET_FLAGS, b""), "big") & _ANONYMOUS:
        return None
    return found[_SET_NAME].rstrip(b"\0").decode()


def elements(kernel: socket.socket, table: NftTable, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the key of each element, and the attributes behind it, as they came."""
    asked = netlink.attribute(1, table.name.encode() + b"\0")
    asked += netlink.attribute(2, name.encode() + b"\0")
    for _, data, begin, end in netlink.dump(
        kernel, _NFTABLES | _ELEMENTS, _nfgenmsg(table) + asked, f"the elements of {name}"
    ):
        for kind, at, stop in netlink.attributes(data, begin + _NFGENMSG_BYTES, end):
            if kind == _LIST:
                yield from _listed(data, at, stop)


def _listed(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the same of one message's list."""
    length = _LENGTH.unpack_from
    begin = at
    while begin + 12 <= stop:  # headers of the element, of its key, of the key's value
        (size,), (key,) = length(data, begin), length(data, begin + 4)
        if size < 12 or key < 8:
            break
        behind = begin + 4 + (key + 3 & ~3)
        yield data[begin + 12 : begin + 4 + key], data[behind : begin + size]
        begin += size + 3 & ~3


@functools.lru_cache(maxsize=64)
def _word(rest: bytes) -> str:
    """Return what is behind an element's key, as `Elements` has it; few are different."""
    if not rest:
        return ""
    found = [(kind, at, stop) for kind, at, stop in netlink.attributes(rest, 0, len(rest))]
    if [kind for kind, *_ in found] == [_DATA]:
        _, at, stop = found[0]
        for kind, begin, end in netlink.attributes(rest, at, stop):
            if kind == _VERDICT:
                parts = {k: rest[b:e] for k, b, e in netlink.attributes(rest, begin, end)}
                if _VERDICT_CHAIN in parts:
                    return parts[_VERDICT_CHAIN].rstrip(b"\0").decode()
                if parts.get(_VERDICT_CODE) == _DROP:
                    return "drop"
    return f"?{rest.hex()}"


def _counted(several: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, tuple[bytes, int]]]:
    """Yield each element's key, what it says besides what it has counted, and the packets."""
    places: dict[int, tuple[int, int, int]] = {}  # by length: of the counter, and of its packets
    for key, rest in several:
        if len(rest) not in places:
            places[len(rest)] = _counter(rest)
        begin, end, packets = places[len(rest)]
        count = _COUNT.unpack_from(rest, packets)[0] if packets else 0
        yield key, (rest[:begin] + rest[end:], count)


def _counter(rest: bytes) -> tuple[int, int, int]:
    """Return where the counter is in what stands behind a key, and where its packets are."""
    for kind, at, stop in netlink.attributes(rest, 0, len(rest)):
        if kind == _EXPRESSION:
            for part, begin, end in netlink.attributes(rest, at, stop):
                if part == _EXPRESSION_DATA:
                    for value, place, _ in netlink.attributes(rest, begin, end):
                        if value == _PACKETS:
                            return at, stop, place
    return 0, 0, 0


def _nfgenmsg(table: NftTable) -> bytes:
    return struct.pack("!BBH", _FAMILIES[table.family], 0, 0)
