"""Workers that have to be replaced: they grew too fat, their time is over, their code is old.

One after the other: its replacement starts beside it, and when that is ready, the old one hands over to it and ends.
Nothing goes to another host for that: it may run the old code, and have enough to do.
"""

from __future__ import annotations

import logging
from collections import deque

from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import Children
from partition_workers.clock import Clock
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds without a ready replacement after which it is the next one's turn.
NEXT_AFTER = 10.0


class RollingRestart:
    def __init__(
        self, children: Children, successors: Successors, offers: LockOffers, dirty: Dirty, clock: Clock
    ) -> None:
        self._children, self._successors, self._offers, self._dirty = children, successors, offers, dirty
        self._clock = clock
        self._first, self._first_since = "", 0.0
        #: Workers and why, the one that is being replaced first.
        self._queue: deque[tuple[str, str]] = deque()

    @property
    def is_under_way(self) -> bool:
        return bool(self._queue)

    def add(self, child: Child, reason: str) -> None:
        if child.worker not in (worker for worker, _ in self._queue) and not child.is_leaving:
            self._queue.append((child.worker, reason))
            self._dirty.mark_workers()

    @property
    def extra(self) -> Partition | None:
        """One worker more than planned, for the partition of one that is waiting for its replacement."""
        child = self._children.get(self._queue[0][0]) if self._queue else None
        return child.partition if child is not None and not child.is_leaving else None

    def go_on(self) -> None:
        """The first one leaves once its replacement is ready; the others wait until it is gone. One whose replacement
        does not get ready waits at the end."""
        while self._queue:
            worker, reason = self._queue[0]
            child = self._children.get(worker)
            if child is None:
                self._queue.popleft()
                self._dirty.mark_workers()
                continue
            if not child.is_leaving:
                self._replace(child, reason)
            return

    def _replace(self, child: Child, reason: str) -> None:
        if self._first != child.worker:
            self._first, self._first_since = child.worker, self._clock()
        replacement = self._replacement_of(child)
        if replacement is not None:
            log.info("%s: worker %d is replaced: %s", child.partition, child.pid, reason)
            others = (each for each in self._successors.of(child.partition, child.worker) if each != replacement)
            self._offers.leave(child, (replacement, *others))
            self._dirty.mark_workers()
        elif len(self._queue) > 1 and self._clock() - self._first_since > NEXT_AFTER:
            self._queue.rotate(-1)
            self._dirty.mark_workers()

    def _replacement_of(self, child: Child) -> Standby | None:
        """A ready worker of this host that is not to be replaced itself."""
        old = {worker for worker, _ in self._queue}
        ready = (each for each in self._children.of(child.partition) if each.is_ready and each.worker not in old)
        return next((each.standby for each in ready if each.standby is not None), None)
