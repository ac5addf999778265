"""The golden rulesets: what each example gives on each host in each mode.

rulesets/ holds those of each example's first host: switch mode in full, the other modes as changes
to it; and the sums of all. `make golden` writes them; tests/unit/ruleset/test_golden.py compares.
"""

import difflib
import functools
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vipnft.buckets.phases import owners_of, phases
from vipnft.config import reader
from vipnft.kernel import libc, scratch
from vipnft.model import Mode
from vipnft.ruleset import transactions
from vipnft.ruleset.nftjson import Commands, render
from vipnft.ruleset.tables import TABLES

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
RULESETS = ROOT / "rulesets"
BY_HAND = {"README.md"}
SUMS = "SHA256SUMS"
JSON_LIMIT_BYTES = 64_000  # longer JSON is there by its sum alone
_LISTED_BY = "# listed by libnftables "  # sha256sum --check passes over comments


@dataclass(frozen=True)
class Golden:
    """An example's texts: those that have a file, and the sums of all; by name."""

    files: dict[str, str]
    sums: dict[str, str]


def sent(example: Path) -> Golden:
    """Return what is sent: the same on every machine."""
    texts = {f"{name}.json": render(commands) for name, commands, _ in _each(example)}
    whole = f"{_first_host(texts)}.{Mode.SWITCH}.json"
    files = {whole: texts[whole]} if len(texts[whole]) < JSON_LIMIT_BYTES else {}
    return Golden(files, _sums(texts))


@functools.cache
def listed(example: Path) -> Golden:
    """Return what the kernel then has, in the words of this machine's libnftables."""
    texts = {
        f"{name}.nft": "".join(scratch.listing(commands, TABLES, interfaces).values())
        for name, commands, interfaces in _each(example)
    }
    host = _first_host(texts)
    whole = f"{host}.{Mode.SWITCH}.nft"
    files = {whole: texts[whole]}
    for mode in set(Mode) - {Mode.SWITCH}:
        other = f"{host}.{mode}.nft"
        files[f"{host}.{mode}.diff"] = diff(whole, texts[whole], other, texts[other])
    return Golden(files, _sums(texts))


def diff(before: str, old: str, after: str, new: str) -> str:
    """Return what `diff -u` says of two named texts; nothing if they are the same."""
    was, now = old.splitlines(keepends=True), new.splitlines(keepends=True)
    return "".join(difflib.unified_diff(was, now, f"a/{before}", f"b/{after}"))


def wanted_sums() -> dict[str, str]:
    """Return the sums in rulesets/, by name."""
    lines = (RULESETS / SUMS).read_text(encoding="utf-8").splitlines()[1:]
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def listed_by() -> str:
    """Return the version of libnftables whose words rulesets/ has."""
    first = (RULESETS / SUMS).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix(_LISTED_BY)


def version() -> str:
    """Return this machine's libnftables; asked in a namespace, as only root may ask outside."""
    alone = ["unshare", "--net"]
    if not libc.capable(libc.CAP_SYS_ADMIN):
        alone.append("--map-root-user")
    ask = "from vipnft.kernel import nft; print(nft.version())"
    command = [*alone, sys.executable, "-c", ask]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _each(example: Path) -> Iterator[tuple[str, Commands, list[str]]]:
    """Yield a name, the commands and their interfaces for each host and mode."""
    cluster = reader.parse(example.read_text(encoding="utf-8"), example.name)
    owners = owners_of(cluster)
    for host in cluster.hosts:
        share = phases(owners, {}, host.name, 0)
        interfaces = [nic.interface for nic in cluster.nics(host.name)]
        macs = dict.fromkeys(interfaces, transactions.STAND_IN_MAC)
        for mode in Mode:
            commands = transactions.whole(cluster, host.name, mode, macs, share, granted=True)
            yield f"{example.stem}.{host.name}.{mode}", commands, interfaces


def _first_host(texts: dict[str, str]) -> str:
    """Return the first name without its mode and suffix."""
    return next(iter(texts)).rsplit(".", 2)[0]


def _sums(texts: dict[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def main() -> None:
    """Write all of them, and remove those that no example gives any more."""
    all_of_it = [each(example) for example in EXAMPLES for each in (sent, listed)]
    files = {name: text for golden in all_of_it for name, text in golden.files.items()}
    sums = {name: digest for golden in all_of_it for name, digest in golden.sums.items()}
    lines = [f"{sums[name]}  {name}\n" for name in sorted(sums)]
    files[SUMS] = "".join([f"{_LISTED_BY}{version()}\n", *lines])
    for path in RULESETS.iterdir():
        if path.name not in files.keys() | BY_HAND:
            path.unlink()
    for name, text in files.items():
        (RULESETS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
