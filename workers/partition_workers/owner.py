"""An owner: work through the records, notice what happens meanwhile, and leave in good order."""

from __future__ import annotations

import dataclasses
import logging
import time

from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import ExitCode, HandlerFailed, LeaseGone, Lost, PartitionRefused, Retry
from partition_workers.etcd.store import Get, KeyValue, Operation, Put, Store
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import Cause, Ending, History, Lock, Parked, Standby, milliseconds, now
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent, LifecycleState
from partition_workers.ownership import history, transactions
from partition_workers.ownership.transactions import Loaded
from partition_workers.poison import PoisonGuard
from partition_workers.protocol import (
    HandedOver,
    Leave,
    MadeProgress,
    Resumed,
    Suspended,
    TookLock,
    WasParked,
    WorkerSettings,
)
from partition_workers.record_loop import RecordLoop
from partition_workers.state.mapping import State
from partition_workers.supervisor_pipe import LAST_SECONDS, SupervisorPipe

log = logging.getLogger(__name__)

#: Seconds between two reports of progress.
PROGRESS_EVERY = 1.0
#: Seconds in which an owner that has handed over leaves the processor to its successor: ending is work too.
YIELD_SECONDS = 0.05
#: Seconds in which the thread that sends gets hold of the interpreter, before a handler's open() that may not let
#: go of it. Where there is none, reading the first record takes as long.
SENDING = 0.002
#: Seconds for the last commit; the supervisor's own limit usually ends it earlier.
LAST_COMMIT = 60.0


