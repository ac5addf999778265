"""A row of a table of what was measured, and the names of the labs where it was."""

import os
from typing import NamedTuple


class Row(NamedTuple):
    """What was done, what was asked for, and what was found."""

    what: str
    must: str
    found: str


def name(what: str) -> str:
    """Return a lab's name that no other process takes."""
    return f"bench-{what}-{os.getpid()}"
