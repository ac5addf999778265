"""Netlink messages about the switch's table, taken apart."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from vipnft.lab.fdb import Entry, entries

MAC = "02:bf:c0:00:02:64"
AF_INET, AF_BRIDGE, NEW, DONE = 2, 7, 28, 3
REACHABLE, PERMANENT = 0x02, 0x80


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + bytes(-len(body) % 4)


def neighbour(state: int = REACHABLE, family: int = AF_BRIDGE, *more: bytes) -> bytes:
    body = struct.pack("=BxxxiHBB", family, 5, state, 0, 0)
    rest = more or (attribute(2, bytes.fromhex(MAC.replace(":", ""))), attribute(9, bytes(4)))
    return message(NEW, body + b"".join(rest))


def test_learned_entries_are_found_among_others() -> None:
    data = neighbour() + neighbour(PERMANENT) + neighbour(REACHABLE, AF_INET) + message(DONE, b"")
    assert list(entries(data)) == [Entry(MAC, 5)]


def test_the_mac_may_come_later_or_not_at_all() -> None:
    mac = attribute(2, bytes.fromhex(MAC.replace(":", "")))
    last = neighbour(REACHABLE, AF_BRIDGE, attribute(9, bytes(4)), attribute(5, b"12"), mac)
    assert list(entries(last)) == [Entry(MAC, 5)]
    none = neighbour(REACHABLE, AF_BRIDGE, attribute(9, bytes(4)))
    assert list(entries(none)) == []


@given(st.binary(max_size=200))
def test_noise_is_no_endless_loop(data: bytes) -> None:
    assert len(list(entries(data))) <= len(data)


@given(st.binary(max_size=100))
def test_noise_in_an_entry_is_no_endless_loop(rest: bytes) -> None:
    found = list(entries(neighbour(REACHABLE, AF_BRIDGE, rest) + neighbour()))
    assert len(found) <= 2
    assert found[-1] == Entry(MAC, 5)
