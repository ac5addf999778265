"""The rules as the kernel listed them right after they were loaded.

Rule 1: what is compared with them is what the same kernel said of the same commands: so a later
        command needs no scratch network namespace, which a service may not be allowed to make.
Rule 2: of other commands, or another libnftables, they say nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress

from vipnft.host import kept
from vipnft.host.locks import path_of
from vipnft.kernel import nft
from vipnft.ruleset.nftjson import Commands, render
from vipnft.ruleset.tables import TABLES

_SUFFIX = ".rules"


def remember(commands: Commands) -> None:
    """Note what the kernel lists now that it has these; where it can't be, that is no harm."""
    with suppress(OSError):
        known = {"of": _digest(commands), "tables": nft.listing(TABLES)}
        kept.replace(path_of(_SUFFIX), json.dumps(known))


def listing(commands: Commands) -> Mapping[str, str] | None:
    """Return each nft table's text, by family, as it was when these were loaded; None if they
    were not the last."""
    try:
        known = json.loads(kept.read(path_of(_SUFFIX)))
        tables: dict[str, str] = known["tables"]
        if known["of"] != _digest(commands) or set(tables) != {one.family for one in TABLES}:
            return None
        return {family: str(text) for family, text in tables.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def forget() -> None:
    """Remove it."""
    path_of(_SUFFIX).unlink(missing_ok=True)


def _digest(commands: Commands) -> str:
    text = f"{nft.version()}\n{render(commands)}"
    return hashlib.sha256(text.encode()).hexdigest()
