"""Which record a broker did not take for its size: it refuses batches as a whole."""

from __future__ import annotations

from typing import cast

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
            assert size_of(blamed) > room
            return
    else:
        raise AssertionError("tried again and again")
    assert max(sizes) <= room


def test_the_one_to_blame_is_found_among_those_that_were_sent() -> None:
    records = [(P.topic, b"x" * size, None, None, -1, 0) for size in (3, 7, 5)]
    assert failure(TOO_LARGE, [], records, message(9, 7)).too_large == 1


def test_other_errors_blame_no_size() -> None:
    judge = BatchSize(1_000_000)
    assert judge.judge([(KafkaError(KafkaError._TIMED_OUT), message(0, 1))]) is None
    assert judge.size == 1_000_000
