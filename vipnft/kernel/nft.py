"""Check, apply and read the project's nft tables.

Rule 1: one call is one transaction: the kernel takes all of it or nothing.
Rule 2: a context stays in the network namespace in which it was first used.
Rule 3: listings are compared and shown, never fed back: nft 1.0.6 does not read its own.
"""

import functools
import json
import sys
from typing import Any

from vipnft.errors import KernelError
from vipnft.ruleset.nftjson import Commands, render
from vipnft.ruleset.tables import NftTable

try:
    import nftables
except ModuleNotFoundError:
    nftables = None

SEE_CHECK = "run `vipnft check`: it names what this kernel or libnftables lacks"
_NO_PROTOCOLS = "Could not resolve protocol name"  # libnftables' words
_NETBASE = "apt install netbase (dnf install setup): protocols' names stand in /etc/protocols"


@functools.cache
def _context(*, as_json: bool) -> Any:
    """Return a context, kept: to close its socket waits for the kernel to free what a
    transaction removed (13 ms, where the transaction itself takes 0.5)."""
    if nftables is None:
        raise KernelError(
            f"{sys.executable} has no module nftables, the distribution's binding to libnftables",
            fix="apt install python3-nftables (dnf likewise), for the Python that runs this",
        )
    try:
        context = nftables.Nftables()
    except OSError as error:
        raise KernelError(
            f"libnftables can't be loaded: {error}", fix="apt install nftables (dnf likewise)"
        ) from error
    context.set_json_output(as_json)
    context.set_stateless_output(not as_json)
    return context


def renew() -> None:
    """Forget the contexts: after a change of network namespace, old ones speak to the old."""
    _context.cache_clear()


def apply(commands: Commands) -> None:
    """Send one transaction; KernelError with libnftables' own words if it is refused."""
    code, _, error = _context(as_json=True).cmd(render(commands))
    if code != 0:
        words = " ".join(str(error).split()) or f"code {code}"
        raise KernelError(
            f"nftables refused the ruleset, and nothing of it is in place: {words}",
            fix=_NETBASE if _NO_PROTOCOLS in words else SEE_CHECK,
        )


def run(text: str) -> None:
    """Send one transaction in nft's own language; KernelError if it is refused."""
    code, _, error = _context(as_json=False).cmd(text)
    if code != 0:
        raise KernelError(f"nftables refused a command: {' '.join(str(error).split())}")


def listing(tables: tuple[NftTable, ...]) -> dict[str, str]:
    """Return the text of each nft table that is there, by family, without counters."""
    context = _context(as_json=False)
    found = {}
    for table in tables:
        code, text, _ = context.cmd(f"list table {table.family} {table.name}")
        if code == 0:
            found[table.family] = text
    return found


def names() -> list[tuple[str, str]]:
    """Return family and name of every nft table in this network namespace."""
    tables = _read("list tables")
    return [(t["table"]["family"], t["table"]["name"]) for t in tables if "table" in t]


def version() -> str:
    """Return libnftables' version."""
    return str(_read("list tables")[0]["metainfo"]["version"])


def elements(table: NftTable, name: str) -> list[Any]:
    """Return the elements of a set or map as JSON has them; none without it."""
    for kind in ("map", "set"):
        try:
            items = _read(f"list {kind} {table.family} {table.name} {name}")
        except KernelError:
            continue
        return next(list(item[kind].get("elem", [])) for item in items if kind in item)
    return []


def _read(command: str) -> list[dict[str, Any]]:
    code, text, error = _context(as_json=True).cmd(command)
    if code != 0:
        raise KernelError(f"nft {command}: {' '.join(str(error).split())}", fix="run it as root")
    items: list[dict[str, Any]] = json.loads(text)["nftables"]
    return items
