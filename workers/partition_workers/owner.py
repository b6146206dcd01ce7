"""An owner: work through the records, notice what happens meanwhile, and leave in good order."""

from __future__ import annotations

import logging

from partition_workers import log_sender
from partition_workers.clock import Clock
from partition_workers.counts import Counts
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import ExitCode, HandlerFailed, LeaseGone, Lost, PartitionRefused, Stale, TopicMadeAnew
from partition_workers.etcd.store import Store
from partition_workers.handler import Context, Handler
from partition_workers.handler_opening import open_handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader
from partition_workers.last_commit import LastCommit
from partition_workers.layout.documents import Cause, Ending, History, Standby, now
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent, LifecycleState
from partition_workers.loading import make_commits
from partition_workers.log_events import event
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.owner_reports import OwnerReports
from partition_workers.ownership import transactions
from partition_workers.ownership.history import OwnHistory
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.state_size import StateSize
from partition_workers.poison import PoisonGuard
from partition_workers.progress import LOOK_UP
from partition_workers.protocol import (
    CannotCommit,
    HandedOver,
    KnowTopic,
    Leave,
    TookLock,
    WasParked,
    WorkerSettings,
)
from partition_workers.record_loop import RecordLoop
from partition_workers.start_offset import first_start_offset, refuse_what_is_not_ours
from partition_workers.state.mapping import State
from partition_workers.supervisor_pipe import LAST_SECONDS, SupervisorPipe
from partition_workers.suspension import Suspension
from partition_workers.target_position import TargetPosition
from partition_workers.topic_identity import TopicIdentity

log = logging.getLogger(__name__)

