"""Times as a cluster file has them, such as "300ms" or "1.5s", to seconds and back."""

import re

_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,15})?)(ms|s)")


def seconds(text: str) -> float:
    """Return a time in seconds; ValueError says what is wrong with it."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError("not a time")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def text(value: float) -> str:
    """Return seconds as `seconds` reads them."""
    return f"{value:.12g}s" if value >= 1 else f"{value * 1000:.12g}ms"
