"""When to read, to cut and to send: --commit-interval, the least time between two commits of a partition."""

from __future__ import annotations

import math

from partition_workers.clock import Clock

#: Seconds to wait for a record before orders and commits are looked after.
IDLE = 0.1


class CommitPace:
    """A cut every interval, for the next commit; and that is sent as soon as the one before is stored, but not sooner
    than an interval after its start. `interval` in seconds; 0: after every record."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self.interval = interval
        self._clock = clock
        self._cut_at = self._sent_at = -math.inf

    def cut(self) -> None:
        self._cut_at = self._clock()

    def sent(self) -> None:
        self._sent_at = self._clock()

    @property
    def is_time_to_cut(self) -> bool:
        return self._clock() - self._cut_at >= self.interval

    @property
    def is_time_to_send(self) -> bool:
        return self._clock() - self._sent_at >= self.interval

    def patience(self, is_uncut: bool, is_idle: bool) -> float:
        """Seconds to wait for a record, while some are not cut yet, or no commit is under way."""
        if not is_uncut:
            return IDLE if is_idle else 0.02
        return max(0.001, min(IDLE, self._cut_at + self.interval - self._clock()))
