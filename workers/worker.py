"""A worker: warm up, stand by, and, when the lock is ours, become an owner (`owner.py`).

`states.py` has the table of its life.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from workers.attention import Attention
from workers.backoff import delays
from workers.clock import Clock
from workers.documents import Standby, now
from workers.errors import ExitCode, LeaseGone, Lost, Retry
from workers.handler import Handler
from workers.kafka import Reader
from workers.kv import Put, Store, Txn
from workers.line import Line
from workers.lock import PartitionLock
from workers.owner import Owner
from workers.ownership import OwnLease
from workers.protocol import BecameReady, BecomeOwner, Compete, GaveUp, Leave, MissedLock, WorkerSettings
from workers.states import Event, Life
from workers.transactions import Loaded

log = logging.getLogger(__name__)

#: Seconds between two attempts to get ready, at the most: hundreds that try twice a second starve those they try.
LONGEST_PAUSE = 3.0


class Worker:
    """One process for one partition, for life."""

    def __init__(
        self,
        settings: WorkerSettings,
        me: Standby,
        store: Store,
        reader: Reader,
        handler: Handler,
        line: Line,
        attention: Attention,
        life: Life,
        clock: Clock,
    ) -> None:
        self._settings, self._partition, self._keys = settings, settings.partition, settings.keys
        self._me, self._store, self._reader, self._handler = me, store, reader, handler
        self._line, self._attention, self._life, self._clock = line, attention, life, clock
        self._lease = OwnLease(
            store, settings.lease, settings.lease_ttl, line, attention, clock, settings.handler_timeout
        )
        self._lock = PartitionLock(store, self._keys, self._partition, me, self._lease.is_over)

    def live(self) -> ExitCode:
        """From the cradle to the grave. The exit code says why it ended."""
        try:
            self._warm_up()
            taken_at, loaded = self._stand_by()
            if loaded is None:
                self._life.advance(Event.LEFT)
                return ExitCode.OK
            owner = Owner(
                self._settings, self._me, loaded, taken_at, self._store, self._reader, self._handler,
                self._lease, self._line, self._attention, self._life, self._clock,
            )  # fmt: skip
            return owner.work()
        except (Lost, LeaseGone) as error:
            self._life.advance(Event.LOCK_LOST)
            self._line.tell(GaveUp(ExitCode.LOCK_LOST, str(error)))
            log.warning("%s", error)
            return ExitCode.LOCK_LOST
        finally:
            self._lease.stop()
            if self._line.orphaned:
                self._end_lease()

    def _warm_up(self) -> None:
        """The lease on one side, Kafka on the other, at the same time; then say in etcd that we are ready."""
        warming = threading.Thread(target=self._insist, args=(self._warm_reader,), name="warm-up", daemon=True)
        warming.start()
        self._insist(lambda: self._store.grant(self._settings.lease_ttl, self._settings.lease))
        self._insist(self._lock.rehearse)
        while warming.is_alive() and not self._attention.raised:
            warming.join(0.2)
        if warming.is_alive():
            return  # told to leave before Kafka answered
        standby = Put(self._keys.standby(self._partition, self._me.worker), self._me.encode(), self._settings.lease)
        self._insist(lambda: self._store.transact(Txn((), (standby,))))
        self._life.advance(Event.WARMED_UP)
        self._line.tell(BecameReady(self._me))

    def _warm_reader(self) -> None:
        self._reader.warm_up(timeout=5.0)

    def _insist(self, call: Callable[[], object]) -> None:
        """Until it succeeds, or we are told to leave."""
        for pause in delays(0.5, LONGEST_PAUSE):
            try:
                call()
                return
            except Retry as error:
                log.warning("%s: not ready yet: %s", self._partition, error)
                self._attention.wait(pause)
                if self._attention.raised:
                    return

    def _end_lease(self) -> None:
        """Nobody is left to do it for us, and until it ran out we would be taken for a standby."""
        with contextlib.suppress(Retry, LeaseGone):
            self._store.revoke(self._settings.lease)

    def _stand_by(self) -> tuple[str, Loaded | None]:
        """Wait for the lock, and say when it came; None: told to leave."""
        compete_at: float | None = None
        deaths = 0
        while True:
            wait = None if compete_at is None else max(0.0, compete_at - self._clock())
            order = self._line.next_order(wait)
            self._attention.answered()
            taken_at, loaded = now(), None
            match order:
                case Leave():
                    self._life.advance(Event.TOLD_TO_LEAVE)
                    return taken_at, None
                case Compete(delay, deadline, deaths):
                    self._lease.deadline = deadline
                    compete_at = self._clock() + delay
                    continue
                case BecomeOwner(token, deadline, offset):
                    self._lease.deadline = deadline
                    if offset is not None:
                        self._reader.assign(offset)  # Kafka answers while etcd does
                    self._life.advance(Event.LOCK_OFFERED)
                    loaded = self._lock.confirm(token)
                case None if compete_at is None or self._clock() < compete_at:
                    continue  # woken for something else
                case None:
                    self._life.advance(Event.LOCK_OFFERED)
                    loaded = self._lock.acquire(deaths)
            if loaded:
                return taken_at, loaded
            compete_at = None
            self._reader.unassign()
            self._life.advance(Event.LOCK_MISSED)
            self._line.tell(MissedLock())
