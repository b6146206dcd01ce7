"""A worker that never owns anything: ready, told to leave, gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, cast

import pytest

from partition_workers.clock import boottime
from partition_workers.errors import ExitCode, Unavailable
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Compare, Grant, Page, Put, Target, Txn, TxnResult
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.lifecycle import Lifecycle, LifecycleState
from partition_workers.model import Partition
from partition_workers.ownership.lock import NEVER
from partition_workers.protocol import (
    BecameReady,
    BecomeOwner,
    Compete,
    Leave,
    MissedLock,
    Order,
    Report,
    WasParked,
    WorkerSettings,
)
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.worker import Worker
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
LEASE = 4711


class Away(FakeEtcd):
    """Does not grant a lease before it was asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def grant(self, ttl: int, lease: int = 0) -> Grant:
        self._times -= 1
        if self._times >= 0:
            raise Unavailable("nobody answers")
        return super().grant(ttl, lease)


class Heard(FakeEtcd):
    """Notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Txn] = []
        self.revision_when_ready = 0

    def transact(self, txn: Txn) -> TxnResult:
        self.heard.append(txn)
        result = super().transact(txn)
        self.revision_when_ready = self.revision_when_ready or result.revision
        return result


def shape(txn: Txn) -> tuple[object, ...]:
    """Without what the keys are compared with and the values that are put."""
    token = re.compile(r"-?\d+$")
    return (
        [(each.key, each.target) for each in txn.compare],
        [(type(each), token.sub("", each.key)) for each in (*txn.success, *txn.failure)],
    )


class Unhurried(InterruptFlag):
    """Notes how long it should wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


class FakeSupervisorPipe:
    """To a supervisor that wants it to leave, once it has given these orders, or is gone."""

    def __init__(self, orphaned: bool, *orders: Order | None) -> None:
        self.orphaned = self.told_to_leave = orphaned
        self.told: list[Report] = []
        self._orders: Iterator[Order | None] = iter(orders)

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def next_order(self, timeout: float | None = None) -> Order | None:
        return next(self._orders, Leave())


class NamedLater(FakeSupervisorPipe):
    """To a supervisor that wants nothing at first; then the worker is named in the lock, and to leave."""

    def __init__(self, etcd: FakeEtcd, me: Standby, interrupt: InterruptFlag) -> None:
        super().__init__(False)
        self._orders = chain([None], self._name(etcd, me, interrupt))

    @staticmethod
    def _name(etcd: FakeEtcd, me: Standby, interrupt: InterruptFlag) -> Iterator[Order]:
        put = Put(KEYS.lock(P), Lock.naming(me, Cause.TAKEN_OVER).encode(), LEASE)
        offset = Put(KEYS.offset(P), StoredOffset(0, 1, 1, "topic-id", now()).encode())
        token = etcd.transact(Txn((), (put, offset))).revision
        interrupt.set()
        yield BecomeOwner(token, boottime() + 5, 0)


class WatchedReader(FakeReader):
    """Notes where it is assigned, and where it was while etcd was asked."""

    def __init__(self, etcd: FakeEtcd) -> None:
        super().__init__([], P, lambda _seconds: None)
        self.seen: list[int | None] = []
        self._transact, etcd.transact = etcd.transact, self._watched  # type: ignore[method-assign]
        self._page, etcd.page = etcd.page, self._watched_page  # type: ignore[method-assign, assignment]

    def _watched(self, txn: Txn) -> TxnResult:
        self.seen.append(self.assigned)
        return self._transact(txn)

    def _watched_page(self, *asked: Any) -> Page:
        self.seen.append(self.assigned)
        return self._page(*asked)


def page_and_leave(page: Callable[..., Page], interrupt: InterruptFlag, *asked: Any) -> Page:
    interrupt.set()
    return page(*asked)


def worker(
    me: Standby,
    etcd: FakeEtcd,
    line: FakeSupervisorPipe,
    interrupt: InterruptFlag,
    lifecycle: Lifecycle,
    reader: FakeReader | None = None,
) -> Worker:
    settings = WorkerSettings(
        P, me.worker, me.host, LEASE, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, "topic-id", None,
        5, 0.1, 60.0, 30.0, 0, "stop", None, 3, 0, 20,
    )  # fmt: skip
    reader = reader or FakeReader([], P, lambda _seconds: None)
    return Worker(
        settings, me, etcd, reader, Handler(print), cast(SupervisorPipe, line), interrupt, lifecycle, boottime
    )


