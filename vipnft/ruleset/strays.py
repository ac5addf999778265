"""Frames from the listen MAC: nobody may send one, for a switch that learns it brings all to one
port.

Rule 1: what is for a VIP is decided before; of the rest such a frame is counted, and goes on.
"""

from collections.abc import Sequence

from vipnft.model import Mode, Nic
from vipnft.ruleset.nftjson import MARK, Commands, Stmt, assign, match, payload
from vipnft.ruleset.tables import NETDEV

STRAYS = "strays"
"""The set that counts them, by the number of the interface."""


def counters(nics: Sequence[Nic], mode: Mode) -> Commands:
    """Return what counts them: in switch mode alone, for a hub's hosts do send from it, and a
    group's MAC is never learned."""
    if mode is not Mode.SWITCH:
        return []
    return [NETDEV.set(STRAYS, counter=True), *NETDEV.add(STRAYS, range(len(nics)))]


def counted(nic: Nic, number: int, mode: Mode) -> list[list[Stmt]]:
    """Return the rule that counts them."""
    if mode is not Mode.SWITCH:
        return []
    sent = match(payload("ether", "saddr"), nic.listen_mac(mode))
    return [[sent, assign(MARK, number), match(MARK, f"@{STRAYS}"), assign(MARK, 0)]]
