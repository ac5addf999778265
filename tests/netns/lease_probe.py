"""Run inside a host: keep the lease, or let it go, as an agent does.

    python lease_probe.py MILLISECONDS TIMES PAUSE

Prints JSON: the milliseconds of each arm and of each grant. Then the lease runs out.
"""

import json
import sys
import time

from vipnft import lease
from vipnft.kernel import nft


def main(milliseconds: int, times: int, pause: float) -> dict[str, list[float]]:
    nft.run(lease.flush())
    taken: dict[str, list[float]] = {"arm": [], "grant": []}
    for turn in range(times):
        for name, command in (
            ("arm", lease.arm(turn % 2, milliseconds)),
            ("grant", lease.grant(turn % 2)),
        ):
            began = time.perf_counter()
            nft.run(command)
            taken[name].append((time.perf_counter() - began) * 1000)
        time.sleep(pause)
    return taken


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
