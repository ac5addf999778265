"""`make chaos`: MINUTES, SEED, STORE (etcd or sqlite), LOSS (fence or hold), LEASE in seconds, and
EVERY: each bucket's clients ask once in so many seconds.

Ends with 1 if anybody was answered twice, or not at all and nothing explains it, or if the control
was not seen.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import report
from tests.chaos.run import Options, run
from vipnft.model import StoreLoss

DEFAULTS = {
    "MINUTES": "60", "SEED": "", "STORE": "etcd", "LOSS": "fence", "LEASE": "1", "EVERY": "0.25",
}  # fmt: skip
_KEPT_MINUTES = 5.0  # what is shorter is no figure to be published


def options(words: list[str]) -> Options:
    """Read MINUTES=60 and the like; what is empty is as if it were not said."""
    said = {key: value for key, _, value in (word.partition("=") for word in words) if value}
    if strange := said.keys() - DEFAULTS.keys():
        sys.exit(f"no such word: {', '.join(strange)}; there are {', '.join(DEFAULTS)}")
    chosen = DEFAULTS | said
    if chosen["STORE"] not in {"etcd", "sqlite"} or chosen["LOSS"] not in {*StoreLoss}:
        sys.exit(f"STORE is etcd or sqlite, LOSS one of {', '.join(StoreLoss)}")
    return Options(
        name=f"chaos-{os.getpid()}",
        minutes=float(chosen["MINUTES"]),
        seed=int(chosen["SEED"] or random.SystemRandom().randrange(1 << 31)),
        etcd=chosen["STORE"] == "etcd",
        loss=StoreLoss(chosen["LOSS"]),
        lease=float(chosen["LEASE"]),
        every=float(chosen["EVERY"]),
    )


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    chosen = options(sys.argv[1:])
    case = f"{'etcd' if chosen.etcd else 'SQLite'}, {chosen.loss}"
    print(f"chaos over {case}: {chosen.minutes:g} minutes, seed {chosen.seed}", flush=True)
    where = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcome = run(chosen, where)
    found = report.figures(
        outcome.verdict,
        outcome.storm.done,
        control=outcome.control,
        minutes=chosen.minutes,
        seed=chosen.seed,
    )
    print(report.text(found, outcome.verdict, outcome.broken))
    if outcome.is_well:
        shutil.rmtree(where)
    else:
        print(f"what agents and etcd said: {where}")
    if outcome.is_well and chosen.minutes >= _KEPT_MINUTES:
        report.store(case, found)
    sys.exit(not outcome.is_well)


if __name__ == "__main__":
    main()
