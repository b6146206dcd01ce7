"""What an owner may have to do before it can begin: read a state that is large, and learn from Kafka what became of
the step with outputs that its predecessor had prepared.

Everybody is told that somebody is here, and the lease is renewed by ourselves meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from partition_workers.acknowledged_commits import AcknowledgedCommits
from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.errors import Bug, LeaseGone, Lost, Retry
from partition_workers.etcd.store import KeyValue, Store
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Ending, History, Lock, Prepared, Standby
from partition_workers.layout.keys import Keys
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent
from partition_workers.model import Partition
from partition_workers.output_commits import OutputCommits
from partition_workers.outputs.ahead import LONGEST, MANY, Ahead
from partition_workers.outputs.buffer import Outputs
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.outputs.steps import Known, Step, Verdict, decide, unknown_outcome
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import HandedOver, KnowTopic, Leave, LoadsState, WorkerSettings
from partition_workers.retry import delays, until_answered
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.way_out import transactions

log = logging.getLogger(__name__)

#: Seconds between two looks at what others want, while Kafka is waited for.
LOOK = 0.05
#: Seconds for Kafka's answer, before it is said that this one may take its time.
SOON = 1.0
#: Seconds for the end of a transaction that does not matter to the owner that ends it.
PATIENCE = 10.0


class Glance(NamedTuple):
    """At what Kafka and etcd have of a step, taken while the lock is still being confirmed. It may be too early: only
    what belongs together, and to the offset that comes with the lock, counts."""

    known: Future[Known | None]
    prepared: Future[KeyValue | None]

    @classmethod
    def take(cls, exchange: Exchange, store: Store, key: str) -> Glance:
        return cls(exchange.look(), exchange.beside(lambda _door: store.get(key)))


class Loading:
    """For one ownership. `settings` may have changed when it is over."""

    def __init__(
        self,
        settings: WorkerSettings,
        lock: PartitionLock,
        store: Store,
        lease: LeaseWatchdog,
        pipe: SupervisorPipe,
        interrupt: InterruptFlag,
        lifecycle: Lifecycle,
        exchange: Exchange | None,
        glance: Glance | None = None,
        make_exchange: Callable[[WorkerSettings], Exchange] = transactions,
    ) -> None:
        """`exchange`: for outputs exactly once; `make_exchange` makes one where there are none any more."""
        self.settings = settings
        self._glance, self._make_exchange = glance, make_exchange
        self._keys, self._partition = settings.keys, settings.partition
        self._lock, self._store, self._lease, self._pipe = lock, store, lease, pipe
        self._interrupt, self._lifecycle, self._exchange = interrupt, lifecycle, exchange
        self._begun: History | None = None
        self._leave: Leave | None = None

    def complete(self, loaded: Loaded) -> Loaded | None:
        """Everything an owner begins with. None: told to leave meanwhile, and has left.

        Raises Lost; PartitionRefused when nobody can say what became of a step.
        """
        if not loaded.complete:
            self._enter(loaded)
            loaded = self._lock.read_rest(loaded, self._is_told_to_leave)
        if loaded.complete and self._exchange is not None:
            loaded = self._settle(loaded, self._exchange)
        elif loaded.complete and loaded.prepared:
            self._end_transaction(loaded)
        if self._begun is not None:
            self._interrupt.set()  # whatever came meanwhile is looked at before the first record
        if self._leave is not None and self._begun is not None:
            self._leave_unread(self._leave.successors, self._begun)
            return None
        return loaded

    def _enter(self, loaded: Loaded) -> None:
        """It may take its time."""
        if self._begun is None:
            self._lifecycle.advance(LifecycleEvent.STATE_IS_LARGE, loaded.token)
            self._lease.start()
            self._pipe.tell(LoadsState(loaded.token, loaded.deaths))
            lock, offset = loaded.lock, loaded.offset.offset if loaded.offset else None
            self._begun = History(loaded.token, lock.worker, lock.host, lock.pid, lock.cause, lock.since, offset)
            self._lock.enter(self._begun)

    def _is_told_to_leave(self) -> bool:
        order = self._pipe.next_order(0)
        if isinstance(order, Leave):
            self._leave = order
        if isinstance(order, KnowTopic):
            self.settings = dataclasses.replace(self.settings, topic_id=order.topic_id)
        return self._leave is not None

    # --- a step that was prepared

    def _settle(self, loaded: Loaded, exchange: Exchange) -> Loaded:
        """What is committed is so without our doing: that costs a look. Otherwise nobody else must be able to."""
        opening = exchange.open()
        if not loaded.prepared:
            return dataclasses.replace(loaded, opening=opening)
        key = self._keys.prepared(self._partition)
        looked, found = self._glance or Glance.take(exchange, self._store, key)
        step = self._prepared(loaded.prepared, found)
        wait([looked, opening], SOON, return_when=FIRST_COMPLETED)
        with contextlib.suppress(Retry):
            if looked.done() and decide(step.number, step.before, looked.result(), is_fenced=False) is Verdict.DONE:
                return dataclasses.replace(loaded, left=step, opening=opening)
        self._enter(loaded)
        self._wait_for(exchange, opening)
        return loaded if self._leave is not None else self._decided(loaded, step, opening)

    def _wait_for(self, exchange: Exchange, opening: Future[Known | None], until: float = math.inf) -> None:
        """Until it is done, or we are told to leave, or `until` (time.monotonic). Raises Lost."""
        while not opening.done() and time.monotonic() < until and not self._is_told_to_leave():
            wait([opening], timeout=LOOK)
            exchange.look_after()
            if self._lease.is_over():
                raise Lost(f"{self._partition}: Kafka did not answer")

    def _decided(self, loaded: Loaded, step: Step, opening: Future[Known | None]) -> Loaded:
        known = opening.result()
        verdict = decide(step.number, step.before, known, is_fenced=True)
        if verdict is Verdict.UNKNOWN:
            raise unknown_outcome(self._partition, step, known)
        return dataclasses.replace(loaded, left=step if verdict is Verdict.DONE else None, opening=opening)

    def _prepared(self, number: str, glanced: Future[KeyValue | None]) -> Step:
        with contextlib.suppress(Retry, ValueError):
            found = glanced.result()
            if found is not None and (early := Prepared.decode(found.value)).number == number:
                return Step.of(early)
        key = self._keys.prepared(self._partition)
        found = until_answered(lambda: self._store.get(key), delays(0.02, 0.5), self._lease.is_over)
        prepared = Prepared.decode(found.value) if found is not None else None
        if prepared is None or prepared.number != number:
            raise Bug(f"{self._partition}: the offset names step {number}, and prepared is {prepared}")
        return Step.of(prepared)

    def _end_transaction(self, loaded: Loaded) -> None:
        """One that an owner with outputs exactly once may have left open. Nobody else would end it, and readers of
        what is committed would stand still before it until `transaction.timeout.ms` is over."""
        self._enter(loaded)
        with contextlib.closing(self._make_exchange(self.settings)) as exchange:
            opening = exchange.open()
            self._wait_for(exchange, opening, time.monotonic() + PATIENCE)
        if self._leave is None and (not opening.done() or opening.exception() is not None):
            why = opening.exception() if opening.done() else "Kafka did not answer"
            log.warning("%s: a transaction that an earlier owner may have left open was not ended: %s; readers may"
                        " have to wait for transaction.timeout.ms", self._partition, why)  # fmt: skip

    def _leave_unread(self, successors: tuple[Standby, ...], begun: History) -> None:
        self._lifecycle.advance(LifecycleEvent.TOLD_TO_LEAVE)
        for successor in successors:
            named = Lock.naming(successor, Cause.HANDED_OVER, offset=begun.from_offset)
            with contextlib.suppress(LeaseGone):
                token = self._lock.leave_unread(begun.closed(Ending.HANDED_OVER, begun.from_offset), named)
                if token is not None:
                    self._pipe.tell(HandedOver(successor, token, begun.from_offset))
                return
        self._lock.leave_unread(begun.closed(Ending.STOPPED, begun.from_offset), None)


def make_commits(
    store: Store,
    keys: Keys,
    partition: Partition,
    loaded: Loaded,
    topic_id: str,
    offset: int,
    clock: Clock,
    way_out: Exchange | Sender | None,
    topics: tuple[str, ...],
    interval: float,
) -> Commits:
    """Of an ownership that begins with what was `loaded`, or at `offset` if nothing was. `way_out`: of outputs.
    `interval`: seconds between two commits."""
    plain = (
        store, keys, partition, loaded.token, topic_id, offset, loaded.offset_revision, clock, loaded.deaths,
        loaded.changes,
    )  # fmt: skip
    if isinstance(way_out, Sender):
        return AcknowledgedCommits(*plain, outputs=Outputs(topics, way_out.partitions_of), sender=way_out)
    if way_out is None or loaded.opening is None:
        return Commits(*plain)
    outputs = Outputs(topics, way_out.partitions_of)
    ahead = Ahead(way_out, MANY if interval <= LONGEST else None)
    return OutputCommits(
        *plain, outputs=outputs, exchange=way_out, opening=loaded.opening, left=loaded.left, ahead=ahead
    )
