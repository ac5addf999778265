"""The established connections of this network namespace, by sock_diag (linux/inet_diag.h).

Rule 1: one dump a family, read as fixed-size records: 50,000 connections must not take long.
"""

import socket
import struct
from collections import Counter
from collections.abc import Collection
from ipaddress import ip_address
from typing import NamedTuple

from vipnft.kernel import netlink
from vipnft.model import Address

_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
# ESTABLISHED, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING (net/tcp_states.h):
# what ends when its packets are no longer accepted.
_LIVE = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11
_REQUEST = struct.Struct("=BBBxI48x")
_PORTS = struct.Struct("!4xHH")  # of inet_diag_msg: source, destination
_ADDRESSES = struct.Struct("=8x16s16s")  # likewise
_MAPPED = bytes(10) + b"\xff\xff"


class End(NamedTuple):
    """A connection's other end, and the port here."""

    client: Address
    port: int
    service: int


def clients(local: Collection[Address]) -> Counter[End]:
    """Return how many live TCP connections there are from each end to one of the local
    addresses: more than one where several local addresses have the same."""
    wanted = {address.packed for address in local}
    found: Counter[End] = Counter()
    with netlink.opened(netlink.SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LIVE)
            what = "its sockets (inet_diag)"
            for _, data, at, _ in netlink.dump(kernel, _SOCK_DIAG_BY_FAMILY, body, what):
                service, port = _PORTS.unpack_from(data, at)
                source, client = _ADDRESSES.unpack_from(data, at)
                if family == socket.AF_INET:
                    source, client = source[:4], client[:4]
                elif source[:12] == _MAPPED:
                    source, client = source[12:], client[12:]
                if source in wanted:
                    found[End(ip_address(client), port, service)] += 1
    return found
