"""Workers that have to be replaced: they grew too fat, their time is over, their code is old.

One after the other: its replacement starts beside it, and when that is ready, the old one hands over and ends.
"""

from __future__ import annotations

import logging
from collections import deque

from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.children import Child, Children
from partition_workers.model import Partition

log = logging.getLogger(__name__)


class RollingRestart:
    def __init__(self, children: Children, successors: Successors, offers: LockOffers, dirty: Dirty) -> None:
        self._children, self._successors, self._offers, self._dirty = children, successors, offers, dirty
        #: Workers and why, the one that is being replaced first.
        self._queue: deque[tuple[str, str]] = deque()

    @property
    def is_under_way(self) -> bool:
        return bool(self._queue)

    def add(self, child: Child, reason: str) -> None:
        if child.worker not in (worker for worker, _ in self._queue) and not child.is_leaving:
            self._queue.append((child.worker, reason))
            self._dirty.mark_workers()

    def extra_for(self, partition: Partition) -> int:
        """One worker more than planned, while one of its workers is waiting for its replacement."""
        child = self._children.get(self._queue[0][0]) if self._queue else None
        return int(child is not None and not child.is_leaving and child.partition == partition)

    def go_on(self) -> None:
        """The first one leaves once somebody is ready to replace it; the others wait until it is gone."""
        while self._queue:
            worker, reason = self._queue[0]
            child = self._children.get(worker)
            if child is None:
                self._queue.popleft()
                self._dirty.mark_workers()
                continue
            if not child.is_leaving and self._successor_is_ready(child):
                log.info("%s: worker %d is replaced: %s", child.partition, child.pid, reason)
                self._offers.leave(child)
                self._dirty.mark_workers()
            return

    def _successor_is_ready(self, child: Child) -> bool:
        """An owner needs a ready standby anywhere, a standby one here."""
        if child.is_owner:
            return bool(self._successors.of(child.partition, child.worker))
        return any(each.is_ready for each in self._children.of(child.partition) if each is not child)
