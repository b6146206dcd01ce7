"""The two doors through which outputs go, and a real broker: hundreds of topics, some that take little at once."""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from partition_supervisor.dev.services import Services
from partition_workers.errors import Unavailable
from partition_workers.kafka.acknowledged_producer import AcknowledgedProducer
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.kafka.transactional_producer import TransactionalProducer
from partition_workers.model import Partition

pytestmark = pytest.mark.usefixtures("broker")

Record = tuple[str, bytes, None, None, int, int]
GUARANTEES = ["exactly-once", "at-least-once"]
#: Of one record is an error of its handler; a batch is what is divided.
LITTLE, TOPICS = 10_000, 200


def make_topics(services: Services, count: int, **config: str) -> list[str]:
    """One of them takes the place of the topic that is processed."""
    names = [f"out-{secrets.token_hex(4)}-{number}" for number in range(count)]
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    for future in admin.create_topics([NewTopic(each, 1, 1, config=config) for each in names]).values():
        future.result(30.0)
    return names


class Door:
    """Sends so many records, and again as long as an owner would."""

    def __init__(self, services: Services, topics: list[str], guarantee: str) -> None:
        config = {"bootstrap.servers": services.bootstrap_servers}
        self.door: Any
        self._is_transactional = guarantee == "exactly-once"
        if self._is_transactional:
            name = f"test/{secrets.token_hex(4)}"
            self.door = TransactionalProducer(config, Partition(topics[0], 0), f"{name}/x", name, topics)
        else:
            self.door = AcknowledgedProducer(config, topics)
        self.door.warm_up(20.0)
        self.attempts = 0

    def send(self, records: list[Record]) -> None:
        """Raises SendingFailed when one of them is to blame."""
        for self.attempts in range(1, 6):
            try:
                if self._is_transactional:
                    self._initialise()
                    self.door.commit(records, 1, "1.1 now", lambda: False)
                else:
                    self.door.send(records, lambda: False)
                return
            except SendingFailed as failed:
                if failed.too_large is not None or failed.refusal is not None:
                    raise
        raise AssertionError("sent again and again")

    def _initialise(self) -> None:
        """A broker that has just begun with transactions does not say at once who coordinates them."""
        for pause in itertools.repeat(0.2, 100):
            try:
                self.door.initialise()
                return
            except Unavailable:
                time.sleep(pause)
        raise AssertionError("no coordinator")


def read(services: Services, topics: list[str], count: int) -> list[tuple[str, bytes]]:
    """So many different records, each where it was seen first."""
    consumer = Consumer({
        "bootstrap.servers": services.bootstrap_servers, "group.id": "reader", "isolation.level": "read_committed",
    })  # fmt: skip
    consumer.assign([TopicPartition(each, 0, 0) for each in topics])
    found: dict[tuple[str, bytes], None] = {}
    until = time.monotonic() + 30.0
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} records came"
        records = [each for each in consumer.consume(count, 0.2) if not each.error()]
        found |= dict.fromkeys((str(each.topic()), each.value() or b"") for each in records)
    consumer.close()
    return list(found)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_hundreds_of_topics_go_through_one_producer(services: Services, guarantee: str) -> None:
    topics = make_topics(services, TOPICS)
    door = Door(services, topics, guarantee)
    assert {door.door.partitions_of(each) for each in topics} == {1}
    door.send([(topic, b"%d" % number, None, None, 0, 0) for number in range(3) for topic in topics])
    found = read(services, topics, 3 * TOPICS)
    for topic in topics:
        assert [value for name, value in found if name == topic] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_topic_that_takes_little_at_once_gets_smaller_batches(services: Services, guarantee: str) -> None:
    """Each record fits, all together do not: none of them is to blame."""
    (topic,) = make_topics(services, 1, **{"max.message.bytes": str(LITTLE)})
    door = Door(services, [topic], guarantee)
    values = [b"%04d" % number * 250 for number in range(100)]
    door.send([(topic, value, None, None, 0, 0) for value in values])
    found = [value for _, value in read(services, [topic], len(values))]
    assert found == values
    door.send([(topic, b"more", None, None, 0, 0)])
    assert door.attempts == 1


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_record_that_is_too_large_is_to_blame_and_no_other(services: Services, guarantee: str) -> None:
    (topic,) = make_topics(services, 1, **{"max.message.bytes": str(LITTLE)})
    door = Door(services, [topic], guarantee)
    values = [b"small"] * 10 + [b"x" * 2 * LITTLE] + [b"small"] * 10
    with pytest.raises(SendingFailed) as failed:
        door.send([(topic, value, None, None, 0, 0) for value in values])
    assert failed.value.too_large == 10
