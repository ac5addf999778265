"""The clock by which drains are told: it counts suspended time too, and is never set."""

import time


def boottime() -> float:
    """Return seconds since the machine started (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
