"""What the packages must have, and what their scripts do on a host."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from vipnft.kernel import xdp

ROOT = Path(__file__).parents[2]


def test_the_object_is_beside_the_modules_wherever_they_are_installed() -> None:
    assert xdp.OBJECT.read_bytes().startswith(b"\x7fELF")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    installed = str(xdp.OBJECT.relative_to(ROOT / "vipnft"))
    assert any(fnmatch(installed, pattern) for pattern in setup["package-data"]["vipnft"])


def test_the_drop_in_is_where_errors_and_documents_say() -> None:
    (copied,) = re.findall(r"(?ms)^DOCS = (\(.*?^\))$", (ROOT / "packaging/build.py").read_text())
    assert "packaging/xdp.conf" in ast.literal_eval(copied)
    named = "/usr/share/doc/vipnft/examples/xdp.conf"
    assert named in xdp.DROP_IN
    for text in ("docs/install.md", "docs/operating.md", "packaging/man/vipnft.toml.5.scd"):
        assert named in (ROOT / text).read_text()


def test_both_packages_name_the_library() -> None:
    deb, rpm = (ROOT / "packaging/nfpm.yaml").read_text().split("  rpm:\n    depends:", 1)
    assert re.search(r"suggests:\n(      - .*\n)*      - libbpf1\b", deb)
    assert re.search(r"suggests:\n(      - .*\n)*      - libbpf\b", rpm)
    assert all(name in xdp.PACKAGE for name in ("libbpf1 in Debian", "libbpf in Fedora"))


def test_a_package_that_is_optional_keeps_nothing_from_being_compiled(tmp_path: Path) -> None:
    """dnspython is only suggested; the module that imports it is one of the first."""
    shutil.copy(ROOT / "packaging/scripts/compile_here.py", tmp_path)
    modules, stale = tmp_path / "vipnft", tmp_path / "gone/__pycache__/old.cpython-311.pyc"
    for path, text in (("__init__", ""), ("first", "import no_such_package"), ("last", "")):
        (modules / f"{path}.py").parent.mkdir(exist_ok=True)
        (modules / f"{path}.py").write_text(text)
    stale.parent.mkdir(parents=True)
    stale.touch()
    environment = {"PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-P", str(tmp_path / "compile_here.py")]
    subprocess.run(words, env=environment, check=True, stderr=subprocess.DEVNULL)
    compiled = {path.name.partition(".")[0] for path in modules.glob("__pycache__/*.pyc")}
    assert compiled == {"__init__", "first", "last"}
    assert not stale.parent.parent.exists()


def test_a_unit_that_only_looks_stops_no_agent() -> None:
    """Of two units that conflict and are both enabled, a boot starts the one that says so."""
    for name in ("serve", "snapshot"):
        assert "\nConflicts=" not in (ROOT / f"packaging/vipnft-{name}.service").read_text()


def test_both_packages_refuse_a_python_for_which_nothing_is_compiled() -> None:
    build = (ROOT / "packaging/build.py").read_text()
    (pythons,) = re.findall(r"(?m)^PYTHONS = (\(.*\))$", build)
    minors = [int(python.partition(".")[2]) for python in ast.literal_eval(pythons)]
    first, beyond = f"3.{minors[0]}", f"3.{minors[-1] + 1}~"
    deb, rpm = (ROOT / "packaging/nfpm.yaml").read_text().split("  rpm:\n    depends:", 1)
    assert f"python3 (>= {first})" in deb
    assert f"python3 (<< {beyond})" in deb
    others = " or ".join(f"python3.{minor}" for minor in reversed(minors))
    assert f"((python3 >= {first} with python3 < {beyond}) or {others})" in rpm
