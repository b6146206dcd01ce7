"""What the service manager hears of the loop: that it goes round, and what it is at."""

from __future__ import annotations

from partition_supervisor.control.code_reload import CodeReload
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.children import Children
from partition_supervisor.service_manager import ServiceManager
from partition_workers.clock import Clock

#: Seconds between two looks at what it is at.
LOOK_EVERY = 1.0
#: It is told so many times within its watchdog's time that the loop goes round.
TIMES_WITHIN = 4


class ServiceStatus:
    """Its host has entered the group when the loop begins."""

    def __init__(
        self, manager: ServiceManager, children: Children, stopping: Stopping, reload: CodeReload, clock: Clock
    ) -> None:
        self._manager, self._children, self._stopping, self._reload = manager, children, stopping, reload
        self._clock = clock
        self._is_ready = self._is_reloading = self._is_stopping = False
        self._said = ""
        self._look_at = self._alive_at = float("-inf")

    def go_on(self) -> None:
        """To be called by the loop, again and again, and nowhere else: this is its pulse. What could not be told is
        told the next time."""
        now = self._clock()
        if self._manager.watchdog and now >= self._alive_at:
            self._alive_at = now + self._manager.watchdog / TIMES_WITHIN
            self._manager.alive()
        if not self._is_ready:
            self._is_ready = self._manager.ready("entered the group")
        if self._stopping.begun and not self._is_stopping:
            self._is_stopping = self._manager.stopping()
        if self._reload.is_under_way != self._is_reloading and not self._is_stopping:
            if self._is_reloading:
                self._is_reloading = not self._manager.ready("has its code anew")
            else:
                self._is_reloading = self._manager.reloading()
        elif now >= self._look_at and not (self._is_reloading or self._is_stopping):
            self._look_at = now + LOOK_EVERY
            if (words := self._words()) != self._said and self._manager.status(words):
                self._said = words

    def _words(self) -> str:
        children = list(self._children)
        owned, ready = sum(c.is_owner for c in children), sum(c.is_ready for c in children)
        return f"{len(children)} workers: {owned} own a partition, {ready} stand by"
