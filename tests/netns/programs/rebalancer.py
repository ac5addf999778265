"""Run inside a host: move the same buckets away and back, many times, as `apply` does it.

    python rebalancer.py TIMES RANGE PAUSE

PAUSE: seconds between two moves, so that the traffic has the processors. Prints one line of
JSON: of each move the milliseconds that its transaction took, and the processor's in the kernel.
With an XDP stage buckets are given away whole, or nothing would change in it.
"""

import json
import resource
import sys
import time

from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State
from vipnft.buckets.ranges import parse_ranges
from vipnft.host import record
from vipnft.host.facts import cells, current
from vipnft.host.stage import Stage
from vipnft.kernel import nft
from vipnft.kernel.links import Links
from vipnft.model import Applied, Xdp
from vipnft.ruleset import elements

DRAINING, JOINING = Phase(State.DRAINING, 300), Phase(State.JOINING, 300)


def main(times: int, chosen: str, pause: float) -> list[tuple[float, float]]:
    applied = record.load()
    assert applied is not None
    moving = frozenset(parse_ranges(chosen, applied.cluster.buckets))
    have = cells(applied.cluster.buckets)
    rest = current(applied)
    mine = applied.owners[min(moving)] == applied.host
    staged = applied.cluster.xdp is not Xdp.OFF
    given, taken = (
        tuple(phase if b in moving else rest[b] for b in range(len(rest)))
        for phase in ((FOREIGN, OWNED) if staged else (DRAINING, JOINING))
    )
    stage = held(applied) if staged else Stage()
    first, second = (given, taken) if mine else (taken, given)
    start = elements.change(have, first)
    # The same two moves again and again: worked out once, so that the traffic has the CPUs.
    there = elements.change([elements.cell(p) for p in first], second)
    back = elements.change([elements.cell(p) for p in second], first)
    measured = []
    for turn in range(times):
        commands = start if turn == 0 else (there, back)[(turn + 1) % 2]
        began, kernel = time.perf_counter(), _in_kernel()
        after = (first, second)[turn % 2]
        with stage.moving(frozenset(b for b, phase in enumerate(after) if phase is FOREIGN)):
            nft.apply(commands)
        measured.append(((time.perf_counter() - began) * 1000, (_in_kernel() - kernel) * 1000))
        time.sleep(pause)
    return measured


def held(applied: Applied) -> Stage:
    """Take the stage over, as an agent does that begins anew."""
    stage = Stage()
    with Links() as links:
        stage.settle({one.name: one for one in links.every()}, applied, ())
    return stage


def _in_kernel() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
