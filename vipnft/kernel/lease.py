"""The lease as the kernel keeps it: two slots, each of which counts while it is armed and granted.

Rule 1: arming takes a timeout, granting none: however long a process pauses between the two,
        the lease ends in time.
Rule 2: straight to nf_tables over netlink. libnftables first asks for what is there, which
        takes ten times as long as the change (0.45 ms against 0.05, many times a second); and
        its JSON has no timeouts below a second: 0.5 means none at all (nft 1.0.6).
Rule 3: one call is one transaction, answered by the kernel before it returns.
"""

import os
import struct

from vipnft.errors import KernelError
from vipnft.kernel import netlink
from vipnft.ruleset.tables import NETDEV

_BATCH_BEGIN, _BATCH_END = 16, 17  # linux/netfilter/nfnetlink.h
_NFTABLES = 10
_NEWSETELEM, _DELSETELEM = _NFTABLES << 8 | 12, _NFTABLES << 8 | 14  # linux/netfilter/nf_tables.h
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEM = 1, 2, 3, 1
_ELEM_KEY, _ELEM_TIMEOUT, _DATA_VALUE = 1, 4, 1
_ANSWER_S = 1.0  # seconds in which the kernel must answer; it does so within the call
_NETDEV, _INET = 5, 1  # linux/netfilter.h: NFPROTO_NETDEV, NFPROTO_INET
# The one key of each nft table's sets: ARPHRD_ETHER, as `iiftype` has it; and a mark of 0.
_KEYS = {_NETDEV: struct.pack("=H", 1), _INET: struct.pack("=I", 0)}
_Change = tuple[int, str, int | None]  # what, of which set, and a timeout in milliseconds


class Lease:
    """One netlink socket; it speaks to the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = netlink.opened(netlink.NETFILTER)
        self._socket.settimeout(_ANSWER_S)
        self._number = 0

    def close(self) -> None:
        """Give the socket back; the lease runs out."""
        self._socket.close()

    def arm(self, slot: int, milliseconds: int) -> None:
        """Take a slot (0 or 1) out of `granted`, and arm it for a time from now."""
        self._send(
            _emptied(f"granted{slot}"),
            _emptied(f"armed{slot}"),
            _filled(f"armed{slot}", milliseconds),
        )

    def grant(self, slot: int) -> None:
        """Let an armed slot count: the host answers until its timeout."""
        self._send(_filled(f"granted{slot}"))

    def flush(self) -> None:
        """Fall silent at once, whatever an earlier life left."""
        self._send(*(_emptied(f"{name}{slot}") for name in ("granted", "armed") for slot in (0, 1)))

    def _send(self, *changes: _Change) -> None:
        """Make the changes in both nft tables in one transaction; KernelError if the kernel takes
        none of them."""
        self._number += 1
        batch = struct.pack("!BBH", 0, 0, _NFTABLES)
        several = [
            (what, family, _body(what, family, name, milliseconds))
            for what, name, milliseconds in changes
            for family in _KEYS
        ]
        acked = len(several) - 1
        messages = [
            netlink.message(_BATCH_BEGIN, netlink.REQUEST, batch, self._number),
            *(
                netlink.message(
                    kind,
                    netlink.REQUEST
                    | netlink.CREATE * (kind == _NEWSETELEM)
                    | netlink.ACK * (place == acked),
                    struct.pack("!BBH", family, 0, 0) + body,
                    self._number,
                )
                for place, (kind, family, body) in enumerate(several)
            ),
            netlink.message(_BATCH_END, netlink.REQUEST, batch, self._number),
        ]
        try:
            self._socket.send(b"".join(messages))
            refused = self._answer()
        except OSError as error:
            raise KernelError(f"the kernel does not take the lease: {error}") from error
        if refused:
            raise KernelError(f"the kernel refused the lease: {os.strerror(refused)}")

    def _answer(self) -> int:
        """Return the kernel's error number for the last transaction, 0 if it was made."""
        while True:
            data = self._socket.recv(1 << 16)
            for kind, number, begin, end in netlink.messages(data, len(data)):
                if kind == netlink.ERROR and number == self._number:
                    return netlink.refused(data, begin, end)


def _emptied(name: str) -> _Change:
    return _DELSETELEM, name, None


def _filled(name: str, milliseconds: int | None = None) -> _Change:
    return _NEWSETELEM, name, milliseconds


def _body(what: int, family: int, name: str, milliseconds: int | None) -> bytes:
    table = NETDEV.name.encode() + b"\0"
    place = netlink.attribute(_LIST_TABLE, table) + netlink.attribute(
        _LIST_SET, name.encode() + b"\0"
    )
    if what == _DELSETELEM:
        return place
    timeout = (
        []
        if milliseconds is None
        else [netlink.attribute(_ELEM_TIMEOUT, struct.pack("!Q", milliseconds))]
    )
    element = [
        netlink.attribute(_ELEM_KEY, [netlink.attribute(_DATA_VALUE, _KEYS[family])]),
        *timeout,
    ]
    return place + netlink.attribute(_LIST_ELEMENTS, [netlink.attribute(_LIST_ELEM, element)])
