"""How long a command takes to start: medians of interleaved runs. `make bench-start`.

The figures of one machine; what counts between machines is the ratio to an empty interpreter.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 21
ROOT = Path(__file__).parents[2]
HERE = Path(sys.executable).parent
DRY_RUN = [
    str(HERE / "vipnft"), "apply", "--switch", "--dry-run", "--host", "ns1",
    "--config", str(ROOT / "examples/name-servers.toml"),
]  # fmt: skip
COMMANDS = {
    "empty interpreter": [sys.executable, "-c", "pass"],
    "vipnft --help": [str(HERE / "vipnft"), "--help"],
    "apply --dry-run, 256 buckets": DRY_RUN,
}


def main() -> None:
    """Run all in turn, and print median, spread and ratio."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken[name].append(time.perf_counter() - began)
    empty = statistics.median(taken["empty interpreter"])
    print(f"| {'command':<30} | median s | least | most  | x empty |")
    print(f"|{'-' * 32}|---------:|------:|------:|--------:|")
    for name, times in taken.items():
        median = statistics.median(times)
        print(
            f"| {name:<30} | {median:8.3f} | {min(times):5.3f} | {max(times):5.3f}"
            f" | {median / empty:7.1f} |"
        )


if __name__ == "__main__":
    main()
