"""One ownership from beginning to end: where it starts, what makes it doubt, and to whom it leaves the partition."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast
from unittest import mock

import pytest

from partition_workers import commits as commits_module
from partition_workers.errors import ExitCode, Lost
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Ending, History, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent, LifecycleState
from partition_workers.model import Partition
from partition_workers.owner import Owner
from partition_workers.ownership import transactions
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import (
    HandedOver,
    Leave,
    Order,
    Report,
    Resumed,
    Suspended,
    TookLock,
    WasParked,
    WorkerSettings,
)
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
TOPIC_ID = "topic-id"
#: Seconds between two commits: none is due by itself.
INTERVAL = 3600.0


class FakeSupervisorPipe:
    """Orders that wait, reports that were made."""

    def __init__(self) -> None:
        self.orphaned = self.told_to_leave = False
        self.orders: list[Order] = []
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def next_order(self, timeout: float | None = None) -> Order | None:
        return self.orders.pop(0) if self.orders else None


class FakeLease:
    def __init__(self) -> None:
        self.gone = self.late = self.started = False
        self.place: Callable[[], object] | None = None

    def start(self) -> None:
        self.started = True

    def is_over(self) -> bool:
        return self.gone

    def watch_over(self, place: Callable[[], object]) -> None:
        self.place = place


class Stage:
    """A partition of ten records, and one worker that gets its lock. It is told to leave when it has read them.

    The first record comes alone, and its commit goes at once; what follows waits for the last one.
    """

    def __init__(self, records: int = 10, up_for: float = 10 * INTERVAL) -> None:
        self.store, self.interrupt = FakeEtcd(), InterruptFlag()
        self.clock = FakeClock(up_for)
        self.line, self.lease = FakeSupervisorPipe(), FakeLease()
        self.handled: list[int] = []
        self.on_record: Callable[[int], None] = lambda _offset: None
        self.when_idle: Callable[[], None] = lambda: self.tell(Leave(tuple(self.successors)))
        self.successors: Sequence[Standby] = ()
        self.records = [FakeRecord(P, offset, b"x") for offset in range(records)]
        self.lifecycle = Lifecycle()

    def standby(self, name: str) -> Standby:
        return Standby(name, f"host-of-{name}", 1, f"{self.store.grant(3600).lease:x}", now())

    def tell(self, order: Order) -> None:
        self.line.orders.append(order)
        self.interrupt.set()

    def handle(self, record: Any, state: Any) -> None:
        assert self.lease.started, "a record was handled under a lease that nobody renews"
        self.handled.append(record.offset())
        state["sum"] = state.get("sum", 0) * 3 + record.offset()
        self.on_record(record.offset())

    def acquire(self, me: Standby | None = None) -> transactions.Loaded:
        me = me or self.standby("me")
        loaded = PartitionLock(self.store, KEYS, P, me, lambda: False).acquire()
        assert loaded is not None
        return loaded

    def owner(self, handler: Any = None, topic_id: str = TOPIC_ID) -> Owner:
        me = self.standby("me")
        loaded = self.acquire(me)
        self.token = loaded.token
        settings = WorkerSettings(
            P, me.worker, me.host, me.lease_id, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, topic_id,
            "earliest", 5, INTERVAL, 60.0, 0, "stop", None, 3, 0, 20,
        )  # fmt: skip
        self.lifecycle.advance(LifecycleEvent.WARMED_UP)
        self.lifecycle.advance(LifecycleEvent.LOCK_OFFERED)
        reader = FakeReader(self.records, P, lambda _seconds: self.when_idle(), sizes=(1,))
        return Owner(
            settings, me, loaded, now(), self.store, reader, Handler(handler or self.handle),
            cast(LeaseWatchdog, self.lease), cast(SupervisorPipe, self.line), self.interrupt, self.lifecycle,
            self.clock,
        )  # fmt: skip

    def a_predecessor(self, offset: int, state: Any, topic_id: str = TOPIC_ID) -> int:
        """Somebody who committed so far, and died. Its token."""
        loaded = self.acquire(self.standby("predecessor"))
        stored = StoredOffset(offset, loaded.token, 1, topic_id, now())
        began = History(loaded.token, "predecessor", "there", 1, Cause.ACQUIRED, now(), 0)
        extra = (Put(KEYS.history(P, loaded.token), began.encode()),)
        changes = {name: json.dumps(value).encode() for name, value in state.items()}
        self.store.transact(transactions.commit(KEYS, P, 0, stored, changes, extra))
        self.store.transact(Txn((), (Delete(KEYS.lock(P)),)))
        return loaded.token

    def report(self, kind: type) -> Any:
        (found,) = (each for each in self.line.told if isinstance(each, kind))
        return found

    @property
    def lock(self) -> tuple[Lock, int, int] | None:
        """Whose it is, under which token and which lease."""
        found = self.store.get(KEYS.lock(P))
        return (Lock.decode(found.value), found.mod_revision, found.lease) if found else None

    @property
    def offset(self) -> tuple[int, int]:
        """The stored offset, and the revision at which it was written."""
        found = self.store.get(KEYS.offset(P))
        return (StoredOffset.decode(found.value).offset, found.mod_revision) if found else (0, 0)

    @property
    def sum(self) -> int:
        found = self.store.get(KEYS.state(P) + "sum")
        return cast(int, json.loads(found.value)) if found else 0

    @property
    def history(self) -> list[History]:
        return [History.decode(each.value) for each in self.store.list(KEYS.histories(P)).items]

    @property
    def parked(self) -> Parked | None:
        found = self.store.get(KEYS.parked(P))
        return Parked.decode(found.value) if found else None


def fold(records: range, begin: int = 0) -> int:
    total = begin
    for number in records:
        total = total * 3 + number
    return total


# --- the beginning


def test_it_goes_on_at_exactly_the_next_record_with_the_stored_state() -> None:
    """And says so to its supervisor, and in the history."""
    stage = Stage()
    stage.a_predecessor(4, {"sum": 7})

    assert stage.owner().work() is ExitCode.OK

    assert stage.handled == list(range(4, 10))
    assert stage.sum == fold(range(4, 10), begin=7)
    assert stage.report(TookLock).offset == 4
    assert stage.history[-1].from_offset == 4


def test_who_died_before_it_is_told_in_the_history() -> None:
    """Its own record could not be closed by itself."""
    stage = Stage()
    stage.a_predecessor(4, {})

    stage.owner().work()

    before, own = stage.history
    assert (before.ending, before.to_offset) == (Ending.DIED, 4)
    assert (own.ending, own.from_offset, own.to_offset) == (Ending.STOPPED, 4, 10)
    assert {"lock_taken", "state_loaded", "first_record"} <= own.gap.keys()


def test_a_store_that_went_back_in_time_parks_the_partition() -> None:
    """A stored token that is not smaller than ours: nothing is handled, and a person has to look."""
    stage = Stage()
    stage.a_predecessor(4, {})
    ahead = StoredOffset(6, stage.store.revision + 100, 1, TOPIC_ID, now())
    stage.store.transact(Txn((), (Put(KEYS.offset(P), ahead.encode()),)))

    assert stage.owner().work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == []
    assert stage.parked is not None
    assert "restored from an old copy" in stage.parked.reason
    assert stage.lock is None


def test_a_topic_that_was_created_anew_parks_the_partition() -> None:
    """Its old offset means nothing, and nothing is skipped silently."""
    stage = Stage()
    stage.a_predecessor(4, {}, topic_id="the old one")

    assert stage.owner().work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == []
    assert stage.parked is not None
    assert "offsets reset" in stage.parked.reason
    assert stage.report(WasParked).offset == 4


def test_a_handler_that_cannot_be_opened_parks_the_partition() -> None:
    """With its error; no record was touched."""

    class Closed:
        def open(self, _context: Any) -> None:
            raise ConnectionError("no database")

        def handle(self, _record: Any, _state: Any) -> None:
            raise AssertionError

    stage = Stage()
    assert stage.owner(Closed).work() is ExitCode.HANDLER_GAVE_UP
    assert stage.parked is not None
    assert "no database" in stage.parked.reason


def test_whoever_named_it_hears_of_it_before_the_first_record_is_handled() -> None:
    """Impatience names another after half a second, and the first record may take a minute."""
    stage = Stage()
    entered = []
    stage.on_record = lambda _offset: entered.append(len(stage.history))
    stage.owner().work()
    assert entered[0] == 1


def test_whoever_named_it_hears_of_it_before_the_handler_is_opened() -> None:
    """That may take a minute too."""
    stage = Stage()
    seen = []

    class Slow:
        def open(self, _context: Any) -> None:
            seen.append((len(stage.history), stage.lease.started))

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    stage.owner(Slow).work()
    assert seen == [(1, True)]


def test_its_place_is_watched_from_the_first_record_on() -> None:
    """A handler that hangs at the first record is a handler that hangs."""
    stage = Stage()
    watched = []
    stage.on_record = lambda _offset: watched.append(stage.lease.place)
    stage.owner().work()
    assert all(watched)
    assert len(watched) == 10


# --- the end


def test_the_last_commit_gives_the_lock_to_the_successor_and_its_lease() -> None:
    """At one revision: no record between the two, and no instant without an owner."""
    stage = Stage()
    stage.successors = [successor] = [stage.standby("heir")]

    assert stage.owner().work() is ExitCode.OK

    assert stage.lock is not None
    lock, token, lease = stage.lock
    assert (lock.worker, lock.cause, lock.offset, lease) == ("heir", Cause.HANDED_OVER, 10, successor.lease_id)
    assert stage.offset == (10, token)
    assert stage.sum == fold(range(10))
    assert stage.report(HandedOver) == HandedOver(successor, token, 10)
    assert (stage.history[-1].ending, stage.history[-1].to_offset) == (Ending.HANDED_OVER, 10)
    assert stage.lifecycle.state is LifecycleState.STOPPED


@pytest.mark.parametrize("up_for", [1.0, 10 * INTERVAL], ids=["machine just started", "machine up for long"])
def test_what_was_handled_but_not_committed_goes_with_the_hand_over(up_for: float) -> None:
    """Told to leave in the middle of a list: the rest is the successor's, and nothing is between the two: what was
    not committed yet goes in the very transaction that names the successor."""
    stage = Stage(up_for=up_for)
    stage.successors = [stage.standby("heir")]
    stage.on_record = lambda offset: stage.tell(Leave(tuple(stage.successors))) if offset == 6 else None

    stage.owner().work()

    assert stage.handled == list(range(7))
    assert stage.lock is not None
    assert stage.offset == (7, stage.lock[1])
    stored = stage.store.get(KEYS.offset(P))
    assert stored is not None
    assert StoredOffset.decode(stored.value).sequence == 3  # after the entrance, and that of the first record
    assert stage.sum == fold(range(7))


@pytest.mark.parametrize("gone", [1, 2])
def test_a_successor_whose_lease_is_gone_is_passed_over(gone: int) -> None:
    """For the next; and what the refused transaction carried is in the one that lands."""
    stage = Stage()
    stage.successors = [stage.standby(name) for name in ("first", "second", "third")]
    for each in stage.successors[:gone]:
        stage.store.revoke(each.lease_id)

    stage.owner().work()

    assert stage.lock is not None
    assert stage.lock[0].worker == stage.successors[gone].worker
    assert stage.offset == (10, stage.lock[1])
    assert stage.sum == fold(range(10))
    assert stage.report(HandedOver).successor == stage.successors[gone]


@pytest.mark.parametrize("named", [0, 2])
def test_without_a_living_successor_the_lock_is_free_and_everything_stored(named: int) -> None:
    """Nobody was named, or all whom it could have named are gone."""
    stage = Stage()
    stage.successors = [stage.standby(str(number)) for number in range(named)]
    for each in stage.successors:
        stage.store.revoke(each.lease_id)

    assert stage.owner().work() is ExitCode.OK

    assert stage.lock is None
    assert (stage.offset[0], stage.sum) == (10, fold(range(10)))
    assert stage.history[-1].ending == Ending.STOPPED
    assert not [each for each in stage.line.told if isinstance(each, HandedOver)]


@pytest.mark.parametrize("landed", [True, False])
def test_a_hand_over_whose_answer_was_lost_is_asked_again(landed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it had landed or not, the successor is told the token that it has."""
    stage = Stage()
    monkeypatch.setattr(
        commits_module, "time", mock.Mock(sleep=lambda seconds: stage.clock.advance(max(seconds, 0.001)))
    )
    stage.successors = [successor] = [stage.standby("heir")]

    def lose_the_answer() -> None:
        stage.store.fail_next(applied=landed)
        stage.tell(Leave((successor,)))

    stage.on_record = lambda offset: lose_the_answer() if offset == 9 else None
    assert stage.owner().work() is ExitCode.OK

    assert stage.lock is not None
    assert stage.report(HandedOver) == HandedOver(successor, stage.lock[1], 10)
    assert stage.offset == (10, stage.lock[1])
    assert stage.sum == fold(range(10))


