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

from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import HANDLING
from partition_supervisor.processes.children import Children
from partition_workers.log_events import event
from partition_workers.ownership.lease_keeper import LeaseKeeper

log = logging.getLogger(__name__)


def stands_still_after(ttl: float) -> float:
    """Seconds without a round after which the loop stands still, for leases of so many seconds. It comes round eight
    times a second. Longer than that and no lease of this host's is renewed but those of owners, which do it
    themselves: a host that decides nothing must not look alive."""
    return max(0.5, ttl / 6)


class LeaseMonitor:
    """The inbox knows when (CLOCK_BOOTTIME) the pipes were last looked at. Everything that waited in them then has
    been handled, so that is the time by which owners are judged, however long the round has taken since."""

    def __init__(self, children: Children, keeper: LeaseKeeper, ttl: float, inbox: Inbox) -> None:
        self.ping_every = ttl / 3
        self.check_every = ttl / 20
        self._children, self._keeper, self._ttl = children, keeper, ttl
        self._inbox = inbox
        self._checked_at = inbox.read_at
        self._woke_at = 0.0

    def begin(self, child: Child) -> None:
        """A ready standby: renew its lease, as long as it answers."""
        child.answered_at = self._inbox.read_at
        self._keeper.keep(child.settings.lease, self._ttl, lambda: self.answers(child))

    def end(self, child: Child) -> None:
        """It renews its lease itself from now on, or is gone."""
        self._keeper.drop(child.settings.lease)

    def hear_answer(self, child: Child, number: int) -> None:
        child.hear_answer(number, self._inbox.read_at)

    def answers(self, child: Child) -> bool:
        """Whether it has answered one of the last two pings, as of the last round, which is no while ago."""
        silent_for = self._inbox.read_at - child.answered_at
        goes_round = self._inbox.is_read(stands_still_after(self._ttl))
        return goes_round and silent_for < 2 * self.ping_every + self._ttl / 10

    def deadline(self, child: Child) -> float:
        """Until when a standby's lease is good (seconds, CLOCK_BOOTTIME)."""
        return self._keeper.deadline(child.settings.lease)

    def ping(self) -> None:
        for child in self._children:
            if child.is_ready:
                child.ping()

    def check(self) -> None:
        """End owners that are late and do not say so."""
        now = self._inbox.read_at
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
                    extra=event("worker-late"),
                )
                child.signal(signal.SIGUSR1)  # its stack, from below the interpreter
                child.kill()
