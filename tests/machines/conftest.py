"""One bed for each kernel, shared by all scenarios in the order of their files."""

import json
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.machines import report, steps
from tests.machines.bed import LEASE, Bed, bed
from tests.machines.image import SYSTEMS, cache, image, locked

Seen = Callable[[str], None]
"""Writes down what a scenario has seen, for docs/machines.md."""

_ROOT = Path(__file__).parents[2]
_RESULTS, _PAGE = _ROOT / "docs/machines.json", _ROOT / "docs/machines.md"
_FIRST = "tests.machines.test_01_install"
_CASE = re.compile(r"^(.*)\[linux-([\d.]+)-?(.*)\]$")


def _kernels() -> list[str]:
    """Return the kernels asked for."""
    asked = os.environ.get("KERNEL", "")
    assert not asked or asked in SYSTEMS, f"KERNEL={asked}: give one of {', '.join(SYSTEMS)}"
    return [asked] if asked else list(SYSTEMS)


KERNELS = _kernels()


@pytest.fixture(scope="session")
def package() -> Path:
    """The package to be tried: the newest in dist/."""
    found = sorted(_ROOT.glob("dist/vipnft_*.deb"), key=lambda path: path.stat().st_mtime)
    assert found, "no package in dist/: make package"
    return found[-1]


@pytest.fixture(scope="session", params=KERNELS, ids=lambda kernel: f"linux-{kernel}")
def machines(request: pytest.FixtureRequest, package: Path) -> Iterator[Bed]:
    """Three machines of one kernel, booted; the package is not installed yet."""
    with bed(image(SYSTEMS[request.param], package), package) as made:
        yield made


@pytest.fixture(autouse=True)
def _prepared(request: pytest.FixtureRequest) -> None:
    """Let any scenario be run by itself; the first, which installs the package, is one, too."""
    if "machines" in request.fixturenames and request.module.__name__ != _FIRST:
        steps.prepare(request.getfixturevalue("machines"))


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Seen:
    """Return what writes down, for docs/machines.md, what a scenario has seen."""
    return lambda text: record_property("seen", text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the machines' logs when something fails, and what came of each test."""
    said = yield
    if said.failed and (made := getattr(item, "funcargs", {}).get("machines")):
        kept = made.keep_logs(re.sub(r"[^\w.-]+", "-", item.name))
        said.sections.append(("logs", f"kept in {kept}"))
    if (said.when == "call" or said.failed) and (named := _CASE.match(item.name)):
        test, kernel, case = named.groups()
        module = item.getparent(pytest.Module)
        scenario = ((module and module.obj.__doc__) or "").split("\n")[0].rstrip(".")
        outcome = report.Outcome(
            kernel=kernel,
            scenario=scenario,
            test=f"{test}[{case}]" if case else test,
            result=said.outcome,
            seen=", ".join(str(value) for key, value in said.user_properties if key == "seen"),
        )
        _write(outcome)
    return said


def _write(outcome: report.Outcome) -> None:
    """Write what was seen into docs/machines.md, at once: a run may be cut short."""
    names = {s.kernel: f"{s.name} (Linux {s.kernel})" for s in SYSTEMS.values()}
    with locked(cache() / "results.lock"):
        results = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
        results = report.merged(results, outcome)
        _RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        _PAGE.write_text(report.page(results, names, LEASE))
