"""Tell the service manager how this process does: systemd's sd_notify(3), a datagram of lines.

Rule 1: without a service manager every call does nothing.
Rule 2: an error here is nobody's: a service that serves must not stop because nobody wants to
        hear so. A service manager that misses something acts by itself: that is its watchdog.
"""

import os
import socket
import time
from contextlib import suppress

from vipnft.shown import printable

_WATCHDOG_S = 0.1
"""Seconds to wait where the service manager does not read: a lease can't wait longer."""


def ready(status: str = "") -> None:
    """Say that the start, or a reload, is complete."""
    _send("READY=1", *_status(status))


def reloading() -> None:
    """Say that the configuration is being read anew; `ready` must follow."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _send("RELOADING=1", f"MONOTONIC_USEC={now}")  # Type=notify-reload wants both in one


def stopping(status: str = "") -> None:
    """Say that this process is on its way out, however long that takes."""
    _send("STOPPING=1", *_status(status))


def alive() -> None:
    """Say that this process does not hang; more often than `watchdog_interval`."""
    _send("WATCHDOG=1")


def status(text: str) -> None:
    """Set the line that `systemctl status` shows."""
    _send(*_status(text))


def watchdog_interval() -> float | None:
    """Return after how many seconds without `alive` this process is killed; None if never.

    Call `alive` in half that time.
    """
    try:
        interval = int(os.environ["WATCHDOG_USEC"])
        meant = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return interval / 1_000_000 if interval > 0 and meant == os.getpid() else None


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={printable(' '.join(text.split()))}",) if text else ()


def _send(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not lines or not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # of the abstract namespace, which has no files
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(_WATCHDOG_S)
        manager.sendto("\n".join(lines).encode(), address)
