"""Files below /run/vipnft, where an agent in its sandbox may put anything.

Rule 1: whoever is root outside of that sandbox follows no link there, waits for no pipe, and reads
        no more than such a file can hold.
Rule 2: a crash leaves the old file or the new one.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 64 << 20


def read(path: Path) -> bytes:
    """Return what a file holds; OSError if there is none, or if it is no file."""
    with opened(path) as file:
        return file.read(_MOST_BYTES)


def opened(path: Path) -> BinaryIO:
    """Open a file to be read; OSError likewise."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(0, "it is no file")
    return file


def replace(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file in place of the one that is there; unless `mode` says otherwise, root alone
    reads it, whatever the umask. OSError."""
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
