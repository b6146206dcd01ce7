"""Going on after a death: what is in etcd at the moment at which the next record may kill again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from partition_workers.clock import boottime
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, PartitionSupervisorError
from partition_workers.etcd.store import Txn, TxnResult
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Attempt, Cause, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.poison import CAREFUL_FOR, SHORT_LIST, WATCHFUL_FOR, PoisonGuard
from partition_workers.record_loop import RecordLoop
from partition_workers.state.mapping import State
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)


class LateEtcd(FakeEtcd):
    """A transaction that nobody waits for is done a moment later, as over a network."""

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()

        def do() -> None:
            try:
                promise.set_result(self.transact(txn))
            except PartitionSupervisorError as error:
                promise.set_exception(error)

        threading.Timer(0.003, do).start()
        return promise


class Stage:
    """The successor of a dead owner, from offset 0. Before each record it is noted what etcd has."""

    def __init__(
        self, records: int, deaths: int, attempt: Attempt | None = None, max_deaths: int = 3, on_error: str = "stop"
    ) -> None:
        self.store = LateEtcd()
        me = Standby("me", "here", 1, f"{self.store.grant(3600).lease:x}", now())
        lock = Lock.naming(me, Cause.TAKEN_OVER)
        token = self.store.transact(transactions.acquire(KEYS, P, lock)).revision
        reader = FakeReader([FakeRecord(P, offset, b"x") for offset in range(records)], P, lambda _seconds: None)
        reader.assign(0)
        self.end = records
        self.commits = Commits(self.store, KEYS, P, token, "topic-id", 0, 0, boottime)
        handler = Handler(self.handle)
        handler.open(Context(P, token, "here", lambda: None, lambda: False))
        self.loop = RecordLoop(
            reader, handler, State(), self.commits, InterruptFlag(), 0, 3600.0, 0,
            ErrorPolicy(on_error, None, {}), PoisonGuard(0, deaths, attempt, max_deaths), KEYS.attempt(P), "here",
            boottime,
        )  # fmt: skip
        self.seen: dict[int, tuple[int, Attempt | None]] = {}

    def handle(self, record: Any, _state: Any) -> None:
        self.seen[record.offset()] = self.offset, self.attempt

    def run(self) -> None:
        until = boottime() + 30.0
        while self.loop.offset < self.end:
            self.loop.turn()
            assert boottime() < until
        self.loop.finish()
        self.commits.send()
        assert self.commits.drain(until)

    @property
    def offset(self) -> int:
        found = self.store.get(KEYS.offset(P))
        return StoredOffset.decode(found.value).offset if found else 0

    @property
    def attempt(self) -> Attempt | None:
        found = self.store.get(KEYS.attempt(P))
        return Attempt.decode(found.value) if found else None


def test_after_one_death_no_more_than_a_short_list_is_uncommitted() -> None:
    """So that the next death is known to within a list; and no attempts are written for that."""
    stage = Stage(5 * SHORT_LIST, deaths=1)
    stage.run()
    assert all(at - offset < SHORT_LIST for at, (offset, _) in stage.seen.items())
    assert not any(attempt for _, attempt in stage.seen.values())


def test_after_two_deaths_each_record_has_its_attempt_in_etcd_and_all_before_it_committed() -> None:
    """Whenever it dies now, it is known at which record."""
    stage = Stage(10, deaths=2)
    stage.run()
    assert stage.seen == {at: (at, Attempt(at, 0, ["here"])) for at in range(10)}
    assert stage.offset == 10


def test_without_a_death_nobody_waits_for_a_commit() -> None:
    """Care is for those who come after the dead."""
    stage = Stage(100, deaths=0)
    stage.run()
    assert stage.commits.times.count <= 2
    assert not any(attempt for _, attempt in stage.seen.values())


def test_an_attempt_that_is_still_there_was_a_death_at_that_record() -> None:
    """It is counted, with the hosts, when the record is tried again; the others begin at none."""
    stage = Stage(6, deaths=1, attempt=Attempt(4, 1, ["there", "here"]))
    stage.run()
    assert stage.seen[4] == (4, Attempt(4, 2, ["there", "here", "here"]))
    assert stage.seen[5] == (5, Attempt(5, 0, ["here"]))


def test_an_attempt_before_the_stored_offset_was_survived() -> None:
    """It counts for nothing."""
    care = PoisonGuard(5, 0, Attempt(4, 2, ["there"]), max_deaths=1)
    assert care.list_size(5) is None
    assert not care.is_poison(4)


@pytest.mark.parametrize("deaths", [2, 3])
def test_the_record_that_killed_enough_is_not_tried_again(deaths: int) -> None:
    """`stop`: it ends there, with everything before it committed."""
    stage = Stage(8, deaths=1, attempt=Attempt(4, deaths, ["there"] * deaths), max_deaths=3)
    with pytest.raises(HandlerFailed, match=f"it has killed {deaths + 1} workers, on there"):
        stage.run()
    assert sorted(stage.seen) == [0, 1, 2, 3]
    assert stage.commits.drain(boottime() + 10.0)
    assert stage.offset == 4


def test_the_record_that_killed_enough_is_passed_over() -> None:
    """`skip`: all others are handled, and it is committed that this one never will be."""
    stage = Stage(8, deaths=1, attempt=Attempt(4, 2, ["there"]), on_error="skip")
    stage.run()
    assert sorted(stage.seen) == [0, 1, 2, 3, 5, 6, 7]
    assert stage.offset == 8


def test_one_that_killed_less_is_tried() -> None:
    stage = Stage(8, deaths=1, attempt=Attempt(4, 1, ["there"]), max_deaths=3)
    stage.run()
    assert sorted(stage.seen) == list(range(8))


@pytest.mark.parametrize(
    ("deaths", "size", "until"), [(1, SHORT_LIST, WATCHFUL_FOR), (2, 1, CAREFUL_FOR), (3, 1, CAREFUL_FOR)]
)
def test_care_is_over_when_the_place_is_passed(deaths: int, size: int, until: int) -> None:
    """What follows is as fast as ever."""
    care = PoisonGuard(100, deaths, None, max_deaths=3)
    sizes: Callable[[int], int | None] = lambda offset: care.list_size(100 + offset)  # noqa: E731
    assert (sizes(0), sizes(until - 1)) == (size, size)
    assert sizes(WATCHFUL_FOR) is None
