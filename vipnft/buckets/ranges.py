"""Buckets as people read and write them: "0-3,7,9-12"."""

import re
from collections.abc import Iterable

from vipnft.errors import UsageError

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def ranges(buckets: Iterable[int]) -> str:
    """Return buckets as people read them: "0-3,7,9-12", or "none"."""
    runs: list[list[int]] = []
    for bucket in sorted(set(buckets)):
        if runs and runs[-1][1] == bucket - 1:
            runs[-1][1] = bucket
        else:
            runs.append([bucket, bucket])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"


def parse_ranges(text: str, size: int) -> tuple[int, ...]:
    """Return the buckets below `size` that `ranges` wrote, ascending; UsageError: no such text."""
    found: set[int] = set()
    for item in () if text.strip() == "none" else text.split(","):
        match = _RANGE.fullmatch(item.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < size:
            raise UsageError(
                f"buckets {text!r}: {item.strip()!r} is no bucket or rising range",
                fix=f'write buckets from 0 to {size - 1} as "0-3,7", or "none"',
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))
