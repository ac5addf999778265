"""Does this host get what the others get, and what it should?

Every host of a segment receives every packet, and takes those of its buckets: where the others take
many and one takes none, a switch may have learned the listen MAC, and bring it to one port alone.

Rule 1: it is a guess from counters that agents tell each other with their beats: a warning, and
        nothing is done about it.
"""

from collections.abc import Collection, Mapping

_ENOUGH_PACKETS = 100
"""Packets that a host should have taken, by its share, before it is a wonder that it took none."""
_LOOKS = 3
"""Looks in a row that have to be like that."""
_MUCH_TO_NOTHING = 100
"""How many times less is nothing."""
_MUTE_LOOKS = 12
"""Looks after a warning in which it is not said again."""
_DEAF_S = 100.0
"""Seconds without a call, of which one comes every 30."""


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


class Ebb:
    """What all hosts of the cluster take together, from look to look; `much` is the larger of the
    last two: what stops, stops in the midst of one."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}
        self._much = self._last = self._quiet = 0

    def look(self, taken: Mapping[str, int]) -> str:
        """Note how many packets each host has taken so far; return a sentence when much became
        nothing for all at once, or when that is over, else nothing."""
        grown = sum(
            count - self._before[host]
            for host, count in taken.items()
            if 0 <= self._before.get(host, -1) <= count
        )
        self._before = dict(taken)
        if grown * _MUCH_TO_NOTHING >= max(self._much, 1):
            told, self._quiet = self._quiet >= _LOOKS, 0
            self._much, self._last = max(grown, self._last), grown
            return "packets to the listen MAC arrive again" if told else ""
        if self._much < _ENOUGH_PACKETS:
            return ""
        self._quiet += 1
        if self._quiet != _LOOKS:
            return ""
        return (
            f"WARNING: all hosts together took {self._much} packets from one look to the next, and"
            " then none, all at once: the router is gone, or a switch has learned the listen MAC"
            " at another's port (`vipnft probe` tells)"
        )


class Strays:
    """Frames from the listen MAC itself, which nobody may send."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}
        self._mute = 0

    def look(self, strays: Mapping[str, tuple[int, str]]) -> str:
        """Note how many came by each interface so far, and by which port of a bridge; return a
        sentence when more came, but not all the time."""
        more = {
            name: (count - (old if (old := self._before.get(name, 0)) <= count else 0), port)
            for name, (count, port) in strays.items()
        }
        self._before = {name: count for name, (count, _) in strays.items()}
        self._mute = max(0, self._mute - 1)
        where = [
            f"{count} on {name}{f' (port {port})' if port else ''}"
            for name, (count, port) in more.items()
            if count
        ]
        if not where or self._mute:
            return ""
        self._mute = _MUTE_LOOKS
        return (
            f"WARNING: frames came from the listen MAC itself, {', '.join(where)}: a switch that"
            " learns it there brings everything to that port; docs/operating.md has the switch's"
            " side"
        )


class Silence:
    """The calls of the others, which the network should bring to every host."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # when each was last heard, or first seen to live
        self._told = False

    def look(self, heard: Collection[str], living: Collection[str], now: float) -> str:
        """Note who called since, and who lives; return a sentence when none of the living was
        heard for long, or when one is again."""
        self._since = {
            host: now if host in heard else self._since.get(host, now) for host in {*living, *heard}
        }
        deaf = bool(self._since) and all(now - at > _DEAF_S for at in self._since.values())
        if deaf == self._told or (not deaf and not heard):
            return ""
        self._told = deaf
        if not deaf:
            return "calls of other hosts to the listen MAC arrive here again"
        return (
            f"WARNING: no call of another host to the listen MAC came here for {_DEAF_S:g} s: the"
            " network does not flood it, or a switch has learned it (`vipnft probe` tells)"
        )
