"""A worker whose partition has a large state: what it says before it reads it, and who may disturb it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from partition_workers.clock import boottime
from partition_workers.errors import ExitCode, Unavailable
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Page, Put, Txn
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Ending, History, Lock, Size, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.lifecycle import Lifecycle, LifecycleState
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.protocol import (
    BecameReady,
    BecomeOwner,
    GaveUp,
    HandedOver,
    Leave,
    LoadsState,
    Order,
    RenewedLease,
    Report,
    TookLock,
    WorkerSettings,
)
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.worker import Worker
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
LEASE = 4711
KEPT = {f"k{number:03d}": b"%d" % number for number in range(200)}


class Pipe:
    """Says what the test wants it to say; where somebody waits for an order, that is to leave."""

    def __init__(self) -> None:
        self.orphaned = self.told_to_leave = False
        self.orders: list[Callable[[], Order | None]] = []
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def next_order(self, timeout: float | None = None) -> Order | None:
        if self.orders:
            return self.orders.pop(0)()
        return None if timeout == 0 else Leave()


class Stage(FakeEtcd):
    """A partition at offset 1 of three, with a large state. Its owner has died, and our worker is given the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.pipe, self.interrupt, self.lifecycle = Pipe(), InterruptFlag(), Lifecycle(self.show)
        self.me = Standby("me", "here", 1, f"{LEASE:x}", now())
        self.other = Standby("other", "there", 2, f"{self.grant(60).lease:x}", now())
        self.states: list[LifecycleState] = []
        self.pages = self.token = 0
        self.on_page: Callable[[int], None] = lambda _number: None
        self.handled: list[int] = []
        for key, value in KEPT.items():
            self.transact(Txn((), (Put(KEYS.state(P) + key, value),)))
        self.transact(Txn((), (Put(KEYS.size(P), Size(200, 5_000_000, now()).encode()),)))
        self.pipe.orders.append(self.name_it)

    def show(self, state: LifecycleState, _token: int) -> None:
        self.states.append(state)

    def name_it(self) -> Order:
        lock = Lock.naming(self.other, Cause.ACQUIRED)
        first = self.transact(transactions.acquire(KEYS, P, lock)).revision
        stored = StoredOffset(1, first, 1, "topic-id", now())
        self.transact(transactions.commit(KEYS, P, 0, stored, {}))
        named = Lock.naming(self.me, Cause.TAKEN_OVER, now(), 2)
        self.token = self.transact(transactions.take_over(KEYS, P, first, named)).revision
        return BecomeOwner(self.token, boottime() + 5.0, None)

    def page(self, *arguments: Any, **more: Any) -> Page:
        self.pages += 1
        self.on_page(self.pages)
        return super().page(*arguments, **more)

    def live(self) -> ExitCode:
        settings = WorkerSettings(
            P, "me", "here", LEASE, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, "topic-id", None,
            5, 0.1, 60.0, 30.0, 0, "stop", None, 3, 0, 20,
        )  # fmt: skip
        records = [FakeRecord(P, offset, b"x") for offset in range(3)]
        reader = FakeReader(records, P, lambda _seconds: self.leave())
        worker = Worker(
            settings, self.me, self, reader, Handler(self.handle), cast(SupervisorPipe, self.pipe), self.interrupt,
            self.lifecycle, boottime,
        )  # fmt: skip
        return worker.live()

    def leave(self) -> None:
        self.pipe.orders.append(Leave)
        self.interrupt.set()

    def handle(self, record: Any, state: Any) -> None:
        assert state["k199"] == 199, "the state is whole before the first record"
        self.handled.append(record.offset())

    def history(self) -> History | None:
        found = self.get(KEYS.history(P, self.token))
        return History.decode(found.value) if found else None

    def lock(self) -> str | None:
        found = self.get(KEYS.lock(P))
        return Lock.decode(found.value).worker if found else None


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_before_it_reads_the_state_it_says_that_it_is_there(stage: Stage) -> None:
    """To its supervisor, and in etcd, to whoever might become impatient. Then it is an owner like all others."""
    seen: list[object] = []

    def look(number: int) -> None:
        if number == 1:
            seen.extend([stage.pipe.told[-1], stage.history(), stage.get(KEYS.standby(P, "me")), stage.states[-1]])

    stage.on_page = look
    assert stage.live() is ExitCode.OK
    told, begun, standby, state = seen
    assert told == LoadsState(stage.token, 2)
    assert isinstance(begun, History)
    assert (begun.worker, begun.cause, begun.from_offset, begun.until) == ("me", Cause.TAKEN_OVER, 1, None)
    assert standby is None
    assert state is LifecycleState.LOADING
    assert stage.pages > 1
    assert stage.handled == [1, 2]
    reports = [type(each) for each in stage.pipe.told]
    assert reports[:3] == [BecameReady, LoadsState, TookLock]
    closed = stage.history()
    assert closed is not None
    assert (closed.ending, closed.from_offset, closed.to_offset) == (Ending.STOPPED, 1, 3)
    assert closed.gap["lock_taken"] <= closed.gap["state_loaded"] <= closed.gap["first_record"]


