"""Watching over the workers' leases: renewing those of standbys that answer, ending owners that are late.

An owner renews its own lease and reports each new deadline. One that is past nine tenths of it and has not said that
it is suspended may be unable to say so, because its handler does not let go of the interpreter; it is ended before
its lease is, so that it cannot act on as if it owned the partition. Who has not said yet that it is the owner handles
nothing, though it may renew its lease itself already: it was named and etcd is slow to confirm it, or it reads a
large state.
"""

from __future__ import annotations

import logging
import signal

from partition_supervisor.processes.child_state import HANDLING
from partition_supervisor.processes.children import Child, Children
from partition_workers.clock import Clock
from partition_workers.ownership.lease_keeper import LeaseKeeper

log = logging.getLogger(__name__)

#: Pings without an answer after which no more are sent: the pipe of a stopped process must not fill up.
UNANSWERED = 10


class LeaseMonitor:
    """`reports_read_at()`: when (CLOCK_BOOTTIME) the pipes were last looked at. Everything that waited in them then
    has been handled, so that is the time by which owners are judged, however long the round has taken since."""

    def __init__(self, children: Children, keeper: LeaseKeeper, ttl: float, reports_read_at: Clock) -> None:
        self.ping_every = ttl / 3
        self.check_every = ttl / 20
        self._children, self._keeper, self._ttl = children, keeper, ttl
        self._reports_read_at = reports_read_at
        self._checked_at = reports_read_at()
        self._woke_at = 0.0

    def begin(self, child: Child) -> None:
        """A ready standby: renew its lease, as long as it answers."""
        self._keeper.keep(child.settings.lease, self._ttl, lambda: child.answers)

    def end(self, child: Child) -> None:
        """It renews its lease itself from now on, or is gone."""
        self._keeper.drop(child.settings.lease)

    def deadline(self, child: Child) -> float:
        """Until when a standby's lease is good (seconds, CLOCK_BOOTTIME)."""
        return self._keeper.deadline(child.settings.lease)

    def ping(self) -> None:
        for child in self._children:
            if child.is_ready and child.unanswered < UNANSWERED:
                child.ping()

    def check(self) -> None:
        """End owners that are late and do not say so."""
        now = self._reports_read_at()
        if now - self._checked_at > 3 * self.check_every:
            self._woke_at = now  # we were frozen ourselves, so nobody's deadline is judged before it could report
        self._checked_at = now
        if now - self._woke_at < self._ttl / 4:
            return
        for child in self._children:
            late = child.deadline is not None and now > child.deadline - self._ttl / 10
            if late and child.state in HANDLING and not child.ended_by_us:
                log.error(
                    "%s: pid %d is late with its lease and does not say so; ending it",
                    child.partition,
                    child.pid,
                )
                child.signal(signal.SIGUSR1)  # its stack, from below the interpreter
                child.kill()
