"""The snapshot that anybody on this machine may read: /run/vipnft/status.json.

Rule 1: it is replaced as a whole, by a rename; nobody waits for it to reach a disk.
Rule 2: it holds no seed, no secret, no password and no client's address.
"""

from contextlib import suppress
from pathlib import Path

from vipnft.host import kept

PATH = Path("/run/vipnft/status.json")


def write(text: str) -> None:
    """Replace the snapshot; OSError."""
    kept.replace(PATH, text, mode=0o644)


def read() -> bytes:
    """Return the snapshot; OSError."""
    return kept.read(PATH)


def forget() -> None:
    """Remove it: nobody writes it any more."""
    with suppress(OSError):
        PATH.unlink()
