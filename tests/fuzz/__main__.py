"""`make fuzz`: a million inputs, or as many as are said; one that fails is kept, and told."""

import os
import random
import sys
import time
from pathlib import Path

from tests.fuzz import stage
from tests.fuzz.mutate import mutated
from tests.fuzz.readers import READERS

MILLION = 1_000_000
KEPT = Path("fuzz-failed.bin")


def main() -> int:
    """Feed them, by a seed that is told, too."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MILLION
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    print(f"seed {seed}: make fuzz N={count} SEED={seed}", flush=True)
    draw = random.Random(seed)
    shares = sum(one.share for one in READERS.values())
    for name, one in READERS.items():
        began, tries = time.monotonic(), count * one.share // shares
        for _ in range(tries):
            value = mutated(draw, one.seeds)
            try:
                one.feed(value)
            except BaseException:
                KEPT.write_bytes(value)
                print(f"{name}: {value[:300]!r}; it is in {KEPT}", flush=True)
                raise
        print(f"{name:<16} {tries:>8} in {time.monotonic() - began:.0f} s", flush=True)
    if os.geteuid() == 0:
        print(f"the XDP stage: {stage.alone(count, seed)}", flush=True)
    else:
        print("the XDP stage is tried by root alone", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