@pytest.mark.parametrize("alive", [True, False])
def test_told_to_leave_meanwhile_it_gives_the_lock_away_as_it_is(stage: Stage, alive: bool) -> None:
    """To the first successor that can take it; whoever gets it reads from the same offset."""
    dead = Standby("dead", "there", 3, "dead", now())

    def told(number: int) -> None:
        if number == 2:
            stage.pipe.orders.append(lambda: Leave((dead, stage.other) if alive else (dead,)))

    stage.on_page = told
    assert stage.live() is ExitCode.OK
    assert stage.lifecycle.state is LifecycleState.STOPPED
    assert stage.handled == []
    assert stage.lock() == ("other" if alive else None)
    closed = stage.history()
    assert closed is not None
    assert (closed.ending, closed.to_offset) == (Ending.HANDED_OVER if alive else Ending.STOPPED, 1)
    given = [each for each in stage.pipe.told if isinstance(each, HandedOver)]
    found = stage.get(KEYS.lock(P))
    assert given == ([HandedOver(stage.other, found.mod_revision if found else 0, 1)] if alive else [])


def test_an_order_for_somebody_else_does_not_disturb_it(stage: Stage) -> None:
    """Nor does a TERM, before the supervisor has said who comes next."""
    stage.on_page = lambda number: stage.pipe.orders.append(lambda: None if number == 1 else BecomeOwner(3, 0.0, 1))
    assert stage.live() is ExitCode.OK
    assert stage.handled == [1, 2]


def test_a_lock_that_was_passed_on_before_is_lost(stage: Stage) -> None:
    """It reads nothing, and ends as one that has lost its lock."""
    ask = stage.transact

    def pass_it_on(txn: Txn) -> Any:
        answer = ask(txn)
        if stage.states[-1:] == [LifecycleState.CONFIRMING] and txn.serializable:
            ask(transactions.pass_on(KEYS, P, stage.token, Lock.naming(stage.other, Cause.TAKEN_OVER)))
        return answer

    stage.transact = pass_it_on  # type: ignore[method-assign]
    assert stage.live() is ExitCode.LOCK_LOST
    assert stage.pages == 0
    assert isinstance(stage.pipe.told[-1], GaveUp)
    assert stage.lock() == "other"


@pytest.mark.parametrize("confirming", [True, False], ids=["confirms", "reads"])
def test_its_lease_is_renewed_by_itself_while_it_waits_for_etcd(stage: Stage, confirming: bool) -> None:
    """The deadline that came with the order says nothing any more; it is over before the state is there."""
    over_at = [0.0]
    order = stage.name_it

    def in_a_second() -> Order:
        made = order()
        assert isinstance(made, BecomeOwner)
        over_at[0] = boottime() + 1.0
        return BecomeOwner(made.token, over_at[0], None)

    def wait(_number: int) -> None:
        if boottime() < over_at[0] + 0.2:
            raise Unavailable("silent")

    ask = stage.transact

    def wait_to_confirm(txn: Txn) -> Any:
        if stage.states[-1:] == [LifecycleState.CONFIRMING]:
            wait(0)
        return ask(txn)

    stage.pipe.orders[:] = [in_a_second]
    if confirming:
        stage.transact = wait_to_confirm  # type: ignore[method-assign]
    else:
        stage.on_page = wait
    assert stage.live() is ExitCode.OK
    assert [each.deadline > over_at[0] for each in stage.pipe.told if isinstance(each, RenewedLease)]
    assert stage.handled == [1, 2]
