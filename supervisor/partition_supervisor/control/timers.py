"""What is done again and again, on the loop's scheduler."""

from __future__ import annotations

from collections.abc import Callable
from sched import scheduler


def every(timers: scheduler, seconds: float, action: Callable[[], None]) -> None:
    """Do it again and again. A freeze is not made up for: the next time counts from the last."""

    def again() -> None:
        action()
        every(timers, seconds, action)

    timers.enter(seconds, 0, again)
