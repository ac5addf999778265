"""The netdev table's other hook: what leaves by a segment.

Rule 1: what is not from a VIP meets as few matches as can be; what is, the lease last.
Rule 2: the lease's sets are those of netdev: what is not taken is not answered either.
"""

from collections.abc import Collection, Mapping, Sequence

from vipnft.model import Mode, Nic, send_mac
from vipnft.ruleset import ndp
from vipnft.ruleset.affinity import V4, V6
from vipnft.ruleset.lease import leased
from vipnft.ruleset.netdev import numbered
from vipnft.ruleset.nftjson import (
    ACCEPT,
    DROP,
    OIFTYPE,
    Commands,
    Stmt,
    assign,
    goto,
    match,
    one_of,
    payload,
    raw,
)
from vipnft.ruleset.served import to_vip, versions, vips
from vipnft.ruleset.tables import NETDEV
from vipnft.ruleset.tags import OTHER_VLAN

_FILTER = 0


def egress(
    nics: Sequence[Nic], mode: Mode, macs: Mapping[str, str], tagged: Collection[str]
) -> Commands:
    """Nothing leaves from a VIP without the lease: who took over may answer the same client."""
    first, *others = leased(OIFTYPE, ACCEPT)
    made = NETDEV.chain("spoken", *others, [DROP])
    for number, nic in enumerate(nics):
        rules = [] if mode is Mode.HUB else _sources(nic, mode, macs)
        for version in versions([nic]):
            ours = to_vip(nic, version, "saddr")
            if nic.interface in tagged:  # the answer to somebody who has no bucket here
                rules += [[ours, *tag, ACCEPT] for tag in OTHER_VLAN]
            rules += [[ours, *first], [ours, goto("spoken")]]  # a goto less, most of the time
        made += NETDEV.chain(
            numbered("egress", number), *rules, hook="egress", dev=nic.interface, prio=_FILTER
        )
    return made


def _sources(nic: Nic, mode: Mode, macs: Mapping[str, str]) -> list[list[Stmt]]:
    """No frame leaves with the listen MAC as its source, so no switch ever learns it."""
    listen, mac = nic.listen_mac(mode), macs[nic.interface]
    out = assign(payload("ether", "saddr"), send_mac(nic, mode, macs))
    rules: list[list[Stmt]] = []
    if nic.v6:
        rules += ndp.own(one_of(vips(nic, V6)), mac, listen)
    rules.append([match(raw("ll", 48, 48), ndp.as_number(listen)), out])
    if nic.send_mac:
        rules += [[to_vip(nic, version, "saddr"), out] for version in versions([nic])]
        if nic.v4:
            rules.append([match(payload("arp", "saddr ip"), one_of(vips(nic, V4))), out])
    return rules
