"""A worker: warm up, stand by, and, when the lock is ours, become an owner (`owner.py`).

`lifecycle.py` has the table of its life.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from functools import partial

from partition_workers.clock import Clock
from partition_workers.errors import ExitCode, LeaseGone, Lost, PartitionRefused, Retry, Unavailable
from partition_workers.etcd.store import Put, Store, Txn
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader
from partition_workers.layout.document import Unreadable
from partition_workers.layout.documents import Standby, now
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent
from partition_workers.loading import Glance, Loading
from partition_workers.log_events import event
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.owner import Owner
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import (
    BecameReady,
    BecomeOwner,
    Compete,
    GaveUp,
    KnowTopic,
    Leave,
    MissedLock,
    WasParked,
    WorkerSettings,
)
from partition_workers.rehearsal import rehearse
from partition_workers.retry import delays, until_answered
from partition_workers.supervisor_pipe import SupervisorPipe

log = logging.getLogger(__name__)

#: Seconds between two attempts to get ready, at the most: hundreds that try twice a second starve those they try.
LONGEST_PAUSE = 3.0
#: Seconds between two looks of a standby at what its client has to say.
STAY_WARM = 60.0
#: Seconds for which nobody has wanted a standby before it rehearses. One that is to be an owner at once does not, and
#: after a fault the processors are for those who work.
REHEARSE_AFTER = 0.25


class Worker:
    """One process for one partition, for life."""

    def __init__(
        self,
        settings: WorkerSettings,
        me: Standby,
        store: Store,
        reader: Reader,
        handler: Handler,
        pipe: SupervisorPipe,
        interrupt: InterruptFlag,
        lifecycle: Lifecycle,
        clock: Clock,
        kill_after: Callable[[float], None] = lambda _seconds: None,
        outputs: Exchange | Sender | None = None,
    ) -> None:
        """`kill_after(seconds)`: the kernel ends this process, unless it is called again before that. `outputs`: how
        they are sent."""
        self._settings, self._partition, self._keys = settings, settings.partition, settings.keys
        self._me, self._store, self._reader, self._handler = me, store, reader, handler
        self._pipe, self._interrupt, self._lifecycle, self._clock = pipe, interrupt, lifecycle, clock
        ttl, timeout, patience = settings.lease_ttl, settings.handler_timeout, settings.etcd.timeout
        self._lease = LeaseWatchdog(store, settings.lease, ttl, pipe, interrupt, clock, timeout, kill_after, patience)
        self._granted_at = clock()
        ask_kafka = reader.assign  # it answers while etcd does
        self._lock = PartitionLock(store, self._keys, self._partition, me, self._is_hopeless, ask_kafka)
        self._is_named = self._is_rehearsed = False
        self.owner: Owner | None = None
        self._outputs = outputs
        self._exchange = outputs if isinstance(outputs, Exchange) else None
        self._glance: Glance | None = None

    def live(self) -> ExitCode:
        """From the cradle to the grave. The exit code says why it ended."""
        try:
            self._warm_up()
            owner = self.owner = self._become_owner()
            if owner is None:
                self._lifecycle.advance(LifecycleEvent.LEFT)
                return ExitCode.OK
            return owner.work()
        except (Unreadable, PartitionRefused) as error:
            return self._park(str(error))
        except (Lost, LeaseGone) as error:
            self._lifecycle.advance(LifecycleEvent.LOCK_LOST)
            self._pipe.tell(GaveUp(ExitCode.LOCK_LOST, str(error)))
            log.warning("%s", error, extra=event("lock-lost"))
            return ExitCode.LOCK_LOST
        finally:
            self._lease.stop()
            if self._pipe.orphaned:
                self._end_lease()

    def _warm_up(self) -> None:
        """The lease on one side, Kafka on the other, at the same time; then say in etcd that we are ready."""
        warming = threading.Thread(target=self._until_done, args=(self._warm_reader,), name="warm-up", daemon=True)
        warming.start()
        self._until_done(self._grant)
        while warming.is_alive():
            if self._interrupt.raised:
                return  # told to leave before Kafka answered
            warming.join(0.2)
        self._until_done(self._show_that_we_are_ready)
        self._lifecycle.advance(LifecycleEvent.WARMED_UP)
        self._pipe.tell(BecameReady(self._me))

    def _grant(self) -> None:
        self._granted_at = self._clock()
        self._store.grant(self._settings.lease_ttl, self._settings.lease)

    def _show_that_we_are_ready(self) -> None:
        """Nobody has renewed the lease while we got ready. Nothing hangs on it yet, so it is granted anew."""
        if self._clock() - self._granted_at > self._settings.lease_ttl / 3:
            self._store.revoke(self._settings.lease)
            self._grant()
        standby = Put(self._keys.standby(self._partition, self._me.worker), self._me.encode(), self._settings.lease)
        try:
            self._store.transact(Txn((), (standby,)))
        except LeaseGone as error:  # etcd counts otherwise than we do
            self._granted_at = float("-inf")
            raise Unavailable(str(error)) from None

    def _warm_reader(self) -> None:
        self._reader.warm_up(timeout=5.0)
        if self._outputs is not None:
            self._outputs.warm_up(timeout=5.0)

    def _until_done(self, call: Callable[[], object]) -> None:
        """Until it succeeds, or we are told to leave."""
        with contextlib.suppress(Retry):
            until_answered(
                call,
                delays(0.5, LONGEST_PAUSE),
                given_up=lambda: self._interrupt.raised,
                wait=self._interrupt.wait,
                complain=lambda error: log.warning(
                    "%s: not ready yet: %s", self._partition, error, extra=event("worker-not-ready")
                ),
            )

    def _park(self, reason: str) -> ExitCode:
        """Something of the partition's is none of ours: nobody can own it until a person has looked."""
        log.error("%s: parked: %s", self._partition, reason, extra=event("partition-parked"))
        self._lock.park(reason)
        self._lifecycle.advance(LifecycleEvent.GAVE_UP)
        self._pipe.tell(WasParked(0, reason))
        return ExitCode.HANDLER_GAVE_UP

    def _end_lease(self) -> None:
        """Nobody is left to do it for us, and until it ran out we would be taken for a standby."""
        with contextlib.suppress(Retry, LeaseGone):
            self._store.revoke(self._settings.lease)

    def _is_hopeless(self) -> bool:
        """etcd has not answered. What the order said of the lease grows old, and the lock may well be ours."""
        if self._is_named:
            self._lease.start()
        return self._lease.is_over()

    def _become_owner(self) -> Owner | None:
        """None: told to leave. Nothing else holds on to the state that was read, of which each value will change."""
        taken_at, loaded = self._stand_by()
        if loaded is not None and (not loaded.complete or loaded.prepared or self._exchange is not None):
            loading = Loading(
                self._settings, self._lock, self._store, self._lease, self._pipe, self._interrupt, self._lifecycle,
                self._exchange, self._glance,
            )  # fmt: skip
            loaded = loading.complete(loaded)
            self._settings = loading.settings
        return self._owner(taken_at, loaded) if loaded is not None else None

    def _owner(self, taken_at: str, loaded: Loaded) -> Owner:
        return Owner(
            self._settings, self._me, loaded, taken_at, self._store, self._reader, self._handler,
            self._lease, self._pipe, self._interrupt, self._lifecycle, self._clock, self._outputs,
        )  # fmt: skip

    def _stay_warm(self) -> None:
        self._reader.stay_warm()
        if self._outputs is not None:
            self._outputs.stay_warm()
        if not self._is_rehearsed:
            self._is_rehearsed = True
            with contextlib.suppress(Retry):  # it is for speed alone
                self._lock.rehearse()
                rehearse(partial(self._owner, now()), self._keys, self._partition, self._me)

    def _stand_by(self) -> tuple[str, Loaded | None]:
        """Wait for the lock, and say when it came; None: told to leave."""
        compete_at: float | None = None
        deaths = 0
        while True:
            quiet = STAY_WARM if self._is_rehearsed else REHEARSE_AFTER
            wait = quiet if compete_at is None else max(0.0, compete_at - self._clock())
            self._interrupt.clear()  # before: what comes behind this order raises it again, and must be seen
            order = self._pipe.next_order(wait)
            taken_at, loaded = now(), None
            match order:
                case Leave():
                    self._lifecycle.advance(LifecycleEvent.TOLD_TO_LEAVE)
                    return taken_at, None
                case Compete(delay, deadline, deaths):
                    self._lease.deadline = deadline
                    compete_at = self._clock() + delay
                    continue
                case BecomeOwner(token, deadline, offset):
                    self._lease.deadline = deadline
                    if offset is not None:
                        self._reader.assign(offset)  # Kafka answers while etcd does
                    self._lifecycle.advance(LifecycleEvent.LOCK_OFFERED)
                    self._is_named = True
                    if self._exchange is not None:
                        self._glance = Glance.take(self._exchange, self._store, self._keys.prepared(self._partition))
                    loaded = self._lock.confirm(token)
                    self._is_named = False
                case KnowTopic(topic_id):
                    self._settings = dataclasses.replace(self._settings, topic_id=topic_id)
                    continue
                case None if compete_at is None or self._clock() < compete_at:
                    self._stay_warm()
                    continue
                case None:
                    self._lifecycle.advance(LifecycleEvent.LOCK_OFFERED)
                    loaded = self._lock.acquire(deaths)
            if loaded:
                return taken_at, loaded
            compete_at = self._glance = None
            self._reader.unassign()
            self._lifecycle.advance(LifecycleEvent.LOCK_MISSED)
            self._pipe.tell(MissedLock())
