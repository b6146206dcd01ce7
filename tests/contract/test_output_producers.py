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
from tests.committed import committed_values

pytestmark = pytest.mark.usefixtures("broker")

Record = tuple[Any, ...]
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
                    initialise(self.door)
                    self.door.commit(0, records, 1, "1.1 now", lambda: False)
                else:
                    self.door.send(records, lambda: False)
                return
            except SendingFailed as failed:
                if failed.too_large is not None or failed.refusal is not None or failed.blamed:
                    raise
        raise AssertionError("sent again and again")


def initialise(producer: TransactionalProducer) -> None:
    """A broker that has just begun with transactions does not say at once who coordinates them."""
    for pause in itertools.repeat(0.2, 100):
        try:
            producer.initialise()
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
    door.send([(topic, b"%d" % number, None) for number in range(3) for topic in topics])
    found = read(services, topics, 3 * TOPICS)
    for topic in topics:
        assert [value for name, value in found if name == topic] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_topic_that_takes_little_at_once_gets_smaller_batches(services: Services, guarantee: str) -> None:
    """Each record fits, all together do not: none of them is to blame."""
    (topic,) = make_topics(services, 1, **{"max.message.bytes": str(LITTLE)})
    door = Door(services, [topic], guarantee)
    values = [b"%04d" % number * 250 for number in range(100)]
    door.send([(topic, value, None) for value in values])
    found = [value for _, value in read(services, [topic], len(values))]
    assert found == values
    door.send([(topic, b"more", None)])
    assert door.attempts == 1


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_record_that_is_too_large_is_to_blame_and_no_other(services: Services, guarantee: str) -> None:
    (topic,) = make_topics(services, 1, **{"max.message.bytes": str(LITTLE)})
    door = Door(services, [topic], guarantee)
    values = [b"small"] * 10 + [b"x" * 2 * LITTLE] + [b"small"] * 10
    with pytest.raises(SendingFailed) as failed:
        door.send([(topic, value, None) for value in values])
    assert failed.value.too_large == 10


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("bad", [1, 3])
def test_a_record_without_a_key_in_a_compacted_topic_is_to_blame_and_no_other(
    services: Services, guarantee: str, bad: int
) -> None:
    (topic,) = make_topics(services, 1, **{"cleanup.policy": "compact"})
    door = Door(services, [topic], guarantee)
    good = [(topic, b"%d" % number, b"k%d" % number) for number in range(20)]
    with pytest.raises(SendingFailed, match="validate record") as failed:
        door.send([*good[:10], *((topic, b"bad %d" % number, None) for number in range(bad)), *good[10:]])
    assert list(failed.value.blamed) in [[10 + number] for number in range(bad)]
    assert failed.value.lasting == "Broker: Broker failed to validate record"
    door.send(good)
    assert {value for _, value in read(services, [topic], 20)} == {value for _, value, _ in good}


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("bad", [1, 3])
def test_a_record_of_a_time_that_the_topic_does_not_take_is_to_blame_and_no_other(
    services: Services, guarantee: str, bad: int
) -> None:
    """Of which the broker says the same for all of a batch."""
    (topic,) = make_topics(services, 1, **{"message.timestamp.after.max.ms": "1000"})
    door = Door(services, [topic], guarantee)
    good = numbered(topic, range(20))
    late = int(time.time() * 1000) + 1_000_000
    wrong = [(topic, b"bad %d" % number, b"k", -1, None, None, late, None) for number in range(bad)]
    with pytest.raises(SendingFailed, match="timestamp") as failed:
        door.send([*good[:10], *wrong, *good[10:]])
    assert list(failed.value.blamed) in [[10 + number] for number in range(bad)]
    door.send(good)
    assert door.door._batches.size > 1
    assert {value for _, value in read(services, [topic], 20)} == {value for _, value, _ in good}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_record_for_a_partition_that_is_not_there_is_to_blame_and_no_other(
    services: Services, guarantee: str
) -> None:
    """Whether the client knows that when it gets it, or later."""
    (topic,) = make_topics(services, 1)
    door = Door(services, [topic], guarantee)
    good = numbered(topic, range(20))
    for _ in range(2):
        with pytest.raises(SendingFailed, match="partition") as failed:
            door.send([*good[:10], (topic, b"bad", b"k", 7, None, None, 0, None), *good[10:]])
        assert list(failed.value.blamed) == [10]
        door.send(good)
    assert {value for _, value in read(services, [topic], 20)} == {value for _, value, _ in good}


# --- sent ahead of a commit


def transactional(services: Services, topic: str) -> tuple[Door, TransactionalProducer]:
    door = Door(services, [topic], "exactly-once")
    producer: TransactionalProducer = door.door
    initialise(producer)
    return door, producer


def every(services: Services, topic: str) -> list[bytes]:
    """All that is committed, in its order; what is seen twice is there twice."""
    (found,) = committed_values(services.bootstrap_servers, topic, 1, 30.0)
    return found


def numbered(topic: str, numbers: range) -> list[Record]:
    return [(topic, b"%d" % number, None) for number in numbers]


def test_what_was_sent_ahead_is_seen_with_its_commit_and_once(services: Services) -> None:
    (topic,) = make_topics(services, 1)
    _, producer = transactional(services, topic)
    for begin in (0, 30):
        records = numbered(topic, range(begin, begin + 30))
        assert producer.send_ahead(records[:10])
        assert producer.send_ahead(records[10:20])
        producer.hear()
        producer.commit(20, records[20:], begin + 30, "1.1 now", lambda: False)
    assert every(services, topic) == [b"%d" % number for number in range(60)]


def test_what_was_sent_ahead_and_taken_back_is_never_seen(services: Services) -> None:
    (topic,) = make_topics(services, 1)
    door, producer = transactional(services, topic)
    assert producer.send_ahead(numbered(topic, range(10)))
    with pytest.raises(SendingFailed, match="taken back"):
        producer.commit(0, numbered(topic, range(100, 110)), 1, "1.1 now", lambda: False)
    door.send(numbered(topic, range(200, 210)))
    assert every(services, topic) == [b"%d" % number for number in range(200, 210)]


@pytest.mark.parametrize("is_ahead", [True, False])
def test_what_was_begun_by_an_owner_that_is_fenced_is_never_seen(services: Services, is_ahead: bool) -> None:
    (topic,) = make_topics(services, 1)
    config, name = {"bootstrap.servers": services.bootstrap_servers}, f"test/{secrets.token_hex(4)}"
    doors = [TransactionalProducer(config, Partition(topic, 0), f"{name}/x", name, [topic]) for _ in range(2)]
    for number, producer in enumerate(doors):
        producer.warm_up(20.0)
        initialise(producer)
        records = numbered(topic, range(number * 10, number * 10 + 10))
        assert not is_ahead or producer.send_ahead(records)
    producer.commit(*((10, []) if is_ahead else (0, records)), 1, "1.1 now", lambda: False)
    with pytest.raises(SendingFailed):
        doors[0].commit(*((10, []) if is_ahead else (0, numbered(topic, range(10)))), 1, "1.0 now", lambda: False)
    assert every(services, topic) == [b"%d" % number for number in range(10, 20)]


def test_nothing_is_sent_ahead_of_a_producer_that_is_not_initialised(services: Services) -> None:
    (topic,) = make_topics(services, 1)
    door = Door(services, [topic], "exactly-once")
    assert not door.door.send_ahead(numbered(topic, range(10)))
