"""What the reader makes of what librdkafka puts between the records, without a broker."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from partition_workers.errors import Bug, PartitionRefused, TopicMadeAnew
from partition_workers.kafka import reader as reader_module
from partition_workers.kafka.client_log import ClientLog
from partition_workers.kafka.reader import Reader
from partition_workers.model import Partition

P = Partition("events", 0)


class Message:
    """A record, or an error in the place of one; `topic` None: an error of the client and not of the partition."""

    def __init__(self, offset: int, code: int | None = None, topic: str | None = "events") -> None:
        self._offset, self._topic = offset, topic
        self._error = None if code is None else KafkaError(code, "broken")

    def offset(self) -> int:
        return self._offset

    def topic(self) -> str | None:
        return self._topic

    def error(self) -> KafkaError | None:
        return self._error


END, BAD, AWAY = KafkaError._PARTITION_EOF, KafkaError._BAD_MSG, KafkaError._TRANSPORT
GONE, DOWN = KafkaError._AUTO_OFFSET_RESET, KafkaError._ALL_BROKERS_DOWN


class FakeConsumer:
    """Brings lists of messages as a test puts them, and remembers where it was assigned."""

    def __init__(self, _settings: dict[str, Any], logger: ClientLog) -> None:
        self.log = logger
        self.lists: deque[list[Message]] = deque()
        self.assigned: list[int] = []
        self.extent: tuple[int, int] | None = (0, 1000)
        self._rest: list[Message] = []

    def poll(self, _timeout: float) -> Message | None:
        if not self.lists:
            return None
        first, *self._rest = self.lists.popleft()
        return first

    def consume(self, _count: int, _timeout: float) -> list[Message]:
        return self._rest

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned.append(places[0].offset)

    def unassign(self) -> None:
        self.assigned.append(-1)

    def get_watermark_offsets(self, _place: TopicPartition, timeout: float) -> tuple[int, int]:
        if self.extent is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.extent


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(reader_module, "time", made)
    monkeypatch.setattr(reader_module, "_error_of", Message.error)
    monkeypatch.setattr(reader_module, "Consumer", FakeConsumer)
    return made


@pytest.fixture
def reader(clock: Clock) -> Reader:
    made = Reader({}, P)
    made.assign(10)
    return made


def consumer(reader: Reader) -> FakeConsumer:
    return reader._consumer  # type: ignore[return-value]


def offsets(reader: Reader) -> list[int]:
    return [record.offset() or 0 for record in reader.read(0.0)]


def test_records_are_all_that_comes_and_the_end_is_told_apart(reader: Reader) -> None:
    consumer(reader).lists += [[Message(10), Message(12)], [Message(13), Message(17, END)], [Message(20)]]
    assert offsets(reader) == [10, 12]
    assert reader.at_end is None
    assert offsets(reader) == [13]
    assert reader.at_end == 17
    assert offsets(reader) == [20]
    assert reader.at_end is None


@pytest.mark.parametrize("before", [[], [Message(10), Message(11)]])
@pytest.mark.parametrize("code", [BAD, KafkaError._NOT_IMPLEMENTED, KafkaError._BAD_COMPRESSION, -4242])
def test_nothing_behind_an_error_counts_and_it_is_read_again_from_there(
    reader: Reader, clock: Clock, before: list[Message], code: int
) -> None:
    """Records may have been skipped there. When it stays, the partition is refused, with nothing before it."""
    wanted = 10 + len(before)
    consumer(reader).lists.append([*before, Message(wanted, code), Message(99), Message(100)])
    assert offsets(reader) == [each.offset() for each in before]
    assert consumer(reader).assigned == [10, -1]
    for _ in range(20):
        clock.now += 0.6
        assert offsets(reader) == []
        assert consumer(reader).assigned[-1] == wanted
        consumer(reader).lists.append([Message(wanted, code), Message(99)])
        if clock.now > 1005.0:
            break
        assert offsets(reader) == []
    with pytest.raises(PartitionRefused, match=f"offset {wanted}: broken; nothing was skipped"):
        offsets(reader)


def test_an_error_that_passes_is_forgotten(reader: Reader, clock: Clock) -> None:
    for offset in range(10, 40):
        consumer(reader).lists.append([Message(offset, BAD)])
        assert offsets(reader) == []
        clock.now += 1.0
        assert offsets(reader) == []
        consumer(reader).lists.append([Message(offset)])
        assert offsets(reader) == [offset]


@pytest.mark.parametrize("error", [Message(-1, AWAY), Message(-1, DOWN, None), Message(-1, BAD, None)])
def test_what_mends_or_is_not_the_partitions_troubles_nobody(reader: Reader, clock: Clock, error: Message) -> None:
    for offset in range(10, 60):
        consumer(reader).lists.append([error, Message(offset)])
        assert offsets(reader) == [offset]
        clock.now += 10.0
    assert consumer(reader).assigned == [10]


def test_a_record_that_does_not_exist_is_refused_at_once(reader: Reader) -> None:
    """Whether or not the offset is in the range: the log before it may have been replaced."""
    consumer(reader).lists.append([Message(10, GONE)])
    with pytest.raises(PartitionRefused, match="does not have the next record, offset 10"):
        offsets(reader)


def test_a_record_that_is_said_not_to_exist_behind_a_bad_one_is_tried_again(reader: Reader, clock: Clock) -> None:
    """Behind a wrong checksum librdkafka loses its place."""
    for code in (BAD, GONE):
        consumer(reader).lists.append([Message(10, code)])
        assert offsets(reader) == []
        clock.now += 1.0
        assert offsets(reader) == []
    consumer(reader).lists.append([Message(10)])
    assert offsets(reader) == [10]


def test_a_record_that_comes_twice_is_a_bug(reader: Reader) -> None:
    """It would be counted twice."""
    consumer(reader).lists += [[Message(10), Message(11)], [Message(11), Message(12)]]
    assert offsets(reader) == [10, 11]
    with pytest.raises(Bug, match="offset 11 was read where 12 was the next"):
        offsets(reader)


@pytest.mark.parametrize("brought", [[], [Message(11), Message(12)]])
def test_what_comes_with_another_topics_id_is_not_given_out(reader: Reader, brought: list[Message]) -> None:
    reader.expect("a")
    consumer(reader).lists += [[Message(10)], *([brought] if brought else [])]
    assert offsets(reader) == [10]
    consumer(reader).log.log(10, "%s", "Topic events changed id from a to b")
    with pytest.raises(TopicMadeAnew, match="offset 11"):
        offsets(reader)
    with pytest.raises(TopicMadeAnew):
        offsets(reader)


def test_a_client_that_has_fallen_asleep_at_the_end_is_woken(reader: Reader, clock: Clock) -> None:
    consumer(reader).lists.append([Message(10), Message(11, END)])
    assert offsets(reader) == [10]
    consumer(reader).extent = (0, 11)
    for _ in range(100):
        clock.now += 0.5
        assert offsets(reader) == []
    assert consumer(reader).assigned == [10]
    consumer(reader).extent = (0, 12)
    since = clock.now
    while consumer(reader).assigned == [10]:
        clock.now += 0.5
        assert offsets(reader) == []
        assert clock.now - since < 12.0
    assert consumer(reader).assigned == [10, -1, 11]
    assert reader.starvation.since is not None
