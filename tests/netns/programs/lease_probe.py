"""Run inside a host: keep the lease, or let it go, as an agent does.

    python lease_probe.py MILLISECONDS TIMES PAUSE

Prints JSON: the milliseconds of each arm and of each grant. Then the lease runs out.
TIMES is 0: until standard input ends.
"""

import itertools
import json
import select
import sys
import time
from collections.abc import Callable
from functools import partial

from vipnft.kernel.lease import Lease


def main(milliseconds: int, times: int, pause: float) -> dict[str, list[float]]:
    lease = Lease()
    lease.flush()
    taken: dict[str, list[float]] = {"arm": [], "grant": []}
    for turn in range(times) if times else itertools.takewhile(_wanted, itertools.count()):
        steps: dict[str, Callable[[], None]] = {
            "arm": partial(lease.arm, turn % 2, milliseconds),
            "grant": partial(lease.grant, turn % 2),
        }
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            taken[name].append((time.perf_counter() - began) * 1000)
        time.sleep(pause)
    return taken


def _wanted(_: int) -> bool:
    return not select.select([sys.stdin], [], [], 0)[0]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
