"""Why did a worker end, and when may the next one of its partition start?"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable
from sched import scheduler

from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.restart_policy import FIRST_DELAY, Crashes
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.exit_reason import ExitReason, how_it_ended, reason_of
from partition_workers.errors import ExitCode
from partition_workers.log_events import EventName, event
from partition_workers.model import Partition
from partition_workers.protocol import GaveUp
from partition_workers.retry import backoff

log = logging.getLogger(__name__)


#: Seconds between two attempts to make a process, at the most: what was lacking may be there at any time.
LONGEST_PAUSE = 5.0


class Restarts:
    """`fail(code, reason)` is called when no worker can be started, and none ever could. `tell_resting(why)` is
    called with all partitions whose workers crash too often to be started again soon, when these have changed."""

    def __init__(
        self,
        timers: scheduler,
        dirty: Dirty,
        fail: Callable[[ExitCode, str], object],
        tell_resting: Callable[[dict[Partition, str]], None],
    ) -> None:
        self._timers, self._dirty, self._fail, self._tell_resting = timers, dirty, fail, tell_resting
        self._resting: dict[Partition, str] = {}
        self._has_worked = False
        self._crashes: dict[Partition, Crashes] = defaultdict(Crashes)
        self._not_before: dict[Partition, float] = {}
        self._failed_starts = 0
        self._nobody_before = 0.0

    def may_start(self, partition: Partition) -> bool:
        return self._timers.timefunc() >= max(self._nobody_before, self._not_before.get(partition, 0.0))

    def could_not_start(self, partition: Partition, error: Exception) -> None:
        """No process could be made. That is a matter of the host, not of the partition: nobody starts for a while."""
        if self._timers.timefunc() < self._nobody_before:
            return  # it was asked for before that was known
        delay = backoff(self._failed_starts, FIRST_DELAY, LONGEST_PAUSE, random.random())
        self._failed_starts += 1
        self._nobody_before = self._timers.timefunc() + delay
        log.error("%s: no worker can be started: %s: %s; next try in %.1f s",
                  partition, type(error).__name__, error, delay, extra=event("worker-cannot-start"))  # fmt: skip
        self._timers.enter(delay, 0, self._dirty.mark_workers)

    def is_ready(self, child: Child) -> None:
        """It stands by from now on."""
        self._has_worked = True
        self._failed_starts = 0
        child.ready_at = self._timers.timefunc()

    def owner_got_on(self, partition: Partition) -> None:
        """It has committed more than its entrance, or handled all there was: earlier crashes count no more."""
        self._crashes.pop(partition, None)

    def forget_crashes(self) -> None:
        """There is new code."""
        self._crashes.clear()
        self._not_before.clear()
        self._nobody_before = 0.0
        if self._resting:
            self._resting.clear()
            self._tell_resting({})
        self._dirty.mark_workers()

    def postpone(self, partition: Partition, seconds: float) -> None:
        """Somebody waits for the next record, and starting a process is work."""
        later = self._timers.timefunc() + seconds
        self._not_before[partition] = max(later, self._not_before.get(partition, 0.0))
        self._timers.enter(seconds, 0, self._dirty.mark_workers)

    def on_end(self, child: Child, code: int) -> None:
        """It has ended, and everything of it was seen to."""
        partition, words = child.partition, how_it_ended(code, child)
        if isinstance(child.last_word, GaveUp) and code == ExitCode.MISCONFIGURED and not self._has_worked:
            self._fail(ExitCode.MISCONFIGURED, child.last_word.reason)
            return
        if child.is_leaving or reason_of(code, child) in (ExitReason.PARKED, ExitReason.LOCK_LOST):
            log.info("%s: worker %d %s", partition, child.pid, words, extra=event("worker-ended"))
            self._dirty.mark_workers()
            return
        moment = self._timers.timefunc()
        crashes = self._crashes[partition]
        crashes.note(moment, child.is_owner, 0.0 if child.ready_at is None else moment - child.ready_at)
        restart = crashes.next_restart(moment, random.random())
        self._not_before[partition] = moment + restart.delay
        what_next = (
            f"crashed too often, next try in {restart.delay:.0f} s" if restart.resting
            else "starting another" if restart.delay == 0 else f"starting another in {restart.delay:.1f} s"
        )  # fmt: skip
        level = logging.ERROR if restart.resting else logging.WARNING
        name: EventName = "worker-crashes-often" if restart.resting else "worker-ended"
        log.log(level, "%s: worker %d %s; %s", partition, child.pid, words, what_next, extra=event(name))
        if restart.resting:
            self._resting[partition] = f"its workers crash too often: the last one {words}"
            self._tell_resting(dict(self._resting))
        self._timers.enter(restart.delay, 0, lambda: self._try_again(partition))

    def _try_again(self, partition: Partition) -> None:
        if self._resting.pop(partition, None) is not None:
            self._tell_resting(dict(self._resting))
        self._dirty.mark_workers()
