"""Does this host get what the others get?

Every host of a segment receives every packet, and takes those of its buckets: where the others take
many and one takes none, a switch may have learned the listen MAC, and bring it to one port alone.

Rule 1: it is a guess from counters that agents tell each other with their beats: a warning, and
        nothing is done about it.
"""

from collections.abc import Mapping

_ENOUGH_PACKETS = 100
"""Packets that a host should have taken, by its share, before it is a wonder that it took none."""
_LOOKS = 3
"""Looks in a row that have to be like that."""


class Reception:
    """One host's, from look to look."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._before: dict[str, int] = {}
        self._deaf = 0

    def look(self, taken: Mapping[str, int], owned: Mapping[str, int]) -> str:
        """Note how many packets each host has taken so far, and how many buckets it owns; return
        a sentence when this host stops or starts to be in doubt, else nothing."""
        grown = {
            host: count - self._before[host]
            for host, count in taken.items()
            if 0 <= self._before.get(host, -1) <= count and owned.get(host)
        }
        mine = grown.pop(self._me, None)
        if mine is None or not grown:
            self._before = dict(taken)
            return ""
        expected = sum(grown.values()) * owned[self._me] // sum(owned[host] for host in grown)
        if not mine and expected < _ENOUGH_PACKETS:
            return ""  # too few yet: counted on
        self._before = dict(taken)
        if mine:
            told, self._deaf = self._deaf >= _LOOKS, 0
            return "packets to the listen MAC arrive here again" if told else ""
        self._deaf += 1
        if self._deaf != _LOOKS:
            return ""
        return (
            f"WARNING: no packet was taken here where about {expected} should have been, by what"
            " the others took: a switch may have learned the listen MAC (`vipnft probe` tells)"
        )
