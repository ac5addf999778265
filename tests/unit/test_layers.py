"""Pure core, thin edges: who may import what.

Imports run downwards: a file may import its own package and those of layers before it. What
stands in one layer knows nothing of its neighbours there.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "vipnft"

LAYERS = (
    ("errors", "shown"),
    ("model",),
    ("config", "buckets"),
    ("ruleset", "agreement", "store"),
    ("observe", "kernel"),
    ("host",),
    ("agent", "lab", "serve"),
    ("cli",),
)
# Packages and modules that hold no socket, clock, file, environment or log.
PURE = {"errors", "shown", "model", "config", "buckets", "ruleset", "agreement", "observe"}
PURE_MODULES = {
    "agent.reception", "cli.load_report", "cli.plan_report", "host.drift", "host.probe",
    "host.settings", "host.timely", "serve.http",
}  # fmt: skip
PURE_STDLIB = {
    "base64", "bisect", "collections", "dataclasses", "difflib", "enum", "functools", "hashlib",
    "heapq", "hmac", "ipaddress", "itertools", "json", "math", "re", "struct", "tomllib", "typing",
}  # fmt: skip
# What imports or runs code by its name: no import would show.
BY_NAME = {"builtins", "importlib", "pkgutil", "runpy"}
CALLED_BY_NAME = {"__import__", "compile", "eval", "exec"}
# Modules above its own layer that a module runs as a program.
PROGRAMS = {"lab.warm": {"cli.forkserver"}}
# The only modules that may import each third-party package.
EDGES = {
    "dns": {"agent.dns_probe"},
    "nftables": {"kernel.nft"},
    "pydantic": {"config.reader", "config.schema"},
    "pyroute2": {"kernel.flows", "kernel.links", "kernel.mac", "kernel.refusal", "lab.wiring"},
    "rich": {"cli.picture", "cli.status"},
    "sqlite3": {"store.sqlite"},
    "typer": {
        "cli.check",
        "cli.cluster",
        "cli.apply",
        "cli.events",
        "cli.lab",
        "cli.main",
        "cli.moves",
        "cli.network",
        "cli.options",
        "cli.serve",
        "cli.status",
        "cli.store",
        "cli.which",
    },
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")
}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a file imports anywhere, of ours as far as it is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield whole if whole.removeprefix("vipnft.") in TREES else module


IMPORTS = {name: set(imported(tree)) for name, tree in TREES.items()}
OURS = {
    name: {found.removeprefix("vipnft.") for found in several if found.startswith("vipnft.")}
    for name, several in IMPORTS.items()
}


def room(module: str) -> str:
    return module.partition(".")[0]


def reach(module: str) -> set[str]:
    """Return the rooms from which a module may import: its own, and those below."""
    if not module:
        return set()
    layer = next(n for n, several in enumerate(LAYERS) if room(module) in several)
    return {one for several in LAYERS[:layer] for one in several} | {room(module)}


@pytest.mark.parametrize("module", sorted(TREES))
def test_imports_run_downwards(module: str) -> None:
    assert {room(one) for one in OURS[module]} <= reach(module)


@pytest.mark.parametrize("module", sorted(TREES))
def test_a_module_is_named_in_a_string_by_those_who_may_import_it(module: str) -> None:
    strings = {n.value for n in ast.walk(TREES[module]) if isinstance(n, ast.Constant)}
    named = {name for name in TREES if f"vipnft.{name}" in strings} - PROGRAMS.get(module, set())
    assert {room(one) for one in named} <= reach(module)


def test_there_is_no_circle() -> None:
    TopologicalSorter({m: found - {m} for m, found in OURS.items()}).prepare()


@pytest.mark.parametrize("module", sorted(TREES))
def test_nothing_is_imported_relatively_or_by_name(module: str) -> None:
    nodes = list(ast.walk(TREES[module]))
    assert not any(found.startswith(".") for found in IMPORTS[module])
    assert not BY_NAME & {found.split(".")[0] for found in IMPORTS[module]}
    assert not CALLED_BY_NAME & {node.id for node in nodes if isinstance(node, ast.Name)}
    assert "sys.modules" not in {ast.unparse(n) for n in nodes if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize("module", sorted(TREES))
def test_the_package_itself_is_no_way_to_a_module(module: str) -> None:
    """After `import vipnft` all that anybody has imported can be had as its attribute."""
    plain = [n for n in ast.walk(TREES[module]) if isinstance(n, ast.Import)]
    assert not [a.name for n in plain for a in n.names if a.name.split(".")[0] == "vipnft"]


def test_no_function_imports_a_name_that_its_module_has() -> None:
    """`from vipnft.host import apply` in the verb `apply` would hide the one from the other."""
    for module, tree in TREES.items():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for function in functions:
            imports = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            names = {alias.asname or alias.name for one in imports for alias in one.names}
            assert not own & names, f"{module}.{function.name}"


@pytest.mark.parametrize("module", sorted(m for m in TREES if room(m) in PURE or m in PURE_MODULES))
def test_a_pure_module_has_nothing_of_the_world(module: str) -> None:
    roots = {name.split(".")[0] for name in IMPORTS[module]}
    assert roots & sys.stdlib_module_names <= PURE_STDLIB
    assert all(room(one) in PURE or one in PURE_MODULES for one in OURS[module])
    calls = {node.id for node in ast.walk(TREES[module]) if isinstance(node, ast.Name)}
    assert not {"open", "input"} & calls


def test_every_third_party_package_is_known() -> None:
    roots = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    assert roots - sys.stdlib_module_names - {"vipnft"} == set(EDGES) - {"sqlite3"}


@pytest.mark.parametrize("package", EDGES)
def test_a_third_party_package_has_its_edges(package: str) -> None:
    users = {
        module
        for module, names in IMPORTS.items()
        if any(name.split(".")[0] == package for name in names)
    }
    assert users == EDGES[package]


def test_all_but_its_edge_can_be_imported_without_an_optional_package() -> None:
    """As on a machine that has only what the package of Debian depends on."""
    needed = ", ".join(f"vipnft.{one}" for one in sorted(TREES) if one and one not in EDGES["dns"])
    needed = needed.replace("vipnft.cli.__main__, ", "")
    script = f"import sys; sys.modules['dns'] = None; import {needed}"
    subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent, check=True)


def test_all_is_printed_in_one_place_and_the_command_line_alone_exits() -> None:
    for module, tree in TREES.items():
        if module == "cli.output":
            continue
        here = {"exit", "quit"} if module.split(".")[0] != "cli" else set()
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not ({"print"} | here) & calls, module


@pytest.mark.parametrize("package", [p.parent for p in PACKAGE.glob("*/__init__.py")], ids=str)
def test_a_package_says_what_it_is_for_and_holds_nothing_else(package: Path) -> None:
    tree = TREES[package.name]
    assert len(tree.body) == 1
    assert "May import" in (ast.get_docstring(tree) or "")


def test_no_class_has_more_than_12_fields_and_no_function_more_than_50_lines() -> None:
    assert not [*fat_classes(), *long_functions()]


def fat_classes() -> Iterator[str]:
    """Yield each class with more than 12 fields, and how many: `self.x = ...`, or declared."""
    for module, tree in TREES.items():
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            fields = {
                one.attr
                for one in ast.walk(node)
                if isinstance(one, ast.Attribute)
                and isinstance(one.ctx, ast.Store)
                and isinstance(one.value, ast.Name)
                and one.value.id == "self"
            }
            fields |= {
                one.target.id
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            }
            if len(fields) > 12:
                yield f"{module}.{node.name}: {len(fields)} fields"


def long_functions() -> Iterator[str]:
    for module, tree in TREES.items():
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > 50:
                yield f"{module}.{node.name}: {lines} lines"


def test_no_module_is_past_400_lines() -> None:
    every = [
        path
        for part in ("vipnft", "tests", "packaging")
        for path in (PACKAGE.parent / part).rglob("*.py")
    ]
    lines = {path: len(path.read_text().splitlines()) for path in every}
    assert not {str(path): n for path, n in lines.items() if n > 400}
