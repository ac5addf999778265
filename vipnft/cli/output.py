"""All that the verbs print.

Rule 1: what is said is lines, each of them printable: see vipnft.shown.
Rule 2: a document (JSON, a ruleset) is as it is: what makes one leaves nothing raw in it.
"""

import sys

from vipnft.shown import printable


def say(*lines: str, error: bool = False) -> None:
    """Print lines, at once; `error`: where errors go."""
    for line in lines:
        print(printable(line), file=sys.stderr if error else sys.stdout, flush=True)


def document(text: str, *, end: str = "\n") -> None:
    """Print a document, at once."""
    print(text, end=end, flush=True)
