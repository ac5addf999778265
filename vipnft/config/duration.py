"""Times as people write them, such as "300ms", "1.5s", "5m" or "1h", to seconds and back.

Rule 1: one syntax, in the cluster file and on the command line; what is too short or too long,
        the caller knows.
"""

import re

_DURATION = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,15})?)(ms|s|m|h)")
_UNITS_S = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return a time in seconds; ValueError says what is wrong with it."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError("not a time")
    number, unit = found.groups()
    return float(number) / 1000 if unit == "ms" else float(number) * _UNITS_S[unit]


def text(value: float) -> str:
    """Return seconds as `seconds` reads them."""
    return f"{value:.12g}s" if value >= 1 else f"{value * 1000:.12g}ms"
