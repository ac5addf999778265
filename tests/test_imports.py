"""Pure core, thin edges: who may import what."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vipnft"

# Modules that hold no socket, clock, file, environment or log, and what of ours they import.
PURE = {
    "errors": set(),
    "model": {"errors"},
    "config": {"cross", "duration", "errors", "model", "shape"},
    "cross": {"duration", "model", "render", "shape"},
    "render": {"duration", "model", "shape"},
    "shape": {"duration", "model"},
    "duration": set(),
    "jhash": set(),
    "buckets": {"errors", "model", "split"},
    "split": set(),
    "expr": set(),
    "tables": {"expr"},
    "moving": {"model", "buckets"},
    "elements": {"expr", "moving", "tables"},
    "pact": {"model", "errors"},
    "agreement": {"buckets", "errors", "others", "pact", "steps"},
    "steps": {"model", "pact"},
    "hearing": set(),
    "announce": {"ingress", "model", "nd"},
    "probing": {"model"},
    "others": {"pact"},
    "affinity": {"expr", "jhash", "model"},
    "nd": {"expr", "model"},
    "ingress": {"affinity", "expr", "model", "nd", "tables"},
    "inet": {"affinity", "expr", "ingress", "model", "tables"},
    "ruleset": {"affinity", "elements", "expr", "inet", "ingress", "model", "moving", "tables"},
    "drift": {"model", "buckets", "elements", "moving", "nd"},
    "cli.show": {"model", "buckets", "ingress", "moving"},
}
IMPURE_STDLIB = {
    "asyncio", "ctypes", "datetime", "fcntl", "logging", "multiprocessing", "os", "pathlib",
    "random", "secrets", "select", "signal", "socket", "subprocess", "sys", "tempfile",
    "threading", "time",
}  # fmt: skip
# The only modules that may import each third-party package.
EDGES = {
    "dns": {"checks"},
    "etcd3gw": {"store.gateway"},
    "nftables": {"kernel.nft"},
    "pydantic": {"config", "shape"},
    "pyroute2": {"kernel.flows", "kernel.links", "kernel.wear", "lab.links"},
    "rich": {"cli.hosts", "cli.picture"},
    "requests": {"store.gateway"},
    "sqlite3": {"store.sqlite"},
    "typer": {
        "cli",
        "cli.agent",
        "cli.cluster",
        "cli.hosts",
        "cli.lab",
        "cli.moves",
        "cli.network",
    },
    "urllib3": {"store.gateway"},
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "vipnft":
            names |= {f"vipnft.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


MODULES = {name_of(path): imported(path) for path in PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_imports_only_what_the_table_allows(module: str) -> None:
    ours = {name for name in MODULES[module] if name.startswith("vipnft.")}
    assert ours <= {f"vipnft.{name}" for name in PURE[module]}
    assert not {name.split(".")[0] for name in MODULES[module]} & IMPURE_STDLIB


@pytest.mark.parametrize("package", EDGES)
def test_a_third_party_package_has_its_edges(package: str) -> None:
    users = {
        module
        for module, names in MODULES.items()
        if any(name.split(".")[0] == package for name in names)
    }
    assert users == EDGES[package]


def test_only_the_command_line_prints_and_exits() -> None:
    for path in PACKAGE.rglob("*.py"):
        if name_of(path).split(".")[0] == "cli":
            continue
        calls = [
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert not {"print", "exit", "quit"} & set(calls), path


def test_no_module_is_past_400_lines() -> None:
    long = {
        p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
