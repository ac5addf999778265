"""The elements that say which buckets are whose: the only part of the ruleset that moves.

Rule 1: a change is one transaction of elements. Under traffic that loses nothing, where
        changing rules or nft tables loses packets.
Rule 2: what has a timeout may be gone by the time a command arrives: add, then delete, never
        delete alone. (An add to an element that is there renews its timeout only since
        Linux 6.12: delete, then add.)
Rule 3: drains and joins end in the kernel: the netdev table has both in `leaving`, the inet
        table drains in `drains` and joins in `joined`; what is left over in the map means
        nothing any more and is cleaned up by the next change.
Rule 4: a bucket that was given away is known as such for as long as a handshake may still be
        half open in this host's stack: what that sends again must not leave.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State
from vipnft.ruleset.nftjson import DROP, Commands, Expr, Stmt, expiring, jump
from vipnft.ruleset.tables import INET, NETDEV

MINE = "mine"
"""The set of the inet table that has the buckets owned here."""
CONTAINERS = (
    (NETDEV, "buckets"),
    (NETDEV, "leaving"),
    (INET, "joined"),
    (INET, "drains"),
    (INET, MINE),
)
"""The verdict map; the sets whose timeouts end what they began, `leaving` in the one table,
`joined` and `drains` in the other; and the buckets owned here, of which new things are taken."""
GIVEN = "given"
"""The set of the inet table that has what was given away."""
HALF_OPEN_S = 64
"""For how many seconds: Linux sends a SYN|ACK again for 31 s, and drops the handshake after 63
(tcp_synack_retries is 5, ip-sysctl)."""

_TIMERS = ("leaving", "joined", "drains")
_SLACK_S = 1.5  # seconds by which a timer may differ before it is set anew: timeouts are whole


@dataclass(frozen=True, slots=True)
class Cell:
    """What the containers hold of one bucket: the verdict's chain, seconds left, and `mine`."""

    verdict: str | None = None  # take, come, leave or drop
    leaving: float | None = None
    joined: float | None = None
    mine: bool = False
    drains: float | None = None

    @property
    def phase(self) -> Phase | None:
        """What a packet of this bucket meets; None if no phase looks like this."""
        ends = (self.leaving or 0.0, (self.joined if self.mine else self.drains) or 0.0)
        alone = 0.0 in ends and max(ends) > _SLACK_S  # the other timer of this moment is gone
        if alone or self.mine != (self.verdict in {"take", "come"}):
            return None
        match self.verdict:
            case "drop" | "leave" if self.leaving is None or self.verdict == "drop":
                return FOREIGN
            case "leave":
                return Phase(State.DRAINING, self.leaving or 0.0)
            case "come" if self.joined is not None:
                return Phase(State.JOINING, self.joined)
            case "come" | "take":
                return OWNED
        return None


_EMPTY = Cell()
"""Of containers that were just made."""


def cell(phase: Phase) -> Cell:
    """Return what the containers hold of a bucket in a phase."""
    match phase.state:
        case State.OWNED:
            return Cell("take", mine=True)
        case State.FOREIGN:
            return Cell("drop")
        case State.DRAINING:
            return Cell("leave", leaving=phase.left, drains=phase.left)
        case State.JOINING:
            return Cell("come", leaving=phase.left, joined=phase.left, mine=True)


def fill(phases: Sequence[Phase]) -> Commands:
    """Return the commands that fill empty containers."""
    return change([_EMPTY] * len(phases), phases)


def change(have: Sequence[Cell], want: Sequence[Phase]) -> Commands:
    """Return the commands that bring the containers from `have` to `want`; none if nothing is.

    A phase that is right already is left alone, its timer included.
    """
    pairs = [
        (b, old, _settled(old, cell(new)))
        for b, (old, new) in enumerate(zip(have, want, strict=True))
    ]
    return [
        *_map((b, old.verdict, new.verdict) for b, old, new in pairs),
        *_timer("leaving", ((b, old.leaving, new.leaving) for b, old, new in pairs)),
        *_timer("joined", ((b, old.joined, new.joined) for b, old, new in pairs)),
        *_timer("drains", ((b, old.drains, new.drains) for b, old, new in pairs)),
        *INET.delete(MINE, [b for b, old, new in pairs if old.mine and not new.mine]),
        *INET.add(MINE, [b for b, old, new in pairs if new.mine and not old.mine]),
        *_given(pairs),
    ]


