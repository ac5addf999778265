"""Read and write kernel settings of this network namespace, in /proc/sys."""

import errno
import os
from pathlib import Path

from vipnft.errors import KernelError

_ROOT = Path("/proc/sys")


def read(key: str) -> str | None:
    """Return a setting such as net/ipv4/conf/eth0/arp_ignore; None where it does not exist."""
    try:
        return (_ROOT / key).read_text(encoding="ascii").strip()
    except OSError:
        return None


def write(key: str, value: str) -> None:
    """Set one; KernelError if the kernel does not take it. Nothing is ever created."""
    try:
        if ".." in key.split("/") or key.startswith("/"):
            raise FileNotFoundError(errno.ENOENT, "no such setting")
        handle = os.open(_ROOT / key, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise KernelError(f"sysctl {key} does not take {value}: {error.strerror}") from error
