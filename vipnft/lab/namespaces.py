"""The system calls on namespaces that Python 3.11 lacks, by their C names; errors are OSError.

Rule 1: nothing here knows what a lab is.
Rule 2: a thread that enters a namespace for a moment is put back, whatever happens.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from vipnft.kernel.libc import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    unshare,
)

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "children_in",
    "mount",
    "setns",
    "unshare",
]

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


def _done(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` is open on (NEWPID: the thread's next child does)."""
    _done(_libc.setns(fd, kind), f"setns({kind:#x})")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind or change propagation, as mount(2)."""
    result = _libc.mount(
        source.encode(), target.encode(), fstype.encode() or None, flags, data.encode() or None
    )
    _done(result, f"mount({source}, {target}, {fstype or hex(flags)})")


@contextlib.contextmanager
def children_in(path: str) -> Iterator[None]:
    """Have this thread's children born into the PID namespace at `path`; others are not touched."""
    here = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWPID)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(here, CLONE_NEWPID)
    finally:
        os.close(here)
