"""An owner with its commits at one end of a bad line, and an etcd at the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from unittest import mock

from partition_workers import commits as commits_module
from partition_workers.commits import Commits
from partition_workers.errors import LeaseGone, Refused, Unavailable
from partition_workers.etcd.store import KeyValue, Operation, Put, Txn, TxnResult
from partition_workers.layout.documents import Cause, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
FATES = ["answered", "lost before", "lost after", "late copy"]


class Wire(FakeEtcd):
    """An etcd at the far end of a bad line. Requests wait until they are delivered, and each has a fate:

    answered; lost before it got there; done, and its answer lost; or reported as lost, and done much later.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.waiting: deque[tuple[Txn, Future[TxnResult]]] = deque()
        self.late: deque[Txn] = deque()
        self.fates: deque[str] = deque()
        self.auto = False
        self.landed: list[StoredOffset] = []

    def transact(self, txn: Txn) -> TxnResult:
        result = super().transact(txn)
        if result.succeeded:
            self.landed += [
                StoredOffset.decode(each.value)
                for each in txn.success
                if isinstance(each, Put) and each.key == KEYS.offset(P)
            ]
        return result

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()
        self.waiting.append((txn, promise))
        if self.auto:
            self.deliver(self.fates.popleft() if self.fates else "answered")
        return promise

    def deliver(self, fate: str) -> None:
        if not self.waiting:
            return
        txn, promise = self.waiting.popleft()
        if fate == "lost before":
            promise.set_exception(Unavailable("lost before"))
        elif fate == "late copy":
            self.late.append(txn)
            promise.set_exception(Unavailable("it is late"))
        else:
            try:
                result = self.transact(txn)
            except (LeaseGone, Refused) as error:
                promise.set_exception(error)
                return
            if fate == "lost after":
                promise.set_exception(Unavailable("lost after"))
            else:
                promise.set_result(result)

    def land(self) -> None:
        """The oldest late copy arrives."""
        if self.late:
            self.transact(self.late.popleft())


class Stage:
    """An owner, `me`, with its commits on such a line, and what the store holds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Wire(self.clock)
        self.me = self.standby("me")
        lock = Lock.naming(self.me, Cause.ACQUIRED)
        self.token = self.store.transact(transactions.acquire(KEYS, P, lock)).revision
        self.commits = self.commits_under(self.token, 0, 0)

    def commits_under(self, token: int, offset: int, seen: int) -> Commits:
        return Commits(self.store, KEYS, P, token, "topic-id", offset, seen, self.clock)

    def standby(self, name: str) -> Standby:
        return Standby(name, f"host-of-{name}", 1, f"{self.store.grant(3600).lease:x}", now())

    def offset(self) -> StoredOffset | None:
        found = self.store.get(KEYS.offset(P))
        return StoredOffset.decode(found.value) if found else None

    def state(self) -> dict[str, bytes]:
        prefix = KEYS.state(P)
        return {each.key.removeprefix(prefix): each.value for each in self.store.list(prefix).items}

    def lock(self) -> KeyValue | None:
        return self.store.get(KEYS.lock(P))

    def owner(self) -> str | None:
        held = self.lock()
        return Lock.decode(held.value).worker if held else None

    def give_to(self, successor: Standby) -> tuple[Operation, ...]:
        return transactions.give_to(KEYS, P, Lock.naming(successor, Cause.HANDED_OVER))

    def until(self) -> float:
        return self.clock() + 1000.0


@contextmanager
def time_flies(clock: FakeClock) -> Iterator[None]:
    """Whoever sleeps moves the clock instead."""
    with mock.patch.object(
        commits_module, "time", mock.Mock(sleep=lambda seconds: clock.advance(max(seconds, 0.001)))
    ):
        yield
