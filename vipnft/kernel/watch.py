"""Hear that somebody changed nft tables, links or addresses in this network namespace.

Rule 1: headers only. pyroute2 could listen too, but parses every message, and the agent itself
        changes elements many times a second.
Rule 2: to hear wrongly costs one look at the kernel; to miss something costs the service.
"""

import errno
import socket
from contextlib import ExitStack, suppress
from typing import Self

from vipnft.errors import KernelError
from vipnft.kernel import netlink

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_GROUPS = {
    netlink.NETFILTER: (7,),  # linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES
    netlink.ROUTE: (1, 5, 9),  # linux/rtnetlink.h: RTNLGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR
}
_NFTABLES = 10 << 8  # linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES
# linux/netfilter/nf_tables.h: NFT_MSG_NEW and _DEL of TABLE, CHAIN, RULE, SET; no elements, no
# generations. A _DESTROY is told as a _DEL (measured on Linux 6.18).
_SKELETON = {0, 2, 3, 5, 6, 8, 9, 11}
_LINKS_AND_ADDRESSES = {16, 17, 20, 21}  # linux/rtnetlink.h: RTM_NEW and _DEL of LINK, ADDR
_MATTERS = {
    netlink.NETFILTER: frozenset(_NFTABLES | kind for kind in _SKELETON),
    netlink.ROUTE: frozenset(_LINKS_AND_ADDRESSES),
}
_BUFFER_BYTES = 1 << 20
_DATAGRAM_BYTES = 1 << 16
_MOST_DATAGRAMS = 1000
"""Datagrams a socket in one go: whoever never stops changing rules must not hold up a lease."""


class Watch:
    """Hears from its making on; use it as a context manager.

    What its own process changes is heard like anybody else's.
    """

    def __init__(self) -> None:
        self._data = bytearray(_DATAGRAM_BYTES)
        with ExitStack() as made:
            self._sockets = {
                protocol: made.enter_context(_listen(protocol, groups))
                for protocol, groups in _GROUPS.items()
            }
            self._open = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def filenos(self) -> list[int]:
        """Return what to poll for reading; when one is ready, ask `heard`."""
        return [one.fileno() for one in self._sockets.values()]

    def heard(self) -> bool:
        """Take what the kernel has told since the last call; tell if any of it matters.

        Never waits. What is lost for want of room counts as heard.
        """
        found = [self._drain(one, _MATTERS[protocol]) for protocol, one in self._sockets.items()]
        return any(found)

    def _drain(self, one: socket.socket, matters: frozenset[int]) -> bool:
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
            found = found or size > _DATAGRAM_BYTES or self._told(size, matters)
        return found

    def _told(self, size: int, matters: frozenset[int]) -> bool:
        return any(kind in matters for kind, *_ in netlink.messages(self._data, size))


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
