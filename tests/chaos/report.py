"""What a run of chaos is said to have been, on the screen and in docs/chaos.md."""

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chaos.judge import Done, Verdict

DOCS = Path(__file__).parents[2] / "docs"
STORED, DOCUMENT = DOCS / "chaos.json", DOCS / "chaos.md"
SHOWN = 40


def figures(
    verdict: Verdict, done: list[Done], *, control: int, minutes: float, seed: int
) -> dict[str, Any]:
    """Return what is stored of a run."""
    return {
        "when": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPUs, Linux {platform.release()}",
        "minutes": round(minutes, 1),
        "seed": seed,
        "asked": verdict.asked,
        "unanswered": verdict.unanswered,
        "double": len(verdict.double),
        "unexplained": len(verdict.unexplained),
        "given to the silent": len(verdict.given),
        "moves": verdict.moves,
        "control": control,
        "faults": dict(sorted(Counter(fault.kind for fault in done).items())),
        "explained": dict(verdict.explained.most_common()),
    }


def text(found: Mapping[str, Any], verdict: Verdict, broken: list[str]) -> str:
    """Return what the screen is told."""
    lines = [
        f"{found['minutes']} minutes, seed {found['seed']}: {sum(found['faults'].values())} faults"
        f" of {len(found['faults'])} kinds, {verdict.moves} times a bucket moved",
        *(f"  {times:4} {kind}" for kind, times in found["faults"].items()),
        f"{verdict.asked:,} questions; {len(verdict.double)} answered twice,"
        f" {verdict.unanswered:,} not answered, of these {len(verdict.unexplained)} unexplained",
        *(f"  {times:6} {kind}" for kind, times in found["explained"].items()),
        *(f"  TWICE: {one}" for one in verdict.double[:SHOWN]),
        *(f"  UNEXPLAINED: {one}" for one in verdict.unexplained[:SHOWN]),
        *(f"  GIVEN TO THE SILENT: {one}" for one in verdict.given[:SHOWN]),
        *(f"    {one}" for one in verdict.around),
        *(f"  BROKEN: {one}" for one in broken[:SHOWN]),
        f"control, a forged lease: {found['control']} answered twice",
    ]
    return "\n".join(lines)


def store(case: str, found: Mapping[str, Any]) -> None:
    """Keep a run's figures, and write the document of all that are kept."""
    kept: dict[str, Any] = json.loads(STORED.read_text()) if STORED.exists() else {}
    kept[case] = found
    STORED.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(kept), encoding="utf-8")


def document(kept: Mapping[str, Any]) -> str:
    """Return docs/chaos.md."""
    head = (
        "# Chaos: what was tried\n\n"
        "Written by `make chaos` (`MINUTES=60 SEED=7 STORE=etcd LOSS=fence`): four hosts in a lab"
        " with real agents, over a real etcd of three members, or SQLite. Faults come at random and"
        " overlap; every bucket's clients ask four times a second, by ping, IPv6, connection and"
        " ARP, and what passes at the router's port is counted, question by question. A question"
        " that is not answered must be of a host on which a fault was, then, or of a bucket that"
        " moved. In the end a lease is forged, and must be seen as double answers.\n\n"
    )
    rows = [
        "| " + " | ".join(("", *kept)) + " |",
        "|---" * (1 + len(kept)) + "|",
        *(
            "| " + " | ".join((name, *(f"{one.get(name, 0):,}" for one in kept.values()))) + " |"
            for name in (
                "minutes", "asked", "double", "unanswered", "unexplained", "given to the silent",
                "moves", "control",
            )
        ),
    ]  # fmt: skip
    runs = [
        f"- {case}: {one['when']}, seed {one['seed']}, {one['machine']}"
        for case, one in kept.items()
    ]
    chapters = [
        f"## {title}\n\n" + _table(kept, key)
        for title, key in (("Faults", "faults"), ("What explains the unanswered", "explained"))
    ]
    return head + "\n".join(runs) + "\n\n" + "\n".join(rows) + "\n\n" + "\n\n".join(chapters) + "\n"


def _table(kept: Mapping[str, Any], key: str) -> str:
    names = sorted({name for one in kept.values() for name in one[key]})
    rows = [
        f"| {name} | " + " | ".join(f"{one[key].get(name, 0):,}" for one in kept.values()) + " |"
        for name in names
    ]
    return "\n".join(["| | " + " | ".join(kept) + " |", "|---" * (1 + len(kept)) + "|", *rows])
