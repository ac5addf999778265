"""`make model`: ten million steps of the model under failsafe, or as many as are said; a world in
which two hosts serve one bucket is told by its seed."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.unit.agreement.world import explore

STEPS = 5000  # of each world


def one(seed: int) -> tuple[int, str, int]:
    """Return the seed of a world, what went wrong in it, and how often a host carried on by
    promises."""
    try:
        return seed, "", explore(seed, STEPS, failsafe=True).by_promise
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}", 0


def main() -> int:
    """Explore so many steps, from such a seed on."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    worlds = max(1, steps // STEPS)
    print(f"{worlds} worlds of {STEPS} steps: make model N={steps} SEED={first}", flush=True)
    began, promised, failed = time.monotonic(), 0, 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seed, wrong, by_promise in pool.map(one, range(first, first + worlds), chunksize=10):
            promised += by_promise
            failed += bool(wrong)
            if wrong:
                print(f"seed {seed}: {wrong}", flush=True)
    seconds = time.monotonic() - began
    print(f"{failed} worlds failed; {promised} grants by promise; {seconds:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
