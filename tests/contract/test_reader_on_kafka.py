"""What a reader makes of what only a real broker does: transactions, topics made anew, damaged segments."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_supervisor.config import Config
from partition_supervisor.dev.services import Services
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_workers.errors import PartitionRefused, TopicMadeAnew
from partition_workers.etcd.options import EtcdOptions
from partition_workers.kafka import starvation
from partition_workers.kafka.read_errors import PATIENCE, Meaning
from partition_workers.kafka.reader import Reader
from partition_workers.model import Partition
from tests.eventually import eventually
from tests.topics import create, delete, make_anew

pytestmark = pytest.mark.timeout(90)

#: Of a batch in a segment: where its length is, and where its records begin.
LENGTH_AT, RECORDS_AT = 8, 61


class Topic:
    """One partition of a topic of its own, and a reader of it."""

    def __init__(self, services: Services, name: str) -> None:
        if services.kind == "embedded":
            pytest.skip("librdkafka's mock of a broker has neither transactions nor ids nor segments")
        self.services, self.partition = services, Partition(name, 0)
        self.admin = AdminClient({"bootstrap.servers": services.bootstrap_servers, "log_level": 2})
        self._readers: list[Reader] = []

    def fill(self, count: int, **settings: str) -> None:
        producer = Producer({"bootstrap.servers": self.services.bootstrap_servers, "log_level": 2, **settings})
        for number in range(count):
            producer.produce(self.partition.topic, b"%06d" % number * 10, partition=0)
        assert producer.flush(20.0) == 0

    def transaction(self, count: int) -> Producer:
        """Open, with so many records."""
        producer = Producer({
            "bootstrap.servers": self.services.bootstrap_servers, "log_level": 2,
            "transactional.id": self.partition.topic,
        })  # fmt: skip
        producer.init_transactions(20.0)
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(self.partition.topic, b"x", partition=0)
        assert producer.flush(20.0) == 0
        return producer

    def make_anew(self) -> None:
        make_anew(self.admin, self.partition.topic)

    def reader(self, offset: int = 0, **properties: str) -> Reader:
        config = Config(
            "", (self.partition.topic,), self.services.bootstrap_servers, EtcdOptions(("127.0.0.1:1",)),
            kafka={"log_level": "2", **properties},
        )  # fmt: skip
        made = Reader(config.kafka_reader(1), self.partition)
        self._readers.append(made)
        made.warm_up(20.0)
        made.expect(made.topic_id)
        made.assign(offset)
        return made

    @property
    def end(self) -> int:
        ends = EndOffsets({"bootstrap.servers": self.services.bootstrap_servers})
        return ends.of([self.partition.topic], 20.0).offsets[self.partition]

    def close(self) -> None:
        for each in self._readers:
            each.close()


@pytest.fixture
def kafka(services: Services, request: pytest.FixtureRequest) -> Iterator[Topic]:
    name = f"reader-{time.time_ns():x}"
    made = Topic(services, name)
    create(made.admin, name)
    yield made
    made.close()


def read_until_end(reader: Reader, deadline: float = 20.0) -> list[int]:
    """What it reads until it has come to an end."""
    found: list[int] = []
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        records = reader.read(0.2)
        found += [record.offset() or 0 for record in records]
        if not records and reader.at_end is not None:
            return found
    pytest.fail(f"no end was seen after {found[-3:]}")


def refused(reader: Reader, deadline: float = 60.0) -> tuple[list[int], PartitionRefused]:
    """What it reads before it is refused."""
    found: list[int] = []
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        try:
            found += [record.offset() or 0 for record in reader.read(0.2)]
        except PartitionRefused as error:
            return found, error
    pytest.fail(f"nothing was refused after {found[-3:]}")


# --- transactions


def test_the_mark_of_a_transaction_is_passed_over(kafka: Topic) -> None:
    """Its lag is 0: the reader is where Kafka says that the partition ends."""
    kafka.transaction(10).commit_transaction(20.0)
    reader = kafka.reader()
    assert read_until_end(reader) == list(range(10))
    assert reader.at_end == 11 == kafka.end


def test_an_open_transaction_is_nothing_to_wait_for_and_an_aborted_one_is_passed_over(kafka: Topic) -> None:
    kafka.fill(5)
    producer = kafka.transaction(100)
    reader = kafka.reader()
    assert read_until_end(reader) == list(range(5))
    assert reader.at_end == 5 == kafka.end
    reader._look(time.monotonic())
    assert reader.starvation.since is None, "there is nothing more that could be read"

    producer.abort_transaction(20.0)

    def passed_over() -> bool:
        assert reader.read(0.2) == []
        return reader.at_end == 106

    eventually("the aborted records and the mark are behind it", passed_over, deadline=20)
    assert kafka.end == 106


def test_retention_that_takes_only_marks_away_refuses_nobody(kafka: Topic) -> None:
    """Where reading goes on is behind them."""
    kafka.fill(3)
    kafka.transaction(5).abort_transaction(20.0)
    reader = kafka.reader()
    read_until_end(reader)
    assert reader.at_end is not None
    (deleted,) = kafka.admin.delete_records([TopicPartition(*kafka.partition, reader.at_end)]).values()
    deleted.result(20.0)
    other = kafka.reader(reader.at_end)
    assert read_until_end(other) == []
    kafka.fill(2)
    assert read_until_end(other) == [9, 10]


# --- another topic of the same name


@pytest.mark.parametrize("old", [0, 100])
def test_of_a_topic_that_was_made_anew_nothing_is_read(kafka: Topic, old: int) -> None:
    """Though it is longer than the old one was."""
    kafka.fill(100)
    reader = kafka.reader(old)
    read_until_end(reader)
    before = reader.topic_id
    assert before == reader.ask_topic_id()

    kafka.make_anew()
    kafka.fill(5000)

    found, error = refused(reader)
    assert isinstance(error, TopicMadeAnew)
    assert found == []
    assert reader.topic_id != before
    assert reader.topic_id == reader.ask_topic_id()


def test_a_topic_that_is_gone_is_waited_for_and_then_refused(kafka: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka itself never says a word."""
    monkeypatch.setattr(starvation, "LAST_LOOK", 1.0)
    monkeypatch.setitem(PATIENCE, Meaning.MAY_PASS, 3.0)
    kafka.fill(3)
    reader = kafka.reader()
    read_until_end(reader)
    delete(kafka.admin, kafka.partition.topic)
    _, error = refused(reader)
    assert "cannot be read" in str(error)


