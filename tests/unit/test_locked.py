"""What is installed from elsewhere is locked: by version, and by the hashes of its files."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / ".ci/locked"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = {
    "run": PROJECT["dependencies"],
    **{
        extra: [*PROJECT["dependencies"], *words]
        for extra, words in PROJECT["optional-dependencies"].items()
        if extra != "dns"
    },
}


def entries(name: str) -> dict[str, tuple[str, int]]:
    """Return each package's version and how many hashes it has."""
    text = (LOCKED / f"{name}.txt").read_text()
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)(.*\n(?:    .*\n?)*)", text)
    return {package: (version, rest.count("--hash=sha256:")) for package, version, rest in found}


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


@pytest.mark.parametrize("name", WANTED)
def test_what_is_wanted_is_locked(name: str) -> None:
    locked = entries(name)
    assert all(hashes for _, hashes in locked.values())
    for word in WANTED[name]:
        package, least = re.fullmatch(r"([\w.-]+?)(?:\[\w+\])?(?:>=([\d.]+))?", word).groups()  # type: ignore[union-attr]
        if package != "vipnft":
            assert number(locked[package][0]) >= number(least), word


def test_what_is_tested_is_what_runs() -> None:
    tested = entries("dev")
    assert {name: tested.get(name) for name in entries("run")} == entries("run")


def test_nothing_is_installed_but_what_is_locked() -> None:
    for file in (".ci/setup", ".ci/lock", "Makefile", "packaging/build.py"):
        text = re.sub(r"\\\n", " ", (ROOT / file).read_text())
        for line in re.findall(r"(?m)^.*(?:pip install|pip\[@\]).*$", text):
            named = line.strip().startswith("pip=(")  # what both lines after it begin with
            assert named or "--require-hashes" in line or "--no-deps" in line, line
