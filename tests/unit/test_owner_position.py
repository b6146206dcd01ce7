"""A handler whose target keeps its own position: the partition starts there."""

from __future__ import annotations

from typing import Any

import pytest

from partition_workers.errors import ExitCode, Lost, Stale, Unavailable
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import StoredOffset, now
from partition_workers.model import Reset
from partition_workers.protocol import WasParked
from tests.fakes.kafka import FakeReader
from tests.fakes.ownership import KEYS, TOPIC_ID, P, Stage

LONG = "x" * 60


def opened_at(stage: Stage, position: object) -> type:
    class Target:
        def open(self, context: Any) -> object:
            if isinstance(position, Exception):
                raise position
            return position(context) if callable(position) else position

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    return Target


@pytest.mark.parametrize("position", [0, 2, 5, 9, 10])
def test_it_starts_where_the_target_stands(position: int) -> None:
    stage = Stage()
    stage.a_predecessor(5, {})

    assert stage.owner(opened_at(stage, position)).work() is ExitCode.OK

    assert stage.handled == list(range(position, 10))
    assert stage.offset[0] == 10


@pytest.mark.parametrize("position", [11, 100])
def test_a_position_that_kafka_does_not_have_parks(position: int) -> None:
    stage = Stage()

    assert stage.owner(opened_at(stage, position)).work() is ExitCode.HANDLER_GAVE_UP

    assert f"stands at offset {position}" in stage.report(WasParked).reason
    assert stage.handled == []


@pytest.mark.parametrize("result", [True, -1, "5", 5.0])
def test_what_is_no_offset_is_an_error_of_open(result: object) -> None:
    stage = Stage()

    assert stage.owner(opened_at(stage, result)).work() is ExitCode.HANDLER_GAVE_UP

    assert "open() returned" in stage.report(WasParked).reason


def test_a_target_that_a_newer_owner_has_been_at_ends_the_ownership() -> None:
    stage = Stage()

    def taken_over(_context: Any) -> None:
        stage.store.transact(Txn((), (Delete(KEYS.lock(P)),)))
        stage.acquire(stage.standby("newer"))
        raise Stale("token 7")

    with pytest.raises(Lost):
        stage.owner(opened_at(stage, taken_over)).work()

    assert stage.parked is None


def test_a_target_that_has_seen_a_newer_token_than_etcd_parks() -> None:
    stage = Stage()

    assert stage.owner(opened_at(stage, Stale("token 99"))).work() is ExitCode.HANDLER_GAVE_UP

    assert "token 99" in stage.report(WasParked).reason


def test_who_goes_back_goes_back_to_where_the_target_stands() -> None:
    """It was restored from a copy: etcd is far ahead of it, and nothing between the two may be passed over."""
    stage = Stage(records=40)
    stage.a_predecessor(30, {})
    stage.store.max_request_bytes = 2_000

    class Target:
        def open(self, _context: Any) -> int:
            return 4

        def handle_batch(self, records: list[Any], state: Any) -> None:
            for record in records:
                state[f"{record.offset():02}"] = LONG

    owner = stage.owner(Target)
    assert isinstance(owner._reader, FakeReader)
    owner._reader._sizes.clear()  # all in the first list, and so in the first commit
    assert owner.work() is ExitCode.OK

    stored = [each.key.removeprefix(KEYS.state(P)) for each in stage.store.list(KEYS.state(P)).items]
    assert stored == [f"{number:02}" for number in range(4, 40)]
    assert stage.offset[0] == 40


def test_kafka_is_waited_for_where_the_target_stands_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody dies of it: six such owners would rest the partition for five minutes."""
    stage, left = Stage(), [5]
    stage.a_predecessor(5, {})

    def ask(self: FakeReader, timeout: float) -> tuple[int, int]:
        if left[0]:
            left[0] -= 1
            raise Unavailable("no broker")
        return 0, 10

    monkeypatch.setattr(FakeReader, "warm_up", ask)
    monkeypatch.setattr("partition_workers.target_position.AGAIN", 0.0)

    assert stage.owner(opened_at(stage, 2)).work() is ExitCode.OK
    assert left == [0]
    assert stage.handled == list(range(2, 10))


def reset_to(stage: Stage, offset: int) -> int:
    """As `offsets reset` does, after somebody has got to 8. When it was given."""
    token = stage.a_predecessor(8, {})
    given_at = stage.store.transact(Txn((), ())).revision
    stored = StoredOffset(offset, token, 0, TOPIC_ID, now(), reset=given_at)
    stage.store.transact(Txn((), (Put(KEYS.offset(P), stored.encode()),)))
    return given_at


def test_a_target_that_does_not_follow_a_reset_parks() -> None:
    stage = Stage()
    reset_to(stage, 2)

    assert stage.owner(opened_at(stage, 8)).work() is ExitCode.HANDLER_GAVE_UP

    reason = stage.report(WasParked).reason
    assert "set the offset to 2" in reason
    assert "stands at 8" in reason
    assert stage.handled == []
    assert stage.offset[0] == 2


def test_a_target_that_follows_a_reset_is_told_of_it_once() -> None:
    stage, seen = Stage(), list[Reset | None]()
    given_at = reset_to(stage, 2)

    def follow(context: Any) -> int:
        seen.append(context.reset)
        return int(context.reset.offset) if context.reset else 10

    assert stage.owner(opened_at(stage, follow)).work() is ExitCode.OK
    stage.renew()
    assert stage.owner(opened_at(stage, follow)).work() is ExitCode.OK

    assert seen == [Reset(2, given_at), None]
    assert stage.handled == list(range(2, 10))


def test_who_dies_in_open_leaves_the_reset_to_the_next() -> None:
    stage, seen = Stage(), list[Reset | None]()
    given_at = reset_to(stage, 2)

    def follow(context: Any) -> int:
        seen.append(context.reset)
        if len(seen) == 1:
            stage.store.transact(Txn((), (Delete(KEYS.lock(P)),)))
            raise Lost("as if it were killed")
        return 2

    with pytest.raises(Lost):
        stage.owner(opened_at(stage, follow)).work()
    stage.renew()
    stage.owner(opened_at(stage, follow)).work()

    assert seen == [Reset(2, given_at)] * 2
    assert stage.handled == list(range(2, 10))


def test_who_dies_at_the_first_record_does_not_send_the_next_back_to_the_reset() -> None:
    """The target has moved on by itself since."""
    stage = Stage()
    reset_to(stage, 2)
    found: list[int] = []

    def look(_offset: int) -> None:
        stored = stage.store.get(KEYS.offset(P))
        assert stored is not None
        found.append(StoredOffset.decode(stored.value).reset)

    stage.on_record = look
    stage.owner(opened_at(stage, 2)).work()

    assert set(found) == {0}
