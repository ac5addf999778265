"""Hear that somebody changed what is ours in this network namespace: our nft tables, our
interfaces, our addresses.

Rule 1: what others do to what is theirs costs a look into the datagram, however much it is:
        pyroute2 could listen too, but parses every message.
Rule 2: to hear wrongly costs one look at the kernel; to miss something costs the service.
Rule 3: elements are not heard: the agent itself changes some many times a second.
"""

import errno
import socket
import struct
from collections.abc import Collection
from contextlib import ExitStack, suppress
from typing import NamedTuple, Self

from vipnft.errors import KernelError
from vipnft.kernel import netlink
from vipnft.model import Address
from vipnft.ruleset.tables import TABLES

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_GROUPS = {
    netlink.NETFILTER: (7,),  # linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES
    netlink.ROUTE: (1, 5, 9),  # linux/rtnetlink.h: RTNLGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR
}
# linux/netfilter/nf_tables.h: NFT_MSG_NEW and _DEL of TABLE, CHAIN, RULE, SET; no elements, no
# generations. A _DESTROY is told as a _DEL (measured on Linux 6.18).
_SKELETON = frozenset(10 << 8 | kind for kind in (0, 2, 3, 5, 6, 8, 9, 11))
_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE
_NAMES = frozenset(table.name.encode() + b"\0" for table in TABLES)
_NFGENMSG_BYTES = 4
_LINKS, _ADDRESSES = (16, 17), (20, 21)  # linux/rtnetlink.h: RTM_NEW and _DEL of LINK, ADDR
_IFINFOMSG, _IFADDRMSG = struct.Struct("=4xi8x"), struct.Struct("=4xi")
_IFNAME, _PARENT, _ELSEWHERE = 3, 5, 37  # linux/if_link.h: IFLA_IFNAME, _LINK, _LINK_NETNSID
_IFA = {1, 2}  # linux/if_addr.h: IFA_ADDRESS, IFA_LOCAL
_INDEX = struct.Struct("=i")
_BUFFER_BYTES = 1 << 20
_DATAGRAM_BYTES = 1 << 16
_MOST_DATAGRAMS = 1000
"""Datagrams a socket in one go: whoever never stops changing rules must not hold up a lease."""


class News(NamedTuple):
    """What changed: something in the nft tables; something of the interfaces or addresses."""

    rules: bool = False
    links: bool = False


class Watch:
    """Hears from its making on, of `interfaces` and the loopback, of what stands on these, and of
    `addresses` wherever they are; use it as a context manager.

    What its own process changes is heard like anybody else's.
    """

    def __init__(
        self, interfaces: Collection[str] = (), addresses: Collection[Address] = ()
    ) -> None:
        self._names = {name.encode() + b"\0" for name in ("lo", *interfaces)}
        self._addresses = {address.packed for address in addresses}
        self._indexes: set[int] = set()  # whoever has, or had, one of the names
        self._data = bytearray(_DATAGRAM_BYTES)
        with ExitStack() as made:
            self._rules, self._links = (
                made.enter_context(_listen(protocol, groups))
                for protocol, groups in _GROUPS.items()
            )
            self._open = made.pop_all()
        for name in ("lo", *interfaces):
            with suppress(OSError):  # heard of when it comes
                self._indexes.add(socket.if_nametoindex(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def filenos(self) -> list[int]:
        """Return what to poll for reading; when one is ready, ask `heard`."""
        return [self._rules.fileno(), self._links.fileno()]

    def heard(self) -> News:
        """Take what the kernel has told since the last call; tell what of ours it was about.

        Never waits. What is lost for want of room counts as heard.
        """
        return News(self._drain(self._rules), self._drain(self._links))

    def _drain(self, one: socket.socket) -> bool:
        told = self._told_rules if one is self._rules else self._told_links
        found = False
        for _ in range(_MOST_DATAGRAMS):
            try:
                size = one.recv_into(self._data, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _untold(error) from error
                found = True
                continue
            found = found or size > _DATAGRAM_BYTES or told(size)
        return found

    def _told_rules(self, size: int) -> bool:
        if not any(self._data.find(name, 0, size) >= 0 for name in _NAMES):
            return False
        return any(
            bytes(self._data[at:stop]) in _NAMES
            for kind, _, begin, end in netlink.messages(self._data, size)
            if kind in _SKELETON
            for one, at, stop in netlink.attributes(self._data, begin + _NFGENMSG_BYTES, end)
            if one == _TABLE
        )

    def _told_links(self, size: int) -> bool:
        found = False
        for kind, _, begin, end in netlink.messages(self._data, size):
            if kind in _LINKS:
                found = self._is_ours(begin, end) or found
            elif kind in _ADDRESSES:
                several = netlink.attributes(self._data, begin + _IFADDRMSG.size, end)
                found = found or any(
                    one in _IFA and bytes(self._data[at:stop]) in self._addresses
                    for one, at, stop in several
                )
        return found

    def _is_ours(self, begin: int, end: int) -> bool:
        """Tell whether a link is one of ours, by its name or its index, or stands on one."""
        (index,) = _IFINFOMSG.unpack_from(self._data, begin)
        parent = 0
        for kind, at, stop in netlink.attributes(self._data, begin + _IFINFOMSG.size, end):
            if kind == _IFNAME and bytes(self._data[at:stop]) in self._names:
                self._indexes.add(index)
            elif kind == _PARENT and stop - at == _INDEX.size:
                (parent,) = _INDEX.unpack_from(self._data, at)
            elif kind == _ELSEWHERE:
                parent = 0  # the index is of another namespace, as containers' interfaces have it
                break
        return not self._indexes.isdisjoint((index, parent))


def _listen(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    one = netlink.opened(protocol)
    one.setblocking(False)
    try:
        one.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES
        )  # as far as rmem_max lets it
        with suppress(PermissionError):  # in a user namespace
            one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        for group in groups:
            one.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        one.close()
        raise _untold(error) from error
    return one


def _untold(error: OSError) -> KernelError:
    return KernelError(
        f"the kernel does not tell its changes (netlink): {error.strerror}", fix="run it as root"
    )
