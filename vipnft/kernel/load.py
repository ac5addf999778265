"""What the kernel counted, by element of a set of the netdev table: straight over netlink.

Rule 1: from any thread, beside what the others ask libnftables, whose contexts one thread uses.
Rule 2: read in small steps, so that no beat waits for the many: 65,536 are 0.1 s of Python.
"""

import struct
from contextlib import closing

from vipnft.errors import KernelError
from vipnft.kernel import netlink, nft_glance
from vipnft.ruleset.tables import NETDEV

_EXPRESSION, _EXPRESSION_DATA = 7, 2  # linux/netfilter/nf_tables.h: NFTA_SET_ELEM_EXPR, _EXPR_DATA
_BYTES, _PACKETS = 1, 2  # NFTA_COUNTER_...
_MARK = struct.Struct("=I")
_COUNT = struct.Struct("!Q")
_ANSWER_S = 1.0
Counted = dict[int, tuple[int, int]]


def read(name: str) -> Counted:
    """Return (packets, bytes) by element of a set whose elements are marks; KernelError without
    it, or without the right to ask."""
    found: Counted = {}
    places: dict[int, dict[int, int]] = {}  # where counts are behind a key, by how much is there
    with closing(netlink.opened(netlink.NETFILTER)) as kernel:
        kernel.settimeout(_ANSWER_S)
        for key, rest in nft_glance.elements(kernel, NETDEV, name):
            if len(rest) not in places:
                places[len(rest)] = _counter(rest)
            if counter := places[len(rest)]:
                try:
                    found[_MARK.unpack(key)[0]] = (
                        _COUNT.unpack_from(rest, counter[_PACKETS])[0],
                        _COUNT.unpack_from(rest, counter[_BYTES])[0],
                    )
                except (KeyError, struct.error) as error:
                    raise KernelError(f"the kernel tells of {name} what nobody knows") from error
    return found


def _counter(rest: bytes) -> dict[int, int]:
    """Return where each part of an element's counter begins; nothing where it has none."""
    for kind, at, stop in netlink.attributes(rest, 0, len(rest)):
        if kind == _EXPRESSION:
            for part, begin, end in netlink.attributes(rest, at, stop):
                if part == _EXPRESSION_DATA:
                    return {value: p for value, p, _ in netlink.attributes(rest, begin, end)}
    return {}