# --- damaged


def damage_second_batch(services: Services, partition: Partition) -> int:
    """Turn eight bytes over in the middle of its records. Its offset."""
    segment = only_segment(services, partition)
    written = bytearray(segment.read_bytes())
    (length,) = struct.unpack_from(">i", written, LENGTH_AT)
    second = LENGTH_AT + 4 + length
    offset, length = struct.unpack_from(">qi", written, second)
    middle = second + RECORDS_AT + (length - RECORDS_AT) // 2
    for place in range(middle, middle + 8):
        written[place] ^= 0xFF
    with segment.open("r+b") as file:
        file.seek(middle)
        file.write(written[middle : middle + 8])
    return int(offset)


def only_segment(services: Services, partition: Partition) -> Path:
    assert services._processes is not None
    (found,) = services._processes.folder.glob(f"kafka-*/{partition.topic}-{partition.number}/*0.log")
    return found


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "snappy", "zstd"])
def test_a_damaged_batch_is_refused_and_nothing_behind_it_is_read(kafka: Topic, codec: str) -> None:
    """Whatever it was packed with; it is tried again for some seconds, since it may be another replica's turn."""
    if kafka.services.kind != "local":
        pytest.skip("the broker's files are out of reach")
    for _ in range(3):
        kafka.fill(100, **{"compression.type": codec, "linger.ms": "100"})
    offset = damage_second_batch(kafka.services, kafka.partition)
    found, error = refused(kafka.reader())
    assert found == list(range(offset))
    assert f"cannot be read on from offset {offset}" in str(error)
    assert "nothing was skipped" in str(error)