#: Seconds in which an owner that has handed over leaves the processor to its successor: ending is work too.
YIELD_SECONDS = 0.05
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
        way_out: Exchange | Sender | None = None,
    ) -> None:
        self._settings, self._keys, self._partition = settings, settings.keys, settings.partition
        self._me, self._token, self._lock, self._stored = me, loaded.token, loaded.lock, loaded.offset
        self._deaths = loaded.deaths
        self._store, self._reader, self._handler = store, reader, handler
        self._lease, self._pipe, self._interrupt, self._lifecycle = lease, pipe, interrupt, lifecycle
        self._clock = clock
        self._phases = {"exit_seen": loaded.lock.exit_seen, "lock_taken": taken_at, "state_loaded": now()}
        self._successors: tuple[Standby, ...] = ()
        offset = loaded.offset.offset if loaded.offset else first_start_offset(settings, reader, lease, pipe)
        self._identity = TopicIdentity(reader, loaded.offset, settings.topic_id)
        self._commits = make_commits(
            store, self._keys, self._partition, loaded, self._identity.topic_id, offset, clock, way_out,
            settings.outputs, settings.commit_interval,
        )  # fmt: skip
        offset, self._commits.reset = self._commits.offset, loaded.offset.reset if loaded.offset else 0
        self._commits.on_found = lambda found: self._commits.attach(*self._history.tidy(found))
        self._commits.trouble.tell = lambda why: pipe.tell(CannotCommit(why))
        lock, step = loaded.lock, loaded.step
        begun = History(self._token, me.worker, me.host, me.pid, lock.cause, lock.since, offset, step=step)
        self._history = OwnHistory(self._keys, self._partition, begun)
        self._last = LastCommit(self._commits, self._history, self._keys, self._partition, me.host)
        state = State(self._commits.beyond(loaded.state))
        size = StateSize(self._partition, self._keys.size(self._partition), loaded.size, state.size)
        self._loop = RecordLoop(
            reader, handler, state, self._commits, interrupt, offset,
            settings.commit_interval, settings.max_retries,
            ErrorPolicy(settings.on_error, settings.dlq_topic, settings.kafka),
            PoisonGuard(offset, self._deaths, loaded.attempt, settings.max_deaths),
            self._keys.attempt(self._partition), me.host, clock,
        )  # fmt: skip
        self._loop.on_first_record = self._note_first_record
        self._target = TargetPosition(
            settings, self._token, store, reader, lease, pipe, self._commits, self._loop, clock
        )
        self._reports = OwnerReports(pipe, self._commits, self._loop, size, offset, clock)
        self._suspension = Suspension(
            store, self._keys, self._partition, self._token, lease, pipe, interrupt, lifecycle, self._loop.heartbeat
        )

    def counts(self) -> Counts:
        return self._reports.counts()

    def work(self) -> ExitCode:
        """Until told to leave, or given up. Raises Lost when somebody else owns the partition."""
        try:
            stays = self._begin()
            while stays and (not self._interrupt.raised or self._look_around()):
                self._loop.turn()
                self._reports.progress()
                log_sender.keep_installed()
                self._reports.starvation(self._reader.starvation.since, self._settings.read_timeout)
            return self._leave()
        except PartitionRefused as error:
            self._loop.finish()  # it is the next record that cannot be had: what came before it counts
            return self._park(error)
        except HandlerFailed as error:
            return self._park(error)
        except Stale as error:
            return self._park(self._target.refused(error))

    # --- the beginning ----------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        """False: told to leave before the first record."""
        refuse_what_is_not_ours(self._settings, self._token, self._stored)
        self._identity.check()
        self._reader.assign(self._loop.offset)
        self.enter()
        self._lease.start()
        self._lifecycle.advance(LifecycleEvent.LOCK_CONFIRMED, self._token)
        self._pipe.tell(TookLock(self._token, self._loop.offset, self._deaths, self._lock.cause))
        self._lease.watch_over(self._loop.place)
        if self._lock.cause == Cause.ACQUIRED:
            with self._loop.off_the_clock():  # nobody counts its death but by what it has written by then
                while not self.has_entered() and not self._interrupt.raised:
                    pass
        if self._handler.takes_time_to_open:
            self._commits.wait_until_sent()
        context = Context(
            self._partition, self._token, self._me.host, self._loop.heartbeat, lambda: self._pipe.told_to_leave,
            produce=self._commits.outputs.produce, outputs=self._settings.outputs, reset=self._target.reset,
        )  # fmt: skip
        retries = self._settings.max_retries
        if not open_handler(self._handler, context, retries, self._loop, self._interrupt, self._look_around):
            return False
        self._target.follow(self._handler.position)
        self._commits.outputs.is_open = True
        if self._interrupt.raised and not self._look_around():
            return False
        self._loop.turn()  # at once: what is said to the log, and to people, can wait
        log.info("%s: owner, token %d, %s, from offset %d", self._partition, self._token,
                 self._lock.cause, self._history.record.from_offset, extra=event("owner-began"))  # fmt: skip
        return True

    def enter(self) -> None:
        """Say so in etcd: whoever named us is impatient, and the first record may take long."""
        self._commits.attach(*transactions.enter(self._keys, self._partition, self._history.record))
        self._commits.send()

    def has_entered(self) -> bool:
        """False: etcd has not answered so far, nor for a moment. Raises Lost."""
        return self._commits.settle(self._clock() + LOOK_UP)

    # --- while it lasts -----------------------------------------------------------------------------------------

    def _look_around(self) -> bool:
        """Somebody raised the flag. False: time to leave."""
        self._interrupt.clear()
        if self._lease.gone:
            raise Lost(f"{self._partition}: etcd says that the lease is gone")
        if self._lease.late:
            self._suspension.wait()
        while order := self._pipe.next_order(0):
            if isinstance(order, KnowTopic):
                self._hear_of_topic(order.topic_id)
            if isinstance(order, Leave):
                self._successors = order.successors
                return False
        return True

    def _hear_of_topic(self, topic_id: str) -> None:
        try:
            self._identity.hear(topic_id, self._commits.committed)
            self._commits.topic_id = self._identity.topic_id
        except TopicMadeAnew:
            self._loop.abandon()  # who fetches by name may have read some of the new one already
            raise

    def _note_first_record(self) -> None:
        self._commits.wait_until_sent()  # the handler may not let go of the interpreter
        self._commits.attach(*self._history.on_first_record(self._stored, self._phases | {"first_record": now()}))
        self._reports.first_record(self._history.record.gap)

    # --- the end --------------------------------------------------------------------------------------------------

    def _leave(self) -> ExitCode:
        """Finish, commit, and give the lock to a successor or to nobody; all in the last transaction."""
        self._lifecycle.advance(LifecycleEvent.TOLD_TO_LEAVE)
        self._loop.finish()
        until = self._clock() + (LAST_SECONDS if self._pipe.orphaned else LAST_COMMIT)
        for successor in self._successors:
            try:
                if self._last.hand_over(successor, until):
                    self._pipe.tell(HandedOver(successor, self._commits.revision, self._commits.offset))
                    self._interrupt.wait(YIELD_SECONDS)
                    return self._gone(Ending.HANDED_OVER)
            except LeaseGone:
                log.warning("%s: the standby on %s is gone, trying another", self._partition, successor.host)
        self._last.let_go(until)
        return self._gone(Ending.STOPPED)

    def _park(self, error: Exception) -> ExitCode:
        reason = str(error)
        self._loop.end_attempt()
        try:
            offset = self._last.park(reason, self._clock() + LAST_COMMIT)
        except PartitionRefused as refused:  # Kafka does not take what is to be committed before that
            return self._park(refused)
        log.error("%s: parked: %s", self._partition, reason, extra=event("partition-parked"))
        self._lifecycle.advance(LifecycleEvent.GAVE_UP)
        self._pipe.tell(WasParked(offset, reason))
        self._gone(Ending.PARKED)
        return ExitCode.HANDLER_GAVE_UP

    def _gone(self, ending: Ending) -> ExitCode:
        if self._lifecycle.state is LifecycleState.LEAVING:
            self._lifecycle.advance(LifecycleEvent.LEFT)
        log.info("%s: %s at offset %d", self._partition, ending, self._commits.committed, extra=event("owner-ended"))
        self._commits.outputs.is_open = False  # nothing is committed any more
        try:
            self._handler.close()
        except BaseException:
            log.exception("%s: the handler's close() failed", self._partition)
        return ExitCode.OK
