"""What a worker says, and whom it concerns."""

from __future__ import annotations

import logging
import signal
from sched import scheduler
from typing import assert_never

from partition_supervisor.cluster.takeover import Named
from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.failover import Failover
from partition_supervisor.control.kafka_access import KafkaAccess
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.rebalance import Rebalancer
from partition_supervisor.control.restarts import Restarts
from partition_supervisor.control.rolling_restart import RollingRestart
from partition_supervisor.control.tally import Tally
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import ChildEvent
from partition_supervisor.processes.children import Children
from partition_workers import ending
from partition_workers.log_events import event
from partition_workers.outage import Outage
from partition_workers.protocol import (
    AnsweredPing,
    BecameReady,
    CannotCommit,
    GaveUp,
    GotStuck,
    HandedOver,
    IsEnding,
    LoadsState,
    MadeProgress,
    MissedLock,
    RenewedLease,
    Report,
    Resumed,
    Starved,
    StepIsOpen,
    Suspended,
    TookLock,
    WasParked,
    WasToldToLeave,
)

log = logging.getLogger(__name__)

#: Seconds that a stuck worker gets between TERM and KILL.
KILL_AFTER = 1.0
#: Seconds after its last word at which a worker that is still there is about to end itself.
LONG_END = 0.9 * ending.WITHIN
#: Seconds in which a worker has ended by itself after its last word, or the kernel has ended it.
END_WITHIN = ending.WITHIN + ending.KERNEL_GRACE + 1.0


class Reports:
    def __init__(
        self,
        children: Children,
        timers: scheduler,
        dirty: Dirty,
        offers: LockOffers,
        failover: Failover,
        lease_monitor: LeaseMonitor,
        rebalancer: Rebalancer,
        rolling_restart: RollingRestart,
        restarts: Restarts,
        kafka_access: KafkaAccess,
        tally: Tally,
    ) -> None:
        self._children, self._timers, self._dirty, self._offers = children, timers, dirty, offers
        self._failover, self._lease_monitor, self._rebalancer = failover, lease_monitor, rebalancer
        self._rolling_restart, self._restarts, self._kafka_access = rolling_restart, restarts, kafka_access
        self._tally = tally
        self._no_commits = Outage(
            log, "cannot commit", name="cannot-commit"
        )  # one line for all partitions of the host

    def hear(self, child: Child, report: Report) -> None:
        match report:
            case BecameReady(standby):
                child.advance(ChildEvent.BECAME_READY)
                child.standby = standby
                self._tally.stands_by(child.partition)
                self._restarts.is_ready(child)
                self._lease_monitor.begin(child)
                self._dirty.mark_locks(child.partition)
            case TookLock(token, offset, deaths, cause):
                child.advance(ChildEvent.TOOK_LOCK)
                self._tally.took_lock(cause)
                child.token, child.offset, child.deaths = token, offset, deaths
                self._lease_monitor.end(child)
                self._dirty.mark_locks(child.partition)
            case LoadsState(token, deaths):
                child.advance(ChildEvent.LOADS_STATE)
                child.token, child.deaths = token, deaths
                self._lease_monitor.end(child)
                self._dirty.mark_locks(child.partition)
            case MissedLock():
                child.advance(ChildEvent.MISSED_LOCK)
                child.token = None
            case MadeProgress(offset, records):
                self._tally.progressed(child, report)
                self._has_committed(child, offset, records)
            case CannotCommit(why):
                self._no_commits.failed(f"{child.partition}: {why}; the lock is kept", logging.ERROR)
            case StepIsOpen(since):
                child.step_open_since = since
            case RenewedLease(deadline):
                self._tally.renewed(child)
                child.deadline = deadline
            case AnsweredPing(number):
                self._lease_monitor.hear_answer(child, number)
            case Suspended():
                self._tally.suspended(child)
                child.advance(ChildEvent.SUSPENDED)
            case Resumed():
                self._tally.resumed(child)
                child.advance(ChildEvent.RESUMED)
            case GotStuck(seconds, stack):
                log.error("%s: pid %d has been on one record, or in open(), for %.0f s; ending it. It is here:\n%s",
                          child.partition, child.pid, seconds, stack, extra=event("worker-stuck"))  # fmt: skip
                child.signal(signal.SIGTERM)
                self._timers.enter(KILL_AFTER, 0, lambda: self._children.kill(child))
            case Starved(seconds):
                self._kafka_access.starved(child, seconds)
            case WasToldToLeave():
                self._rebalancer.hand_over(child)
            case HandedOver(successor, token, offset):
                child.has_let_go = True
                self._failover.announce(child.partition, Named(successor, token, offset))
            case WasParked() | GaveUp():
                child.last_word, child.has_let_go = report, True
            case IsEnding(held_up_by, counts):
                if counts is not None:
                    self._tally.add(child, counts)
                child.deadline, child.has_let_go = None, True  # it needs no lease any more
                self._timers.enter(LONG_END, 0, lambda: self._tell_held_up(child, held_up_by))
                self._timers.enter(END_WITHIN, 0, lambda: self._children.kill(child))
            case _:
                assert_never(report)

    def _tell_held_up(self, child: Child, by: str) -> None:
        if self._children.get(child.worker) is child:
            log.warning(
                "%s: worker %d is held up by %s; it ends now all the same",
                child.partition,
                child.pid,
                by,
                extra=event("worker-held-up"),
            )

    def _has_committed(self, child: Child, offset: int, records: int) -> None:
        child.offset, child.has_committed = offset, True
        self._restarts.owner_got_on(child.partition)
        self._offers.deaths.pop(child.partition, None)
        if child.max_records and records >= child.max_records:
            self._rolling_restart.add(child, f"it has handled {records:,} records")