def read(items: Mapping[str, Iterable[Any]], size: int) -> list[Cell]:
    """Return each bucket's cell from the elements of the containers as libnftables has
    them in JSON, by container."""
    chains = {_key(element): _chain(verdict) for element, verdict in items["buckets"]}
    timers = {name: {_key(element): _left(element) for element in items[name]} for name in _TIMERS}
    mine = {_key(element) for element in items[MINE]}
    return [
        Cell(
            mine=b in mine,
            verdict=chains.get(b),
            leaving=timers["leaving"].get(b),
            joined=timers["joined"].get(b),
            drains=timers["drains"].get(b),
        )
        for b in range(size)
    ]


def counters(items: Iterable[Any]) -> dict[int, tuple[int, int]]:
    """Return (packets, bytes) by bucket, from the elements of `load`."""
    return {
        _key(element): (element["elem"]["counter"]["packets"], element["elem"]["counter"]["bytes"])
        for element in items
        if isinstance(element, dict) and "counter" in element["elem"]
    }


def _settled(old: Cell, new: Cell) -> Cell:
    """Keep the kernel's timers where they are as good as right."""
    kept = {}
    for name in _TIMERS:
        left, wanted = getattr(old, name), getattr(new, name)
        if left and wanted and abs(left - wanted) < _SLACK_S:
            kept[name] = left
    return replace(new, **kept) if kept else new


def remembered(given: Iterable[Any], mine: Iterable[Any], phases: Sequence[Phase]) -> Commands:
    """Return the commands by which `given` outlives a swap of all rules, from its elements and
    `mine`'s before, as libnftables has them in JSON; of what drains by now, `fill` tells."""
    left = {_key(element): min(_left(element), HALF_OPEN_S) for element in given}
    left |= {_key(element): HALF_OPEN_S for element in mine}
    foreign = {b for b, phase in enumerate(phases) if phase.state is State.FOREIGN}
    return INET.add(GIVEN, [_until(b, seconds) for b, seconds in left.items() if b in foreign])


def _given(pairs: Iterable[tuple[int, Cell, Cell]]) -> Iterator[Any]:
    """Note what leaves, or drains for another time than before; forget what comes."""
    known = list(pairs)
    came = [b for b, old, new in known if new.mine and not old.mine and old is not _EMPTY]
    left = [
        (b, (new.drains or 0.0) + HALF_OPEN_S)
        for b, old, new in known
        if not new.mine and (old.mine or old.drains != new.drains)
    ]
    stale = [*came, *(b for b, _ in left)]
    yield from INET.add(GIVEN, stale)
    yield from INET.delete(GIVEN, stale)
    yield from INET.add(GIVEN, [_until(b, seconds) for b, seconds in left])


def _map(wanted: Iterable[tuple[int, str | None, str | None]]) -> Iterator[Any]:
    differing = [(b, old, new) for b, old, new in wanted if old != new]
    yield from NETDEV.delete("buckets", [b for b, old, _ in differing if old is not None])
    yield from NETDEV.add(
        "buckets", [[b, _verdict(new)] for b, _, new in differing if new is not None]
    )


def _timer(name: str, wanted: Iterable[tuple[int, float | None, float | None]]) -> Iterator[Any]:
    table = NETDEV if name == "leaving" else INET
    differing = [(b, old, new) for b, old, new in wanted if old != new]
    stale = [b for b, old, _ in differing if old is not None]
    yield from table.add(name, stale)
    yield from table.delete(name, stale)
    yield from table.add(name, [_until(b, new) for b, _, new in differing if new is not None])


def _until(bucket: int, seconds: float) -> object:
    """Return an element that ends in time; in none at all where an agent will end it."""
    return bucket if math.isinf(seconds) else expiring(bucket, max(1, math.ceil(seconds)))


def _verdict(chain: str) -> Stmt:
    return DROP if chain == "drop" else jump(chain)


def _chain(verdict: Stmt) -> str:
    (kind,) = verdict
    target: str = verdict[kind]["target"] if verdict[kind] else kind
    return target


def _key(element: Expr | int) -> int:
    key: int = element["elem"]["val"] if isinstance(element, dict) else element
    return key


def _left(element: Expr | int) -> float:
    """Return an element's remaining seconds; one without a timeout never ends."""
    if not isinstance(element, dict):
        return math.inf
    elem = element["elem"]
    return float(elem.get("expires", elem.get("timeout", math.inf)))
