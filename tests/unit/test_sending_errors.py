"""Which record a broker did not take for its size: it refuses batches as a whole."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.kafka.sending_errors import BatchSize, failure, size_of
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import P

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


def message(number: int, size: int) -> Message:
    return cast(Message, FakeRecord(P, number, b"x" * size))


def batches(records: list[Message], size: int) -> list[list[Message]]:
    """As librdkafka makes them: one at least, and no more than that many bytes."""
    made: list[list[Message]] = []
    for record in records:
        if not made or sum(map(size_of, made[-1])) + size_of(record) > size:
            made.append([])
        made[-1].append(record)
    return made


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=30), st.integers(500, 2_500))
def test_every_record_that_fits_is_sent_and_only_one_that_does_not_is_blamed(sizes: list[int], room: int) -> None:
    """After one attempt more, whatever goes into a batch with what."""
    records = [message(number, size) for number, size in enumerate(sizes)]
    judge = BatchSize(1_000_000)
    for _ in range(2):
        tried = batches(records, judge.size)
        refused = [each for batch in tried for each in batch if sum(map(size_of, batch)) > room]
        if not refused:
            break
        blamed = judge.judge([(TOO_LARGE, each) for each in refused])
        if blamed is not None:
            assert size_of(blamed[1]) > room
            return
    else:
        raise AssertionError("tried again and again")
    assert max(sizes) <= room


def test_the_one_to_blame_is_found_among_those_that_were_sent() -> None:
    records = [(P.topic, b"x" * size, None) for size in (3, 7, 5)]
    assert failure(TOO_LARGE, [], records, (TOO_LARGE, message(9, 7))).too_large == 1


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE])
def test_what_a_segment_has_no_room_for_is_too_large_as_well(code: int) -> None:
    refused = [(KafkaError(code), message(number, 3 + number)) for number in range(2)]
    judge = BatchSize(1_000_000)
    assert judge.judge(refused) is None
    assert judge.size == 4
    assert judge.judge(refused) == refused[1]
    assert failure(KafkaError(code), refused, [(P.topic, b"x" * 4, None)], refused[1]).too_large == 0


RECORD, BESIDE = KafkaError(KafkaError.INVALID_RECORD), KafkaError(KafkaError._INVALID_DIFFERENT_RECORD)
TIME, PARTITION = KafkaError(KafkaError.INVALID_TIMESTAMP), KafkaError(KafkaError._UNKNOWN_PARTITION)
PURGED = KafkaError(KafkaError._PURGE_QUEUE)


@pytest.mark.parametrize(("said", "blamed"), [
    ([BESIDE, RECORD, BESIDE], 1),
    ([RECORD, PURGED], 0),
    ([PURGED, TIME], 1),
    ([PURGED, PARTITION, PARTITION], 1),
    ([TIME, BESIDE, RECORD, TIME], 2),
    ([PURGED, PURGED], None),
    ([KafkaError(KafkaError.UNSUPPORTED_COMPRESSION_TYPE)] * 2, None),
])  # fmt: skip
def test_a_record_is_blamed_for_what_was_said_of_it_alone(said: list[KafkaError], blamed: int | None) -> None:
    refused = [(error, message(number, number)) for number, error in enumerate(said)]
    judge = BatchSize(1000)
    assert judge.judge(refused) == (None if blamed is None else refused[blamed])
    assert judge.size == 1000


@pytest.mark.parametrize("error", [TIME, RECORD])
def test_where_it_is_said_of_a_batch_each_record_gets_one_of_its_own_until_it_is_known(error: KafkaError) -> None:
    refused = [(error, message(number, number)) for number in range(3)]
    judge = BatchSize(1000)
    assert judge.judge([*refused, (BESIDE, message(3, 3))]) is None
    assert judge.size == 1
    assert judge.judge(refused[1:]) == refused[1]
    assert judge.size == 1000
    assert judge.judge(refused) is None
    assert judge.relax()
    assert judge.size == 1000
    assert not judge.relax()


def test_of_records_that_look_the_same_each_may_be_the_one() -> None:
    same, early = (P.topic, b"x", None), (P.topic, b"x", None, -1, None, None, 1, None)
    elsewhere, here = (
        (P.topic, b"x", None, 7, None, None, 1, None),
        (P.topic, b"x", None, P.number, None, None, 1, None),
    )
    records = [(P.topic, b"y", None), same, elsewhere, early, here]
    assert list(failure(TIME, [], records, (TIME, message(0, 1))).blamed) == [1, 3, 4]
    assert list(failure(PARTITION, [], records, (PARTITION, message(0, 1))).blamed) == [4]


@pytest.mark.parametrize(("error", "is_lasting"), [
    (TIME, True), (KafkaError(KafkaError.UNSUPPORTED_COMPRESSION_TYPE), True), (PURGED, False), (BESIDE, False),
    (KafkaError(KafkaError._MSG_TIMED_OUT), False), (KafkaError(KafkaError.NOT_ENOUGH_REPLICAS), False),
    (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH), False), (KafkaError(KafkaError._FENCED), False),
])  # fmt: skip
def test_what_passes_is_not_held_for_lasting(error: KafkaError, is_lasting: bool) -> None:
    failed = failure(KafkaError(KafkaError._STATE), [(error, message(0, 1))], [])
    assert failed.lasting == (error.str() if is_lasting else None)
    assert failed.refusal is None


def test_other_errors_blame_no_size() -> None:
    judge = BatchSize(1_000_000)
    assert judge.judge([(KafkaError(KafkaError._TIMED_OUT), message(0, 1))]) is None
    assert judge.size == 1_000_000
