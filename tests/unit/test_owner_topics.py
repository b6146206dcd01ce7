"""An owner and the topic that it reads: one that was made anew, one that ends with what nobody can read."""

from __future__ import annotations

from typing import cast

import pytest

from partition_workers.errors import ExitCode
from partition_workers.layout.documents import StoredOffset
from partition_workers.owner import Owner
from partition_workers.protocol import KnowTopic, Leave, Starved, WasParked
from tests.fakes.kafka import FakeReader, FakeRecord
from tests.fakes.ownership import KEYS, TOPIC_ID, P, Stage, fold


def reader_of(owner: Owner) -> FakeReader:
    return cast(FakeReader, owner._reader)


def stored(stage: Stage) -> StoredOffset:
    found = stage.store.get(KEYS.offset(P))
    assert found is not None
    return StoredOffset.decode(found.value)


def new_topic(count: int) -> list[FakeRecord]:
    return [FakeRecord(P, offset, b"new") for offset in range(count)]


def test_parking_leaves_the_offset_and_the_id_of_the_old_topic() -> None:
    """Whoever looks, and every later owner, must see that they belong to another topic."""
    stage = Stage()
    stage.a_predecessor(4, {"sum": 7}, topic_id="old")

    assert stage.owner(topic_id="new").work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == []
    assert (stored(stage).offset, stored(stage).topic_id) == (4, "old")
    assert stage.report(WasParked).offset == 4
    assert stage.parked is not None
    assert f"offsets reset {P}" in stage.parked.reason


@pytest.mark.parametrize("settings_id", ["", TOPIC_ID])
def test_a_supervisor_that_does_not_know_the_id_does_not_erase_it(settings_id: str) -> None:
    stage = Stage()
    stage.a_predecessor(4, {})
    assert stage.owner(topic_id=settings_id).work() is ExitCode.OK
    assert (stored(stage).offset, stored(stage).topic_id) == (10, TOPIC_ID)


@pytest.mark.parametrize("told", ["", TOPIC_ID])
def test_an_id_that_is_learnt_while_owning_is_written_with_the_next_offset(told: str) -> None:
    stage = Stage()
    stage.on_record = lambda offset: stage.tell(KnowTopic(TOPIC_ID)) if offset == 5 else None
    assert stage.owner(topic_id=told).work() is ExitCode.OK
    assert (stored(stage).offset, stored(stage).topic_id) == (10, TOPIC_ID)


def test_the_client_that_turns_to_another_topic_parks_with_everything_before_it_stored() -> None:
    """It fetches by id, so what was handled until then is the old topic's, and counts."""
    stage = Stage()
    owner = stage.owner()
    stage.when_idle = lambda: reader_of(owner).make_anew("new", new_topic(50))

    assert owner.work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == list(range(10))
    assert (stored(stage).offset, stored(stage).topic_id, stage.sum) == (10, TOPIC_ID, fold(range(10)))
    assert stage.report(WasParked).offset == 10


def test_an_owner_that_is_told_of_another_topic_parks_with_its_last_commit() -> None:
    """What it handled since may have been the new topic's, with a broker that is asked by name."""
    stage = Stage()
    owner = stage.owner()
    reader_of(owner).id_of_kafka = "new"
    stage.on_record = lambda offset: stage.tell(KnowTopic("new")) if offset == 6 else None

    assert owner.work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == list(range(7))
    at = stored(stage).offset
    assert at < 7
    assert stored(stage).topic_id == TOPIC_ID
    assert stage.sum == fold(range(at))
    assert stage.report(WasParked).offset == at


def test_an_owner_that_is_told_of_an_id_of_yesterday_goes_on() -> None:
    """Some supervisor asked a broker that was behind."""
    stage = Stage()
    owner = stage.owner()
    reader_of(owner).id_of_kafka = TOPIC_ID
    stage.on_record = lambda offset: stage.tell(KnowTopic("of yesterday")) if offset == 6 else None
    assert owner.work() is ExitCode.OK
    assert stage.handled == list(range(10))


def test_a_record_that_kafka_does_not_have_parks_at_that_record() -> None:
    """Everything before it is stored, though no commit was due."""
    stage = Stage()
    owner = stage.owner()

    def delete(offset: int) -> None:
        if offset == 7:
            reader_of(owner).first = 9
            reader_of(owner)._sizes = []

    stage.on_record = delete
    reader_of(owner)._sizes = [1, 7]

    assert owner.work() is ExitCode.HANDLER_GAVE_UP

    assert stage.handled == list(range(8))
    assert stage.report(WasParked).offset == stored(stage).offset == 8
    assert stage.sum == fold(range(8))


@pytest.mark.parametrize("records", [0, 10])
def test_marks_behind_the_last_record_are_passed_over_and_stored(records: int) -> None:
    """Of transactions, of aborted ones: nobody can read them, and they would be lag for ever."""
    stage = Stage(records)
    owner = stage.owner()
    reader_of(owner).marks_until = 13
    idle = 0

    def leave_when_stored() -> None:
        nonlocal idle
        idle += 1
        found = stage.store.get(KEYS.offset(P))
        if (found and StoredOffset.decode(found.value).offset == 13) or idle > 1000:
            stage.tell(Leave())

    stage.when_idle = leave_when_stored
    assert owner.work() is ExitCode.OK
    assert stage.handled == list(range(records))
    assert stored(stage).offset == 13


def test_a_partition_that_was_never_read_begins_where_it_is_told() -> None:
    """At the end that it had when the group first started, however far it has come since."""
    stage = Stage()
    assert stage.owner(start_at=6).work() is ExitCode.OK
    assert stage.handled == [6, 7, 8, 9]


def test_an_owner_to_which_nothing_comes_says_so_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After --read-timeout, and then now and then; and no more once something has come."""
    stage = Stage()
    owner = stage.owner()
    moment = [1000.0]
    monkeypatch.setattr("partition_workers.owner_reports.time.monotonic", lambda: moment[0])

    def starve() -> None:
        moment[0] += 5.0
        reader_of(owner).starvation.since = 1000.0
        if moment[0] > 1060.0:
            stage.tell(Leave())

    stage.when_idle = starve
    owner.work()
    told = [each.seconds for each in stage.line.told if isinstance(each, Starved)]
    assert told[0] == 30.0
    assert 2 <= len(told) <= 5
