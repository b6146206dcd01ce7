"""What fails again and again is said seldom: when it begins, every half minute while it lasts, when it is over."""

from __future__ import annotations

import logging

from partition_workers.clock import Clock, boottime
from partition_workers.log_events import EventName, event

#: Seconds between two lines about one thing that goes on failing.
EVERY = 30.0


class Outage:
    """One thing that may fail for long, `what`: "the watch". For one thread."""

    def __init__(
        self, log: logging.Logger, what: str, clock: Clock = boottime, *, name: EventName | None = None
    ) -> None:
        self._log, self._what, self._clock = log, what, clock
        self._extra = event(name) if name is not None else None
        self._since: float | None = None
        self._said_at = 0.0
        self._unsaid = 0

    def failed(self, error: object, level: int = logging.WARNING) -> None:
        now = self._clock()
        if self._since is None:
            self._since = now
        elif now - self._said_at < EVERY:
            self._unsaid += 1
            return
        before = f" ({self._unsaid} times more since it was last said)" if self._unsaid else ""
        self._log.log(level, "%s: %s%s", self._what, error, before, extra=self._extra)
        self._said_at, self._unsaid = now, 0

    def over(self) -> None:
        """It works. Nothing is said if it did before."""
        if self._since is not None:
            self._log.info("%s: works again, after %.1f s", self._what, self._clock() - self._since)
            self._since, self._unsaid = None, 0
