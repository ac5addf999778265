"""Values of JSON that anybody may have written, each of one kind and bounded. Pure.

Rule 1: a value of another kind is a ValueError, whatever it is.
"""

import json
import re
from typing import Any, NoReturn

from vipnft.model import NAME

_WORD_CHARS = 100
_LEASE_S = (0.2, 60.0)  # least and most, as a cluster file may have it
_NAMED = re.compile(NAME)


def document(value: bytes, most: int) -> dict[str, Any]:
    """Return a JSON object; ValueError if it is none, or longer than `most` bytes."""
    if len(value) > most:
        raise ValueError(f"more than {most} bytes")
    try:
        found = json.loads(value, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def number(value: object, most: int) -> int:
    """Return a whole number from 0 to `most`; ValueError for anything else."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("no such number")
    return value


def flag(value: object) -> bool:
    """Return true or false; ValueError for anything else."""
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def sequence(value: object) -> list[Any]:
    """Return a list; ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def seconds(value: Any) -> float:
    """Return a lease that a file may have; ValueError for anything else."""
    least, most = _LEASE_S
    if type(value) not in {int, float} or not least <= value <= most:
        raise ValueError("no such lease")
    return float(value)


def word(value: object) -> str:
    """Return a word of printable letters; ValueError for anything else."""
    if not isinstance(value, str) or len(value) > _WORD_CHARS or not value.isprintable():
        raise ValueError("no such word")
    return value


def names(value: object) -> frozenset[str]:
    """Return hosts' names; ValueError for what no file could name."""
    found = sequence(value)
    if not all(isinstance(host, str) and _NAMED.fullmatch(host) for host in found):
        raise ValueError("no such host")
    return frozenset(found)