class SlowReader(FakeReader):
    """Gets ready when the lease that was granted before has ended, or nearly so."""

    def __init__(self, etcd: FakeEtcd, ended: bool, clock: FakeClock) -> None:
        super().__init__([], P, lambda _seconds: None)
        self._etcd, self._ended, self._clock = etcd, ended, clock

    def warm_up(self, timeout: float) -> tuple[int, int]:
        eventually("the lease is granted", lambda: self._etcd.time_to_live(LEASE).left)
        if self._ended:
            self._etcd.expire(LEASE)
        else:
            self._clock.advance(4.0)
        return super().warm_up(timeout)


@pytest.mark.parametrize("ended", [True, False])
def test_a_lease_that_grew_old_while_it_got_ready_is_granted_anew(ended: bool) -> None:
    """Nobody had renewed it. It begins as a standby with the whole of its time."""
    clock = FakeClock()
    etcd, line = FakeEtcd(clock), FakeSupervisorPipe(False)
    me = Standby("me", "here", 1, f"{LEASE:x}", now())
    it = worker(me, etcd, line, Unhurried(), Lifecycle(), SlowReader(etcd, ended, clock))
    it._clock = clock
    it._granted_at = clock()

    assert it.live() is ExitCode.OK

    assert line.told == [BecameReady(me)]
    assert etcd.time_to_live(LEASE).left == 5
    found = etcd.get(KEYS.standby(P, me.worker))
    assert found is not None
    assert found.lease == LEASE


@pytest.mark.parametrize("key", [KEYS.offset(P), KEYS.attempt(P)])
def test_a_partition_with_a_value_that_is_none_of_ours_is_parked(key: str) -> None:
    """Once: no worker after the other dies of it."""
    etcd, me = FakeEtcd(), Standby("me", "here", 1, f"{LEASE:x}", now())
    etcd.transact(Txn((), (Put(key, b'{"offset":"3"}'),)))
    line, lifecycle = FakeSupervisorPipe(False, Compete(0.0, boottime() + 5, 0), None), Lifecycle()

    assert worker(me, etcd, line, InterruptFlag(), lifecycle).live() is ExitCode.HANDLER_GAVE_UP

    assert isinstance(line.told[-1], WasParked)
    assert lifecycle.state is LifecycleState.PARKED
    assert etcd.get(KEYS.lock(P)) is None
    parked = etcd.get(KEYS.parked(P))
    assert parked is not None
    assert "offset cannot be '3'" in Parked.decode(parked.value).reason


@pytest.mark.parametrize("orphaned", [True, False])
def test_a_standby_that_ends_is_a_standby_no_more(orphaned: bool) -> None:
    """Its supervisor ends its lease once it has seen it go; without one it does so itself."""
    etcd, line, lifecycle = FakeEtcd(), FakeSupervisorPipe(orphaned), Lifecycle()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())

    assert worker(me, etcd, line, InterruptFlag(), lifecycle).live() is ExitCode.OK

    assert line.told == [BecameReady(me)]
    assert lifecycle.state is LifecycleState.STOPPED
    assert (etcd.get(KEYS.standby(P, me.worker)) is None) == orphaned
    assert (etcd.renew(LEASE).ttl == 0) == orphaned


@pytest.mark.parametrize(("unanswered", "tries"), [(None, 2), (1, 1), (2, 3)])
def test_a_standby_that_nobody_wants_rehearses_once(unanswered: int | None, tries: int) -> None:
    """Up to a commit under a token that cannot be: nothing is written, nothing said, whatever etcd answers."""
    etcd, line, lifecycle = Heard(), FakeSupervisorPipe(False, None, None), Lifecycle()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())
    if unanswered is not None:
        etcd.fail_next(Unavailable("nobody answers"), applied=False, after=unanswered)  # 0: that it is ready

    assert worker(me, etcd, line, InterruptFlag(), lifecycle).live() is ExitCode.OK

    tried = [txn for txn in etcd.heard if Compare(KEYS.lock(P), Target.MOD_REVISION, NEVER) in txn.compare]
    assert len(tried) == tries
    assert etcd.revision == etcd.revision_when_ready
    assert line.told == [BecameReady(me)]
    assert lifecycle.state is LifecycleState.STOPPED


