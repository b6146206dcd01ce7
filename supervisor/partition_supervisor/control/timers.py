"""What is to be done later, in order of time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from partition_workers.clock import Clock


class Timers:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._clock() + seconds, next(self._order), action))

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.after(seconds, again)

        self.after(seconds, again)

    def next_at(self) -> float:
        """When the next action is due, by the clock; an hour from now when there is none."""
        return self._due[0][0] if self._due else self._clock() + 3600.0

    def run_due(self) -> None:
        while self._due and self._due[0][0] <= self._clock():
            heapq.heappop(self._due)[2]()
