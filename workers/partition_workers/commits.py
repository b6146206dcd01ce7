"""State and offset on their way to etcd: cut, sent, acknowledged; one transaction in flight at a time.

A *cut* is what changed up to an offset. Cuts that are made while a transaction is under way are merged into the
next one, so the handler never waits for etcd, unless a transaction would grow past its limits.

What etcd refuses because it is too large was not done. Everything since the last commit is dropped, the limits are
lowered, and whoever made the changes goes back to that commit.

An unknown outcome is never "failed": the very same transaction is sent again, for as long as the lock may be ours
(see `transactions.py`, rule 3). Only etcd's clear answer ends an ownership.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from functools import partial

from partition_workers.change_log import ChangeLog
from partition_workers.clock import Clock
from partition_workers.commit_flight import Flight, wait_until_sent
from partition_workers.commit_limits import CommitLimits, size_of
from partition_workers.commit_trouble import CommitTrouble
from partition_workers.counts import CommitTimes, TransactionTimes
from partition_workers.errors import LeaseGone, Lost, Refused, RequestTooLarge, Retry
from partition_workers.etcd.store import Get, KeyValue, Operation, Store, TxnResult
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition, Token
from partition_workers.outputs.buffer import Outputs
from partition_workers.ownership import transactions
from partition_workers.ownership.stored_state import stored_state
from partition_workers.retry import delays


class Commits:
    """All commits of one ownership. Not thread-safe: the record loop drives it with `pump`."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        partition: Partition,
        token: Token,
        topic_id: str,
        offset: int,
        offset_revision: int,
        clock: Clock,
        deaths: int = 0,
        unfolded: Mapping[int, Changes] | None = None,
    ) -> None:
        """`deaths`: how many owners before this one have died in a row without getting on. `unfolded`: changes that
        are stored but not folded into the state's own keys, by number."""
        self._begun_at, self._deaths, self.committed = offset, deaths, offset
        self.times, self.transactions = CommitTimes(clock), TransactionTimes(clock)
        self._store, self._keys, self._partition, self.token, self.topic_id = store, keys, partition, token, topic_id
        #: Of the newest commit that is known to be stored; what else it put was put at the same.
        self.revision = offset_revision
        self._clock, self._sequence, self.offset, self._again_at = clock, 0, offset, 0.0
        self.outputs = Outputs(())  # no topic that a handler could produce to
        self.reset = 0  # see `StoredOffset`
        self.limits = CommitLimits()
        self._log = ChangeLog(partial(keys.change, partition), unfolded or {})
        self._changes: Changes = {}
        self._extra: dict[str, Operation] = {}
        self._dirty = self._unsure = False
        self._flight: Flight | None = None
        self._answer: Future[TxnResult] | None = None
        self._delays: Iterator[float] = iter(())
        self.on_found: Callable[[tuple[KeyValue, ...]], None] = lambda _found: None
        #: Told, seldom, why nothing has been committed for some seconds.
        self.trouble = CommitTrouble(clock)

    @property
    def in_flight(self) -> bool:
        return self._flight is not None

    @property
    def waiting(self) -> bool:  # for the next transaction
        return self._dirty

    @property
    def wants_cut(self) -> bool:  # before the interval is over
        return False

    @property
    def idle(self) -> bool:
        return not self._dirty and self._flight is None

    def start_at(self, offset: Offset) -> None:
        """Before the first cut, and with nothing in flight: the handler's target stands there."""
        self._begun_at = self.offset = self.committed = offset

    def follow_reset(self) -> None:
        """The handler has opened where a person wanted it."""
        self.reset, self._dirty = 0, True

    def add(self, offset: int, changes: Changes, handled: int = 0) -> bool:
        """A cut, of so many records that were `handled`, that goes with the next transaction; False: there is no room
        beside what waits for that. Raises StateTooLarge when none could hold it."""
        together = self._changes | changes if self._changes else changes
        keys, size = len(together), size_of(self._keys.state(self._partition), together)
        if not self.limits.allow(keys, size, alone=not self._changes):
            if not self._changes:
                raise self.limits.refusal(keys, size)
            return False
        self.offset, self._changes, self._dirty = offset, together, True
        return True

    def attach(self, *operations: Operation) -> None:
        """More operations for the next transaction: history, attempts. Of two on one key, the later counts."""
        self._extra |= {each.key: each for each in operations}
        self._dirty = True

    def get_on(self) -> None:
        """This owner has got on without a commit: it has handled whatever there was. The next one is told so."""
        if self._deaths:
            self._deaths, self._dirty = 0, True

    def abandon(self) -> None:
        """Forget the cuts that wait. What is in flight may still land, and counts."""
        self._changes = {}
        self.offset = self._flight.offset.offset if self._flight is not None else self.committed

    def send(self) -> None:
        """Start the next transaction, if there is anything to say and nothing is in flight."""
        if self._dirty and not self.in_flight:
            self._launch(self._next(()))

    def pump(self) -> None:
        """Look after the transaction in flight. Raises Lost when the lock is not ours any more; RequestTooLarge when
        etcd does not take so much: nothing since `committed` is stored, or waits."""
        if self._flight is None:
            return
        if self._answer is None:
            if self._clock() >= self._again_at:
                self._answer = self._store.transact_soon(self._flight.txn)
        elif self._answer.done():
            self._settle(self._answer)

    def drain(self, until: float, last_word: tuple[Operation, ...] = ()) -> bool:
        """Wait until everything is stored, with `last_word` in the last transaction; False: not by `until`. Raises
        Lost; LeaseGone, with the last transaction undone, when `last_word` names a lease that is gone; and, with
        `last_word` unsaid, RequestTooLarge and OutputsLost when what waits goes back: `offset` is another then."""
        if not self.settle(until):
            return False
        if last_word or self._dirty:
            self._launch(self._next(last_word))
        return self.settle(until)

    def wait_until_sent(self) -> None:
        """Until what was sent is on its way, whatever holds the interpreter from now on."""
        if self._answer is not None:
            wait_until_sent(self._answer)

    def settle(self, until: float) -> bool:
        """Wait for the transaction in flight, if there is one; False: not by `until` (seconds, the clock)."""
        while self.in_flight:
            left = until - self._clock()
            if left <= 0:
                return False
            self._wait(left)
            self.pump()
        return True

    def _wait(self, seconds: float) -> None:
        if self._answer is not None:
            wait([self._answer], timeout=min(seconds, 0.5))
        else:
            time.sleep(min(seconds, max(0.0, self._again_at - self._clock())))  # the back-off, nothing else

    def _next(self, last_word: tuple[Operation, ...]) -> Flight:
        flight = self._make(self.offset, self._changes, last_word, is_last=bool(last_word))
        self._changes, self._extra, self._dirty = {}, {}, False
        return flight

    def _make(
        self, offset: Offset, changes: Changes, more: tuple[Operation, ...], is_last: bool, prepared: str = ""
    ) -> Flight:
        self._sequence += 1
        deaths = 0 if is_last else 1 if self.offset != self._begun_at else self._deaths + 1
        stored = StoredOffset(offset, self.token, self._sequence, self.topic_id, now(), deaths, prepared, self.reset)
        room = self.limits.size // 4 if self.times.count and not is_last else 0  # the first and the last are urgent
        step = self._log.step(changes, self.limits.direct, room)
        extra = tuple({each.key: each for each in (*self._extra.values(), *more, *step.operations)}.values())
        txn = transactions.commit(self._keys, self._partition, self.revision, stored, step.direct, extra)
        return Flight(txn, stored, changes, self._extra, step)

    def _launch(self, flight: Flight) -> None:
        self._flight, self._unsure, self._delays = flight, False, delays(0.02, 0.5)
        self.times.begin()
        self._answer = self._store.transact_soon(flight.txn)

    def _settle(self, answer: Future[TxnResult]) -> None:
        flight = self._flight
        assert flight is not None
        try:
            result = answer.result()
        except LeaseGone:
            self._changes, self._extra, self._dirty = flight.changes, flight.extra, True
            self._flight = self._answer = None
            raise
        except RequestTooLarge as error:
            self.times.refused += 1
            self._drop(flight, error)
            raise
        except Retry as error:
            self.trouble.failed(error)
            self.times.retries += 1
            self._answer, self._again_at = None, self._clock() + next(self._delays)
            self._unsure = True
            return
        self.trouble.over()
        if result.succeeded:
            self.revision = result.revision
            for operation, found in zip(flight.txn.success, result.answers, strict=True):
                if isinstance(operation, Get):
                    self.on_found(found)
        else:
            with self.times.refused_if_raised():
                self.revision = transactions.revision_of(self._partition, result, flight.offset)
        self.times.end()
        self._log.done(flight.logged)
        self._dirty |= self._log.is_live  # while nothing happens, it is folded
        self._flight = self._answer = None
        self._stored(flight)

    def _stored(self, flight: Flight) -> None:
        self.committed = flight.offset.offset

    def _drop(self, flight: Flight, error: RequestTooLarge) -> None:
        """Back to the last commit, with smaller limits."""
        if self._unsure:
            raise Lost(f"{self._partition}: a commit may have been done before it was refused: {error}") from error
        changes, direct = flight.changes or flight.logged.direct, len(flight.logged.direct)
        if not changes:
            raise Refused(f"{self._partition}: {error}") from error
        place = f"{self._partition} offset {self.committed}"
        self.limits.refused(error, place, self._keys.state(self._partition), changes, direct)
        self.offset, self._changes, self._extra = self.committed, {}, flight.extra | self._extra
        self._dirty = bool(self._extra)
        self._flight = self._answer = None

    def stored_state(self) -> dict[str, bytes]:
        """The state as of `committed`, if the lock is still ours. Raises Retry."""
        return self.beyond(stored_state(self._store, self._keys, self._partition))

    def beyond(self, stored: dict[str, bytes]) -> dict[str, bytes]:
        """The state as of `committed`, from what is stored in etcd."""
        return stored
