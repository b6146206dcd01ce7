"""One ownership from beginning to end: where it starts, what makes it doubt, and to whom it leaves the partition."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from partition_workers import commits as commits_module
from partition_workers.errors import ExitCode, Lost, OutputInvalid, OutputsLost, PartitionRefused
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Cause, Ending, Lock, StoredOffset, now
from partition_workers.lifecycle import LifecycleState
from partition_workers.outputs.buffer import Outputs
from partition_workers.owner import Owner
from partition_workers.protocol import HandedOver, Leave, Report, Resumed, Suspended, TookLock, WasParked
from tests.fakes.ownership import INTERVAL, KEYS, TOPIC_ID, FakeSupervisorPipe, P, Stage, fold

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


def test_whoever_named_it_hears_of_it_before_the_first_record_is_handled() -> None:
    """Impatience names another after half a second, and the first record may take a minute."""
    stage = Stage()
    entered = []
    stage.on_record = lambda _offset: entered.append(len(stage.history))
    stage.owner().work()
    assert entered[0] == 1


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


def test_what_a_handler_produces_when_it_is_closed_is_refused() -> None:
    """The last commit is done: it would never be sent."""
    refused: list[str] = []

    class Late:
        def open(self, context: Any) -> None:
            self.produce = context.produce

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)
            self.produce("out", b"x")

        def close(self) -> None:
            with pytest.raises(OutputInvalid) as error:
                self.produce("out", b"the rest")
            refused.append(str(error.value))

    stage = Stage()
    owner = stage.owner(Late)
    owner._commits.outputs = Outputs(("out",))
    owner.work()
    assert stage.handled == list(range(10))
    assert "close()" in refused[0]


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


def fail_at_five(stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Owner:
    """And the commits, once, when they are to say that it is parked."""

    def handle(record: Any, state: Any) -> None:
        if record.offset() == 5:
            raise ValueError("bad")
        stage.handle(record, state)

    owner = stage.owner(handle)
    drain, errors = owner._commits.drain, [error]

    def fail_once(*arguments: Any) -> bool:
        if errors:
            raise errors.pop()
        return drain(*arguments)

    monkeypatch.setattr(owner._commits, "drain", fail_once)
    return owner


def test_who_cannot_commit_what_came_before_lets_go_and_parks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    owner = fail_at_five(stage, monkeypatch, OutputsLost("aborted"))
    with pytest.raises(Lost, match="not parked at offset 5"):
        owner.work()
    assert stage.parked is None
    assert stage.lock is None
    assert stage.history[-1].ending == Ending.STOPPED
    assert not [each for each in stage.line.told if isinstance(each, WasParked)]


def test_what_kafka_refuses_meanwhile_is_what_it_is_parked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person has to look at that first."""
    stage = Stage()
    owner = fail_at_five(stage, monkeypatch, PartitionRefused("no right"))
    assert owner.work() is ExitCode.HANDLER_GAVE_UP
    assert stage.parked is not None
    assert (stage.parked.offset, stage.parked.reason) == (stage.offset[0], "no right")
    assert stage.report(WasParked) == WasParked(stage.offset[0], "no right")


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
