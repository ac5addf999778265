"""The kernel's refusals, and pyroute2's words for them, as errors of ours.

Rule 1: whatever asks pyroute2, or opens a socket, does so in here: its NetlinkError is no OSError,
        and nobody above `kernel` knows it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from vipnft.errors import KernelError


@contextmanager
def refusal(what: str, *fine: int, fix: str = "") -> Iterator[None]:
    """Turn the kernel's refusal into a KernelError; error numbers in `fine` are no refusal."""
    try:
        yield
    except (NetlinkError, OSError) as error:
        number = error.code if isinstance(error, NetlinkError) else error.errno
        if number in fine:
            return
        why = os.strerror(number) if number else str(error)
        raise KernelError(f"{what}: {why}", fix=fix) from error