def test_what_was_rehearsed_is_what_an_owner_does() -> None:
    """The shape of both is the same: what etcd is asked, in the same order, but for the token."""
    etcd, interrupt = Heard(), InterruptFlag()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())

    worker(me, etcd, NamedLater(etcd, me, interrupt), interrupt, Lifecycle()).live()

    confirmed, entered, *own = [txn for txn in etcd.heard if txn.compare]
    assert [shape(txn) for txn in own[:2]] == [shape(confirmed), shape(entered)]


class HurriedPipe(FakeSupervisorPipe):
    """The order to leave comes while the one before it is taken out of the queue, and raises the flag."""

    def __init__(self, interrupt: InterruptFlag, *orders: Order) -> None:
        super().__init__(False, *orders)
        self._interrupt = interrupt

    def next_order(self, timeout: float | None = None) -> Order | None:
        self._interrupt.set()
        return super().next_order(timeout)


class ShortOfPatience(FakeReader):
    """Fails when an owner goes on reading that was told to leave."""

    def read(self, timeout: float) -> list[FakeRecord]:  # type: ignore[override]
        self.reads = getattr(self, "reads", 0) + 1
        assert self.reads < 10, "the order to leave was not seen"
        return super().read(timeout)


def test_an_order_right_behind_another_is_seen() -> None:
    """Named, and told to leave in the same moment, as happens when two hosts stop together."""
    etcd, me, interrupt = FakeEtcd(), Standby("me", "here", 1, f"{LEASE:x}", now()), InterruptFlag()
    named = Put(KEYS.lock(P), Lock.naming(me, Cause.HANDED_OVER).encode())
    token = etcd.transact(Txn((), (named,))).revision
    line = HurriedPipe(interrupt, BecomeOwner(token, boottime() + 60.0, None))
    reader = ShortOfPatience([], P, lambda _seconds: None)

    assert worker(me, etcd, line, interrupt, Lifecycle(), reader).live() is ExitCode.OK

    assert etcd.get(KEYS.lock(P)) is None


def test_it_tries_to_get_ready_ever_more_rarely() -> None:
    """A crowd of workers would starve an etcd that is slow already; but none gives up."""
    line, interrupt = FakeSupervisorPipe(False), Unhurried()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())

    assert worker(me, Away(6), line, interrupt, Lifecycle()).live() is ExitCode.OK

    assert line.told == [BecameReady(me)]
    assert interrupt.waited == pytest.approx([0.5, 1.0, 2.0, 3.0, 3.0, 3.0], rel=0.2)


def test_kafka_is_asked_while_etcd_is_and_forgotten_when_the_lock_is_not_ours() -> None:
    """Named, and by the time it asks somebody else is: it is a warm standby as before, with nothing assigned."""
    etcd, line, lifecycle = FakeEtcd(), FakeSupervisorPipe(False, BecomeOwner(99, boottime() + 5.0, 17)), Lifecycle()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())
    reader = WatchedReader(etcd)

    assert worker(me, etcd, line, InterruptFlag(), lifecycle, reader).live() is ExitCode.OK

    assert line.told == [BecameReady(me), MissedLock()]
    assert reader.seen[-1] == 17
    assert reader.assigned is None


def test_kafka_is_asked_while_the_state_is_read_of_a_lock_that_was_free() -> None:
    etcd, line, interrupt = (
        FakeEtcd(),
        FakeSupervisorPipe(False, Compete(0.0, boottime() + 5, 0), None),
        InterruptFlag(),
    )
    me = Standby("me", "here", 1, f"{LEASE:x}", now())
    etcd.transact(Txn((), (Put(KEYS.offset(P), StoredOffset(17, 1, 1, "topic-id", now()).encode()),)))
    reader = WatchedReader(etcd)
    etcd.page = partial(page_and_leave, etcd.page, interrupt)  # type: ignore[method-assign]

    assert worker(me, etcd, line, interrupt, Lifecycle(), reader).live() is ExitCode.OK

    assert reader.seen[:3] == [None, None, 17]  # ready, the lock, the state
