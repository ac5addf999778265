"""How many clients change host when one of N comes or goes, beside other ways to choose a host.

Shares of the hash's range that change owner; rendezvous hashing, which has no table, is
drawn from CLIENTS clients.
"""

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench import plots
from vipnft.buckets import assign

CLIENTS = 5000
HOSTS = (2, 4, 8, 16, 32, 64)
SLOTS = 256

Names = Sequence[str]


def digest(*words: object) -> int:
    """Return 64 bits of a good hash."""
    text = "|".join(map(str, words)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def modulo(before: Names, after: Names) -> float:
    """nftables' own `mod N`: the hash's range in N equal parts, in the hosts' order."""
    edges = sorted({n / len(names) for names in (before, after) for n in range(len(names) + 1)})
    changed = 0.0
    for low, high in pairwise(edges):
        middle = (low + high) / 2
        if before[int(middle * len(before))] != after[int(middle * len(after))]:
            changed += high - low
    return changed


def rendezvous(before: Names, after: Names) -> float:
    """The host with the highest hash of client and name."""
    changed = 0
    for client in range(CLIENTS):
        scores = {name: digest(client, name) for name in {*before, *after}}
        changed += max(before, key=scores.__getitem__) != max(after, key=scores.__getitem__)
    return changed / CLIENTS


def maglev(slots: int) -> Callable[[Names, Names], float]:
    """Maglev's table (Eisenbud et al., NSDI 2016, 3.4) of a prime number of slots."""

    def table(names: Names) -> list[str]:
        places = {n: (digest(n, "o") % slots, digest(n, "s") % (slots - 1) + 1) for n in names}
        turn, found, filled = dict.fromkeys(names, 0), [""] * slots, 0
        while True:
            for name, (offset, skip) in places.items():
                while found[place := (offset + turn[name] * skip) % slots]:
                    turn[name] += 1
                found[place] = name
                filled += 1
                if filled == slots:
                    return found

    return lambda before, after: _changed(table(before), table(after))


def stateless(before: Names, after: Names) -> float:
    """`vipnft apply`: from the file alone."""
    return _changed(_assign(before), _assign(after))


def sticky(before: Names, after: Names) -> float:
    """vipnft's agents, which know who has what."""
    owners = _assign(before)
    return _changed(owners, assign.assign(dict.fromkeys(after, 1), SLOTS, owners))


def least(before: Names, after: Names) -> float:
    """What must move, whoever chooses: all that the leaver had; an equal share for who joins."""
    if len(after) > len(before):
        return SLOTS // len(after) / SLOTS
    (gone,) = set(before) - set(after)
    return _assign(before).count(gone) / SLOTS


def _assign(names: Names) -> tuple[str, ...]:
    return assign.assign(dict.fromkeys(names, 1), SLOTS)


def _changed(before: Sequence[str], after: Sequence[str]) -> float:
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)


WAYS: Mapping[str, Callable[[Names, Names], float]] = {
    "modulo N": modulo,
    "Maglev, 1021 slots": maglev(1021),
    "Maglev, 65537 slots": maglev(65537),
    "rendezvous": rendezvous,
    "vipnft apply": stateless,
    "vipnft agents": sticky,
    "least possible with 256 buckets": least,
}


def fractions(way: str, hosts: int) -> tuple[float, float]:
    """Return what changes when one of `hosts` leaves (a mean over several), and when one joins."""
    names = [f"host-{n}" for n in range(hosts)]
    leavers = names[:: max(1, hosts // 4)]
    leaves = statistics.fmean(
        WAYS[way](names, [name for name in names if name != leaver]) for leaver in leavers
    )
    return leaves, WAYS[way](names, [*names, f"host-{hosts}"])


def measure(_: Path) -> dict[str, Any]:
    """Return every way's fractions, by number of hosts."""
    found: dict[str, Any] = {}
    for way in WAYS:
        found[way] = {str(n): fractions(way, n) for n in HOSTS}
        print(f"{way}:", found[way], flush=True)
    return found


def chapter(figures: Mapping[str, Any]) -> str:
    """Return the document's chapter, with its plot."""
    hosts = list(next(iter(figures.values())))
    rows = [
        f"| {way} | "
        + " | ".join("{:.1f} / {:.1f}".format(*(100 * x for x in of[n])) for n in hosts)
        + " |"
        for way, of in figures.items()
    ]
    series = {way: [(int(n), 100 * of[n][0]) for n in hosts] for way, of in figures.items()}
    plot = plots.lines("moves", "hosts", "% of clients that move when one leaves", series)
    return (
        "## Clients that change host\n\n"
        "In percent, when one of N hosts leaves / when one joins. `vipnft` with 256 buckets; its"
        " agents must be at the least possible.\n\n"
        f"| N | {' | '.join(hosts)} |\n|---{'|---' * len(hosts)}|\n"
        + "\n".join(rows)
        + f"\n\n{plot}"
    )
