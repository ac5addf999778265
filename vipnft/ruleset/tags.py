"""VLAN tags, as frames have them at ingress: the NIC, or the kernel, has taken the outer one off.

Rule 1: by position, for libnftables has `vlan id` before all of IP and ARP, or not at all.
"""

from vipnft.ruleset.nftjson import PROTOCOL, match, one_of, raw

_8021Q, _8021AD = 0x8100, 0x88A8

OTHER_VLAN = (
    [match(raw("ll", 96, 16), _8021Q), match(raw("ll", 116, 12), 0, "!=")],  # 0: none
    [match(raw("ll", 96, 16), _8021AD)],
)
"""A tag: the frame came in a VLAN that the interface is not in."""
NESTED = [
    match(PROTOCOL, one_of([_8021Q, _8021AD])),
    match(raw("ll", 116, 12), 0),
    match(raw("nh", 4, 12), 0),
]
"""Tags of no VLAN, one within another. What is in them is not IP yet, to these rules; but behind
them the kernel takes off as many as there are, and the stack has a packet that no rule has seen."""
