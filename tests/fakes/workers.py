"""What workers do and say, without a process: they take locks in etcd, hand over, and end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from partition_supervisor.events import (
    ChildExited,
    ChildReported,
    Event,
)
from partition_supervisor.inbox import Inbox
from partition_workers.clock import Clock
from partition_workers.errors import LeaseGone as NoLease
from partition_workers.etcd.store import Operation, Put, Txn
from partition_workers.layout.documents import Cause, History, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import (
    AnsweredPing,
    AnswerPing,
    BecameReady,
    BecomeOwner,
    Compete,
    GaveUp,
    HandedOver,
    Leave,
    LoadsState,
    MissedLock,
    Order,
    Report,
    TookLock,
)
from tests.fakes.children import FakeChild
from tests.fakes.etcd import FakeEtcd

T = TypeVar("T")


class PacedInbox(Inbox):
    """`run` would wait here for ever; the test takes over from it instead. What workers say comes through a pipe."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.paced = True
        self.happened = 0
        self._said: deque[Event] = deque()
        self._there, self._here = os.pipe()
        self.watch(self._there, self._read)

    def hear(self, event: ChildReported | ChildExited) -> None:
        self._said.append(event)
        os.write(self._here, b"!")

    def wait(self, seconds: float | None) -> list[Event]:
        if self.paced:
            self.paced = False
            raise RunIsReady
        events = super().wait(0.0)
        self.happened += len(events)
        return events

    def close(self) -> None:
        super().close()
        os.close(self._there)
        os.close(self._here)

    def _read(self) -> Iterator[Event]:
        os.read(self._there, 65536)
        while self._said:
            yield self._said.popleft()


class RunIsReady(Exception):
    """The supervisor has begun to run."""


