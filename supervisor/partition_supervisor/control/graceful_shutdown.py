"""The workers of a host that stops are told to leave one after the other, owners first.

Hand-overs that come together take the processor from each other, and so does a process that ends. So the next worker
is told when the one before it is gone, which is a moment after its successor went on; or when it does not go.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from sched import scheduler

from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.stopping import GIVE_UP_AFTER, Stopping
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import Children

#: Seconds after which the next one is told, whatever became of the one before.
STEP = 0.1


class GracefulShutdown:
    def __init__(
        self,
        children: Children,
        offers: LockOffers,
        timers: scheduler,
        stopping: Stopping,
        graceful_timeout: float,
    ) -> None:
        self._children, self._offers, self._timers, self._stopping = children, offers, timers, stopping
        self._graceful_timeout = graceful_timeout
        self._waiting: deque[Child] = deque()
        self._step = STEP

    def begin(self) -> None:
        """All are told in the first half of the time that they have; whoever is left then is killed."""
        self._waiting.extend(sorted(self._children, key=lambda child: not child.is_owner))
        self._step = min(STEP, self._graceful_timeout / 2 / max(1, len(self._waiting)))
        self.go_on()
        self._timers.enter(self._graceful_timeout, 0, self.kill_all)

    def go_on(self) -> None:
        """Somebody is gone: the next."""
        while self._waiting:
            child = self._waiting.popleft()
            if self._children.get(child.worker) is child and not child.is_leaving:
                self._offers.leave(child)
                self._timers.enter(self._step, 0, partial(self._go_on_if_nobody_was_told, len(self._waiting)))
                return

    def kill_all(self) -> None:
        for child in self._children:
            child.kill()
        self._timers.enter(GIVE_UP_AFTER, 0, self._stopping.give_up)

    def _go_on_if_nobody_was_told(self, waiting: int) -> None:
        if len(self._waiting) == waiting:
            self.go_on()
