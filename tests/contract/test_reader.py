"""What a reader of one partition does, whether of a real Kafka or of the fake that other tests believe in."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_supervisor.config import Config
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from partition_workers.errors import PartitionRefused, Unavailable
from partition_workers.etcd.options import EtcdOptions
from partition_workers.kafka.reader import BATCH, Reader
from partition_workers.model import Partition
from tests.fakes.kafka import FakeReader, FakeRecord


class RealBroker:
    """One partition of a topic of its own."""

    def __init__(self, services: Services) -> None:
        self._address, self._kind = services.bootstrap_servers, services.kind
        self.partition = Partition(f"contract-{secrets.token_hex(4)}", 0)
        create_topic(self._address, self.partition.topic, 4)  # the stand-in cannot make fewer
        self._readers: list[Reader] = []
        self._producer = Producer({"bootstrap.servers": self._address, "enable.idempotence": True, "log_level": 2})

    def reader(self, address: str = "") -> Reader:
        config = Config("", (self.partition.topic,), address or self._address, EtcdOptions(("127.0.0.1:1",)))
        reader = Reader(config.kafka_reader(1) | {"log_level": 2}, self.partition)
        self._readers.append(reader)
        return reader

    def unreachable(self, address: str) -> Reader:
        return self.reader(address)

    def fill(self, count: int) -> None:
        for _ in range(count):
            self._producer.produce(self.partition.topic, b"x", partition=0)
        assert self._producer.flush(10.0) == 0

    def forget_before(self, offset: int) -> None:
        if self._kind == "embedded":
            pytest.skip("librdkafka's mock of a broker deletes no records")
        at = TopicPartition(self.partition.topic, 0, offset)
        admin = AdminClient({"bootstrap.servers": self._address})
        (done,) = admin.delete_records([at]).values()
        done.result(10.0)

    def close(self) -> None:
        for each in self._readers:
            each.close()


class FakeBroker:
    def __init__(self) -> None:
        self.partition = Partition("contract", 0)
        self._records: list[FakeRecord] = []
        self._first = 0
        self._readers: list[FakeReader] = []

    def reader(self) -> FakeReader:
        reader = FakeReader(self._records, self.partition, lambda _seconds: None, self._first)
        self._readers.append(reader)
        return reader

    def unreachable(self, _address: str) -> FakeReader:
        reader = self.reader()
        reader.reachable = False
        return reader

    def fill(self, count: int) -> None:
        begin = len(self._records)
        self._records += [FakeRecord(self.partition, begin + number, b"x") for number in range(count)]
        for each in self._readers:
            each.records = self._records

    def forget_before(self, offset: int) -> None:
        self._first = offset

    def close(self) -> None:
        pass


Broker = RealBroker | FakeBroker


@pytest.fixture(params=["fake", "real"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    made = FakeBroker() if request.param == "fake" else RealBroker(request.getfixturevalue("services"))
    yield made
    made.close()


def offsets(reader: Reader, until: int) -> list[int]:
    """What it reads, up to the record before `until`; an error when that does not come within seconds."""
    found: list[int] = []
    deadline = time.monotonic() + 10.0
    while not found or found[-1] < until - 1:
        assert time.monotonic() < deadline, f"only {found[-3:]} of what should go up to {until - 1}"
        records = reader.read(0.5)
        assert len(records) <= BATCH
        found += [record.offset() or 0 for record in records]
    return found


def refusal(reader: Reader) -> PartitionRefused:
    """It is refused at once, or once the broker has said so."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            assert reader.read(0.5) == []
        except PartitionRefused as refused:
            return refused
    pytest.fail("nothing was refused")


def test_it_is_told_what_the_broker_has(broker: Broker) -> None:
    broker.fill(7)
    assert broker.reader().warm_up(5.0) == (0, 7)


def test_records_come_in_order_and_all_of_them(broker: Broker) -> None:
    broker.fill(3 * BATCH)
    reader = broker.reader()
    reader.assign(0)
    assert offsets(reader, 3 * BATCH) == list(range(3 * BATCH))


def test_at_the_end_it_waits_for_what_comes(broker: Broker) -> None:
    broker.fill(5)
    reader = broker.reader()
    reader.assign(5)
    assert reader.read(0.3) == []
    broker.fill(2)
    assert offsets(reader, 7) == [5, 6]


def test_another_assign_goes_back(broker: Broker) -> None:
    """As an owner does whose handler has failed."""
    broker.fill(50)
    reader = broker.reader()
    reader.assign(0)
    offsets(reader, 50)
    reader.assign(20)
    assert offsets(reader, 50) == list(range(20, 50))


def test_assigned_twice_before_it_has_read_it_reads_each_record_from_the_second_place_on_once(broker: Broker) -> None:
    """As a successor does: where its predecessor says that it ended, and then where etcd says so."""
    broker.fill(50)
    reader = broker.reader()
    for assumed, true in ((20, 20), (20, 30), (30, 20), (60, 10)):
        reader.assign(assumed)
        reader.assign(true)
        assert offsets(reader, 50) == list(range(true, 50))


def test_a_standby_whose_lock_went_elsewhere_can_be_assigned_again(broker: Broker) -> None:
    broker.fill(50)
    reader = broker.reader()
    reader.unassign()
    for _ in range(3):
        reader.assign(20)
        reader.unassign()
    reader.assign(20)
    assert offsets(reader, 50) == list(range(20, 50))


def test_what_is_beyond_the_end_is_refused(broker: Broker) -> None:
    """The topic was made anew, or its end was lost: nothing is skipped."""
    broker.fill(5)
    reader = broker.reader()
    reader.assign(9)
    assert "nothing was skipped" in str(refusal(reader))


def test_what_was_deleted_is_refused(broker: Broker) -> None:
    broker.fill(20)
    broker.forget_before(10)
    reader = broker.reader()
    assert reader.warm_up(5.0) == (10, 20)
    reader.assign(4)
    assert "nothing was skipped" in str(refusal(reader))


def test_a_broker_that_does_not_answer_is_unavailable(broker: Broker, dead_endpoint: str) -> None:
    with pytest.raises(Unavailable, match="Kafka"):
        broker.unreachable(dead_endpoint).warm_up(0.3)