class Owner:
    """One ownership of one partition, from etcd's word that the lock is ours until it is not."""

    def __init__(
        self,
        settings: WorkerSettings,
        me: Standby,
        loaded: Loaded,
        taken_at: str,
        store: Store,
        reader: Reader,
        handler: Handler,
        lease: LeaseWatchdog,
        pipe: SupervisorPipe,
        interrupt: InterruptFlag,
        lifecycle: Lifecycle,
        clock: Clock,
    ) -> None:
        self._settings, self._keys, self._partition = settings, settings.keys, settings.partition
        self._me, self._loaded, self._token = me, loaded, loaded.token
        self._store, self._reader, self._handler = store, reader, handler
        self._lease, self._pipe, self._interrupt, self._lifecycle = lease, pipe, interrupt, lifecycle
        self._clock = clock
        self._phases = {"exit_seen": loaded.lock.exit_seen, "lock_taken": taken_at, "state_loaded": now()}
        self._reported: tuple[float, int] = (0.0, -1)
        self._successors: tuple[Standby, ...] = ()
        offset = loaded.offset.offset if loaded.offset else self._start_offset()
        self._commits = Commits(
            store, self._keys, self._partition, self._token, settings.topic_id, offset,
            loaded.offset_revision, clock,
        )  # fmt: skip
        self._commits.on_found = self._tidy_history
        self._history = History(self._token, me.worker, me.host, me.pid, loaded.lock.cause, loaded.lock.since, offset)
        self._loop = RecordLoop(
            reader, handler, State(loaded.state), self._commits, interrupt, offset,
            settings.commit_interval, settings.max_retries,
            ErrorPolicy(settings.on_error, settings.dlq_topic, settings.kafka),
            PoisonGuard(offset, loaded.lock.deaths, loaded.attempt, settings.max_deaths),
            self._keys.attempt(self._partition), me.host, clock,
        )  # fmt: skip
        self._loop.on_first_record = self._note_first_record

    def work(self) -> ExitCode:
        """Until told to leave, or given up. Raises Lost when somebody else owns the partition."""
        try:
            self._begin()
            while not self._interrupt.raised or self._look_around():
                self._loop.turn()
                self._report_progress()
            return self._leave()
        except (HandlerFailed, PartitionRefused) as error:
            return self._park(error)

    # --- the beginning ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._refuse_what_is_not_ours()
        self._reader.assign(self._loop.offset)
        self._commits.attach(*transactions.enter(self._keys, self._partition, self._history))
        self._commits.send()  # whoever named us is impatient, and the first record may take long
        self._lease.start()
        if self._handler.takes_time_to_open:
            time.sleep(SENDING)
        self._open_handler()
        self._lifecycle.advance(LifecycleEvent.LOCK_CONFIRMED, self._token)
        self._pipe.tell(TookLock(self._token, self._loop.offset, self._loaded.lock.deaths))
        self._lease.watch_over(self._loop.place)
        if not self._interrupt.raised:
            self._loop.turn()  # at once: what is said to the log, and to people, can wait
        log.info("%s: owner, token %d, %s, from offset %d", self._partition, self._token,
                 self._loaded.lock.cause, self._history.from_offset)  # fmt: skip

    def _refuse_what_is_not_ours(self) -> None:
        stored = self._loaded.offset
        if stored is None:
            return
        if stored.token >= self._token:
            raise PartitionRefused(
                f"{self._partition}: the stored token {stored.token} is not smaller than ours, {self._token}: etcd"
                " was probably restored from an old copy, and what was committed since is missing from it."
                f" If that is accepted: partition-supervisor resume {self._partition}"
            )
        if stored.topic_id and self._settings.topic_id and stored.topic_id != self._settings.topic_id:
            raise PartitionRefused(
                f"{self._partition}: the topic was deleted and created anew, so offset {stored.offset} means nothing"
                f" any more. Decide where to go on: partition-supervisor offsets reset {self._partition}"
                " --to-earliest --execute"
            )

    def _start_offset(self) -> int:
        """Where a partition begins that was never read. Its first commit pins it."""
        self._lease.start()
        while True:
            try:
                first, end = self._reader.warm_up(timeout=5.0)
                return end if self._settings.start == "latest" else first
            except Retry as error:
                log.warning("%s", error)
                if self._lease.is_over() or self._pipe.orphaned:
                    raise Lost(f"{self._partition}: Kafka did not answer") from error

    def _open_handler(self) -> None:
        context = Context(
            self._partition, self._token, self._me.host, self._loop.heartbeat, lambda: self._pipe.told_to_leave
        )
        try:
            self._handler.open(context)
        except (Exception, SystemExit) as error:
            raise HandlerFailed(f"open() raised {type(error).__name__}: {error}") from error

    # --- while it lasts -----------------------------------------------------------------------------------------

    def _look_around(self) -> bool:
        """Somebody raised the flag. False: time to leave."""
        self._interrupt.clear()
        if self._lease.gone:
            raise Lost(f"{self._partition}: etcd says that the lease is gone")
        if self._lease.late:
            self._suspend()
        while order := self._pipe.next_order(0):
            if isinstance(order, Leave):
                self._successors = order.successors
                return False
        return True

    def _suspend(self) -> None:
        """Late with the lease: start no record until etcd has said that the lock is still ours."""
        self._lifecycle.advance(LifecycleEvent.LEASE_LATE)
        self._pipe.tell(Suspended())
        log.warning("%s: suspended: etcd has been silent for three quarters of the lease's time", self._partition)
        while not self._is_certain_again():
            self._interrupt.wait(0.2)
            self._interrupt.clear()
            self._loop.heartbeat()
            if self._lease.gone or self._pipe.orphaned:
                raise Lost(f"{self._partition}: the lease ended while suspended")
        self._lifecycle.advance(LifecycleEvent.LOCK_CHECKED)
        self._pipe.tell(Resumed())
        self._interrupt.set()  # orders may have come meanwhile

    def _is_certain_again(self) -> bool:
        if self._lease.late:
            return False
        try:
            result = self._store.transact(transactions.still_mine(self._keys, self._partition, self._token))
        except Retry:
            return False
        if not result.succeeded:
            raise Lost(f"{self._partition} has another owner by now")
        return True

    def _report_progress(self) -> None:
        at, offset = self._reported
        due = self._clock() - at >= PROGRESS_EVERY or offset < 0
        if due and self._commits.committed not in (offset, self._history.from_offset):
            self._reported = self._clock(), self._commits.committed
            self._pipe.tell(MadeProgress(self._commits.committed, self._loop.handled))

    def _note_first_record(self) -> None:
        """The phases of the gap, and a look at what the predecessors left in the history."""
        before = self._loaded.offset
        phases = self._phases | {"first_record": now()}
        if before:
            gap = {name: round(milliseconds(before.at, at), 1) for name, at in phases.items() if at}
            self._history = dataclasses.replace(self._history, last_commit=before.at, gap=gap)
        self._commits.attach(
            Put(self._history_key, self._history.encode()),
            Get(self._keys.histories(self._partition), prefix=True),
        )

    def _tidy_history(self, found: tuple[KeyValue, ...]) -> None:
        self._commits.attach(*history.tidy(found, self._token, self._history))

    # --- the end --------------------------------------------------------------------------------------------------

    def _leave(self) -> ExitCode:
        """Finish, commit, and give the lock to a successor or to nobody; all in the last transaction."""
        self._lifecycle.advance(LifecycleEvent.TOLD_TO_LEAVE)
        self._loop.finish()
        until = self._clock() + (LAST_SECONDS if self._pipe.orphaned else LAST_COMMIT)
        for successor in self._successors:
            named = Lock.naming(successor, Cause.HANDED_OVER, offset=self._commits.offset)
            try:
                if self._end(Ending.HANDED_OVER, transactions.give_to(self._keys, self._partition, named), until):
                    self._pipe.tell(HandedOver(successor, self._commits.revision, self._commits.offset))
                    self._interrupt.wait(YIELD_SECONDS)
                    return self._gone(Ending.HANDED_OVER)
            except LeaseGone:
                log.warning("%s: the standby on %s is gone, trying another", self._partition, successor.host)
        if not self._end(Ending.STOPPED, transactions.let_go(self._keys, self._partition), until):
            raise Lost(f"{self._partition}: the last commit was not answered in time")
        return self._gone(Ending.STOPPED)

    def _park(self, error: Exception) -> ExitCode:
        reason = str(error)
        log.error("%s: parked: %s", self._partition, reason)
        offset = self._commits.offset
        parked = Parked(offset, reason, self._me.host, now())
        last_word = transactions.park(self._keys, self._partition, parked)
        if not self._end(Ending.PARKED, last_word, self._clock() + LAST_COMMIT, reason):
            raise Lost(f"{self._partition}: the last commit was not answered in time")
        self._lifecycle.advance(LifecycleEvent.GAVE_UP)
        self._pipe.tell(WasParked(offset, reason))
        self._gone(Ending.PARKED)
        return ExitCode.HANDLER_GAVE_UP

    def _end(self, ending: Ending, last_word: tuple[Operation, ...], until: float, reason: str | None = None) -> bool:
        closed = self._history.closed(ending, self._commits.offset, reason)
        return self._commits.drain(until, (Put(self._history_key, closed.encode()), *last_word))

    def _gone(self, ending: Ending) -> ExitCode:
        if self._lifecycle.state is LifecycleState.LEAVING:
            self._lifecycle.advance(LifecycleEvent.LEFT)
        log.info("%s: %s at offset %d", self._partition, ending, self._commits.committed)
        try:
            self._handler.close()
        except Exception:
            log.exception("%s: the handler's close() failed", self._partition)
        return ExitCode.OK

    @property
    def _history_key(self) -> str:
        return self._keys.history(self._partition, self._token)