class FakeWorkers:
    """What the workers of a `FakeHost` do and say. They obey when they are asked to, unless they are frozen."""

    def __init__(self, store: FakeEtcd, keys: Keys, inbox: PacedInbox) -> None:
        self.store, self.keys, self.inbox = store, keys, inbox
        self.frozen: set[str] = set()
        #: Their states are large: who gets the lock says so, and has read it when the test says so.
        self.with_large_states: set[str] = set()
        self._loading: dict[str, Loaded] = {}
        self._obeyed: dict[str, int] = {}
        self._pinged: dict[str, int] = {}

    def put(self, *operations: Operation) -> int:
        return self.store.transact(Txn((), operations)).revision

    def lock_of(self, partition: Partition) -> tuple[str, int] | None:
        """The worker that has it, and the token."""
        found = self.store.get(self.keys.lock(partition))
        return (Lock.decode(found.value).worker, found.mod_revision) if found else None

    def report(self, child: FakeChild, report: Report) -> None:
        self.inbox.hear(ChildReported(child.worker, report))

    def exit(self, child: FakeChild, code: int = -9, last_word: GaveUp | None = None) -> None:
        if last_word:
            self.report(child, last_word)
        child.exit_code = code
        self.inbox.hear(ChildExited(child.worker))

    def warm_up(self, child: FakeChild) -> None:
        """It becomes a ready standby, as a worker does."""
        settings = child.settings
        me = Standby(child.worker, settings.host, child.pid, f"{settings.lease:x}", now())
        self.store.grant(settings.lease_ttl, settings.lease)
        self.put(Put(self.keys.standby(child.partition, child.worker), me.encode(), settings.lease))
        self._obeyed[child.worker] = len(child.told)
        self.report(child, BecameReady(me))

    def freeze(self, *children: FakeChild) -> None:
        """They do nothing any more, but can be killed."""
        self.frozen |= {child.worker for child in children}

    def answer_pings(self, child: FakeChild) -> None:
        """All that it has not answered yet."""
        pings = child.orders(AnswerPing)
        for ping in pings[self._pinged.get(child.worker, 0) :]:
            self.report(child, AnsweredPing(ping.number))
        self._pinged[child.worker] = len(pings)

    def obey(self, child: FakeChild) -> bool:
        """It carries out what it was told since the last time, as a healthy worker does. False: nothing."""
        if child.exit_code is not None or child.killed:
            if child.exit_code is None:
                self.exit(child, -9)
                return True
            return False
        if child.worker in self.frozen:
            return False
        if child.is_cut_off:
            self._leave(child, ())  # as without a supervisor: it commits, lets go and ends
            return True
        fresh = child.told[self._obeyed.get(child.worker, 0) :]
        if child.worker in self._obeyed:
            self._obeyed[child.worker] = len(child.told)
        elif not any(isinstance(order, Leave) for order in fresh):
            return False
        for order in fresh:
            self._carry_out(child, order)
        self.answer_pings(child)
        return bool(fresh)

    def _carry_out(self, child: FakeChild, order: Order) -> None:
        match order:
            case Compete() | BecomeOwner() if not child.is_owner and child.standby is not None:
                self._take_lock(child, order)
            case Leave(successors):
                self._leave(child, successors)

    def _take_lock(self, child: FakeChild, order: Compete | BecomeOwner) -> None:
        assert child.standby is not None
        lock = PartitionLock(self.store, self.keys, child.partition, child.standby, lambda: False)
        held = self.lock_of(child.partition)
        if held and held[0] == child.worker and self.store.get(self.keys.history(child.partition, held[1])):
            return  # it is the owner already, and had said so
        try:
            loaded = lock.confirm(order.token) if isinstance(order, BecomeOwner) else lock.acquire(order.deaths)
            if loaded and child.worker in self.with_large_states:
                self._begin_to_load(child, loaded)
                return
            if loaded:
                self.enter(child.partition, child.standby, loaded)
        except NoLease as error:
            self.exit(child, 75, GaveUp(75, str(error)))
            return
        self.report(child, TookLock(loaded.token, 0, loaded.lock.deaths) if loaded else MissedLock())

    def is_loading(self, child: FakeChild) -> bool:
        return child.worker in self._loading and child.exit_code is None and not child.killed

    def has_loaded(self, child: FakeChild) -> None:
        """It has read its state, and is the owner; unless somebody took the lock from it."""
        loaded = self._loading.pop(child.worker)
        assert child.standby is not None
        if self.lock_of(child.partition) != (child.worker, loaded.token):
            self.exit(child, 75, GaveUp(75, "another owner"))
            return
        self.enter(child.partition, child.standby, loaded)
        self.report(child, TookLock(loaded.token, 0, loaded.lock.deaths))

    def _begin_to_load(self, child: FakeChild, loaded: Loaded) -> None:
        lock = loaded.lock
        begun = History(loaded.token, lock.worker, lock.host, lock.pid, lock.cause, lock.since)
        self.store.transact(transactions.enter_before_loading(self.keys, child.partition, begun))
        self._loading[child.worker] = loaded
        self.report(child, LoadsState(loaded.token, lock.deaths))

    def enter(self, partition: Partition, me: Standby, loaded: Loaded) -> None:
        """An owner's first commit."""
        begun = History(loaded.token, me.worker, me.host, me.pid, loaded.lock.cause, now())
        extra = transactions.enter(self.keys, partition, begun)
        first = StoredOffset(loaded.offset.offset if loaded.offset else 0, loaded.token, 1, "id", now())
        self.store.transact(transactions.commit(self.keys, partition, loaded.offset_revision, first, {}, extra))

    def _leave(self, child: FakeChild, successors: tuple[Standby, ...]) -> None:
        held = self.lock_of(child.partition)
        if held is None or held[0] != child.worker:
            self.exit(child, 0)
            return
        for successor in successors:
            try:
                lock = Lock.naming(successor, Cause.HANDED_OVER, offset=0)
                revision = self._end(child, held[1], lock)
            except NoLease:
                continue
            self.report(child, HandedOver(successor, revision, 0))
            self.exit(child, 0)
            return
        self._end(child, held[1], None)
        self.exit(child, 0)

    def _end(self, child: FakeChild, token: int, successor: Lock | None) -> int:
        found = self.store.get(self.keys.offset(child.partition))
        last_word = (
            transactions.give_to(self.keys, child.partition, successor)
            if successor
            else transactions.let_go(self.keys, child.partition)
        )
        offset = StoredOffset(0, token, 1, "id", now())
        seen = found.mod_revision if found else 0
        result = self.store.transact(transactions.commit(self.keys, child.partition, seen, offset, {}, last_word))
        assert result.succeeded
        return result.revision
