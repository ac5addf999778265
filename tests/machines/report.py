"""docs/machines.md: what was shown on which kernel, as the last run of each scenario saw it.

Pure: outcomes in, words out. They are kept in docs/machines.json, since a run may be of one kernel,
or of some scenarios.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]
"""By kernel: what the machines were, and by scenario and test what was seen."""

_HEAD = """# On real machines

What `make machines` has shown, written by it. Three machines under QEMU, at Debian's smallest, with
Debian's own kernel, systemd and virtio NICs, and a router with the clients, are on one switch that
learns; etcd runs beside them. The package is installed as the README tells, and nothing else is
changed. The lease is {lease:g} s: emulated, these machines are about ten times slower than others.

| | {names} |
|---|{rule}
"""
_SIGNS = {"passed": "✓", "failed": "✗", "skipped": "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one test on one kernel."""

    kernel: str
    scenario: str
    test: str
    result: str
    seen: str = ""


def merged(results: Results, outcome: Outcome) -> Results:
    """Return the results with one more outcome, in place of the one before."""
    kernel = results.get(outcome.kernel, {})
    scenario = kernel.get(outcome.scenario, {})
    said = {"result": outcome.result, "seen": outcome.seen}
    return {
        **results,
        outcome.kernel: {**kernel, outcome.scenario: {**scenario, outcome.test: said}},
    }


def words(test: str) -> str:
    """Return what a test shows: its name, in words."""
    name, _, case = test.removeprefix("test_").partition("[")
    case = case.removesuffix("]")
    return name.replace("_", " ") + (f": {case}" if case else "")


def page(results: Results, machines: Mapping[str, str], lease: float) -> str:
    """Return docs/machines.md; `machines` says of each kernel what has it."""
    kernels = [kernel for kernel in machines if kernel in results]
    names = " | ".join(machines[kernel] for kernel in kernels)
    lines = [_HEAD.format(lease=lease, names=names, rule="---|" * len(kernels)).rstrip()]
    for scenario in _in_order(results, kernels):
        lines.append(f"| **{scenario}** |" + " |" * len(kernels))
        for test in _in_order({k: results[k].get(scenario, {}) for k in kernels}, kernels):
            cells = [_cell(results[k].get(scenario, {}).get(test)) for k in kernels]
            lines.append(f"| {words(test)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _in_order(results: Mapping[str, Any], kernels: list[str]) -> list[str]:
    """Return every key of any kernel once, in the order in which they come."""
    return list(dict.fromkeys(key for kernel in kernels for key in results[kernel]))


def _cell(said: Mapping[str, str] | None) -> str:
    if said is None:
        return ""
    return f"{_SIGNS[said['result']]} {said['seen']}".strip().replace("|", "/").replace("\n", " ")