def test_an_owner_whose_lock_was_taken_meanwhile_hands_nothing_over() -> None:
    """Whoever took it goes on; the last commit is refused, and nobody else is named."""
    stage = Stage()
    stage.successors = [stage.standby("heir")]
    other = stage.standby("other")

    def rob(offset: int) -> None:
        if offset == 8:
            taken = Lock.naming(other, Cause.TAKEN_OVER)
            stage.store.transact(Txn((), (Put(KEYS.lock(P), taken.encode(), other.lease_id),)))

    stage.on_record = rob
    with pytest.raises(Lost):
        stage.owner().work()

    assert stage.lock is not None
    assert stage.lock[0].worker == "other"
    assert stage.offset[0] < 9
    assert not [each for each in stage.line.told if isinstance(each, HandedOver)]


# --- doubt


def test_while_it_is_late_with_its_lease_it_starts_no_record() -> None:
    """It goes on when the lease is good again and etcd has said that the lock is its own."""
    stage = Stage()

    def be_late(offset: int) -> None:
        if offset == 3:
            stage.lease.late = True
            stage.interrupt.set()

    def hear(report: Report) -> None:
        if isinstance(report, Suspended):
            assert stage.handled == [0, 1, 2, 3]
            stage.lease.late = False
        FakeSupervisorPipe.tell(stage.line, report)

    stage.on_record = be_late
    stage.line.tell = hear  # type: ignore[method-assign]
    assert stage.owner().work() is ExitCode.OK

    assert stage.report(Suspended)
    assert stage.report(Resumed)
    assert stage.handled == list(range(10))


def test_after_it_was_late_a_lock_that_went_elsewhere_ends_it() -> None:
    """Before another record is handled."""
    stage = Stage()

    def be_late(offset: int) -> None:
        if offset == 3:
            stage.lease.late = True
            stage.interrupt.set()

    def hear(report: Report) -> None:
        if isinstance(report, Suspended):
            stage.store.transact(Txn((), (Delete(KEYS.lock(P)),)))
            stage.lease.late = False
        FakeSupervisorPipe.tell(stage.line, report)

    stage.on_record = be_late
    stage.line.tell = hear  # type: ignore[method-assign]
    with pytest.raises(Lost):
        stage.owner().work()
    assert stage.handled == [0, 1, 2, 3]


def test_a_lease_that_is_gone_ends_it_at_once() -> None:
    """Its lock went with it."""
    stage = Stage()

    def lose(offset: int) -> None:
        if offset == 3:
            stage.lease.gone = True
            stage.interrupt.set()

    stage.on_record = lose
    with pytest.raises(Lost):
        stage.owner().work()
    assert stage.handled == [0, 1, 2, 3]
