"""Connections that have no socket of their own: UDP flows that were answered, by conntrack.

Rule 1: the kernel is asked for one VIP's UDP flows, not for everything it tracks.
"""

import socket
from collections import Counter
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from vipnft.kernel.refusal import refusal
from vipnft.kernel.sockets import End
from vipnft.model import Address

_SEEN_REPLY = 2  # linux/netfilter/nf_conntrack_common.h: IPS_SEEN_REPLY


@refusal("the kernel does not tell its flows (ctnetlink)", fix="modprobe nf_conntrack_netlink")
def answered(local: Collection[Address]) -> Counter[End]:
    """Return the UDP flows, from each end, to one of the local addresses that were answered and
    have not been forgotten since (net.netfilter.nf_conntrack_udp_timeout_stream)."""
    found: Counter[End] = Counter()
    for address in local:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        key = f"CTA_IP_V{address.version}_SRC"
        wanted = NFCTAttrTuple(family=family, daddr=str(address), proto=socket.IPPROTO_UDP)
        with NFCTSocket(nfgen_family=family) as kernel:
            for entry in kernel.dump(tuple_orig=wanted):
                if entry.get("CTA_STATUS") & _SEEN_REPLY:
                    found[_end(entry.get("CTA_TUPLE_ORIG"), key)] += 1
    return found


def _end(flow: Any, key: str) -> End:
    ports = flow.get("CTA_TUPLE_PROTO")
    return End(
        ip_address(flow.get("CTA_TUPLE_IP").get(key)),
        ports.get("CTA_PROTO_SRC_PORT"),
        ports.get("CTA_PROTO_DST_PORT"),
    )
