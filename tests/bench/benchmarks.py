"""Every figure that says how fast this is, and how far it goes. `make bench`, as root.

Each part measures, prints, and stores its figures in docs/benchmarks.json; docs/benchmarks.md and
its plots are made of what is stored. `make bench PARTS="own moves"` measures these again.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.bench import (
    agents,
    disruption,
    ends,
    hotpath,
    nic,
    owntraffic,
    rivals,
    seen,
    segment,
    service,
)
from vipnft.kernel import nft

DOCS = Path(__file__).parents[2] / "docs"
STORED, DOCUMENT = DOCS / "benchmarks.json", DOCS / "benchmarks.md"

Figures = dict[str, Any]


class Part(Protocol):
    """What is measured, and how the document tells it."""

    def measure(self, where: Path, /) -> Figures:
        """Measure, print, and return what can be stored as JSON."""

    def chapter(self, figures: Figures, /) -> str:
        """Return the chapter of what was stored, in Markdown."""


PARTS: Mapping[str, Part] = {
    "foreign": hotpath, "nic": nic, "own": owntraffic, "service": service, "many": segment,
    "moves": disruption, "failover": rivals, "ends": ends, "agents": agents,
    "seen": seen,
}  # fmt: skip


def document(stored: Mapping[str, Figures]) -> str:
    """Return docs/benchmarks.md, of what is stored."""
    known = {name: part for name, part in PARTS.items() if name in stored}
    chapters = [part.chapter(stored[name]["figures"]) for name, part in known.items()]
    machines: dict[str, list[str]] = {}
    for name in known:
        machines.setdefault(stored[name]["machine"], []).append(name)
    runs = "\n".join(f"- {', '.join(names)}: {machine}" for machine, names in machines.items())
    return (
        "# Benchmarks\n\n"
        'Written by `make bench` (parts: `make bench PARTS="own moves"`), which stores every'
        " figure in [benchmarks.json](benchmarks.json). All that is compared ran in turn in one"
        " run; absolute figures differ from machine to machine, ratios are what counts."
        " [moves.md](moves.md) and [failover.md](failover.md) have the rest.\n\n"
        f"{runs}\n\n" + "\n\n".join(chapters) + "\n"
    )


PACKAGES = ("nginx-light", "wrk", "iperf3", "netsniff-ng", "iptables", "keepalived")


def machine() -> str:
    """Return what this ran on, and with what."""
    said = _told("lscpu", "-J")
    fields = {one["field"]: one["data"] for one in json.loads(said)["lscpu"]}
    model = fields.get("Model name:", platform.machine())
    packages = _told("dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model}), Linux {platform.release()},"
        f" libnftables {nft.version()}, Python {platform.python_version()}, {packages[:-2]}"
    )


def _told(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    if not PARTS.keys() >= set(chosen):
        sys.exit(f"no such part; there are {', '.join(PARTS)}")
    stored: dict[str, Figures] = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as where:
            figures = PARTS[name].measure(Path(where))
        stored[name] = {"machine": machine(), "figures": figures}
        stored = json.loads(json.dumps(stored))
        STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(stored), encoding="utf-8")


if __name__ == "__main__":
    main()
