"""The one clock by which leases are judged."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def boottime() -> float:
    """Seconds since boot, counting suspended time: a laptop that slept has lost its leases, and must know it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
