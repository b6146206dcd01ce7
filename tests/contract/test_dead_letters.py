"""Dead letters and a real broker: what it takes is sent, what it does not take is said."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from partition_workers.errors import Misconfigured, PartitionSupervisorError, Unavailable
from partition_workers.kafka.dead_letters import DeadLetters
from partition_workers.model import Partition
from tests.fakes.kafka import FakeRecord

P = Partition("events", 3)
#: What Kafka's brokers take when nobody says otherwise, and librdkafka's producer does not.
NEARLY_A_MEGABYTE = 1_020_000


@pytest.fixture
def consumer(services: Services) -> Iterator[Consumer]:
    made = Consumer({
        "bootstrap.servers": services.bootstrap_servers, "group.id": "letters", "auto.offset.reset": "earliest",
        "fetch.message.max.bytes": 10_000_000,
    })  # fmt: skip
    yield made
    made.close()


def make_topic(services: Services) -> str:
    name = f"letters-{secrets.token_hex(4)}"
    create_topic(services.bootstrap_servers, name, 4)
    return name


def make_topic_for(broker: Services, megabytes: int) -> str:
    name = f"letters-{secrets.token_hex(4)}"
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": str(megabytes * 1_000_000)})
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([topic])[name].result(10.0)
    return name


def first_of(consumer: Consumer, topic: str) -> Message:
    consumer.assign(
        [TopicPartition(topic, number, 0) for number in consumer.list_topics(topic).topics[topic].partitions]
    )
    until = time.monotonic() + 20.0
    while (found := consumer.poll(0.5)) is None or found.error():
        assert time.monotonic() < until, "no dead letter came"
    return found


def letters(services: Services, topic: str, **properties: Any) -> DeadLetters:
    return DeadLetters({"bootstrap.servers": services.bootstrap_servers} | properties, topic)


def is_sent(services: Services, consumer: Consumer, topic: str, size: int) -> None:
    letters(services, topic).send(FakeRecord(P, 7, b"x" * size, b"key"), "bad")  # type: ignore[arg-type]
    found = first_of(consumer, topic)
    assert (len(found.value() or b""), found.key()) == (size, b"key")


@pytest.mark.parametrize("size", [10, NEARLY_A_MEGABYTE])
def test_what_a_topic_takes_is_sent(services: Services, consumer: Consumer, size: int) -> None:
    is_sent(services, consumer, make_topic(services), size)


def test_what_a_topic_for_more_takes_is_sent(broker: Services, consumer: Consumer) -> None:
    """librdkafka's own limit is not another one."""
    is_sent(broker, consumer, make_topic_for(broker, 5), 2_000_000)


def test_a_reason_that_is_no_unicode_is_sent_as_it_can_be_written(services: Services, consumer: Consumer) -> None:
    """Whatever was decoded with surrogateescape may be in an exception's message."""
    topic = make_topic(services)
    letters(services, topic).send(FakeRecord(P, 7, b"x"), "bad: \udcff")  # type: ignore[arg-type]
    assert dict(first_of(consumer, topic).headers() or [])["dlq.error"] == rb"bad: \udcff"


def test_what_the_topic_does_not_take_is_an_error_at_once(broker: Services) -> None:
    """The broker says so."""
    topic = make_topic(broker)
    with pytest.raises((PartitionSupervisorError, KafkaException), match=r"(?i)too large"):
        letters(broker, topic).send(FakeRecord(P, 7, b"x" * 2_000_000), "bad")  # type: ignore[arg-type]


def test_a_topic_that_is_there_passes_the_check(broker: Services) -> None:
    """Without a word."""
    assert letters(broker, make_topic(broker)).check(10.0) is None


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"ssl.ca.location": "/nowhere", "security.protocol": "ssl"}, "ssl.ca.location"),
        ({"acks": "1"}, "acks"),
    ],
)
def test_what_can_be_seen_at_the_start_is_refused_at_the_start(
    services: Services, properties: dict[str, str], said: str
) -> None:
    """A certificate that is not there, a property that rules out what is needed."""
    with pytest.raises(Misconfigured, match=said):
        letters(services, make_topic(services), **properties).check(4.0)


def test_a_name_that_cannot_be_one_is_refused_at_the_start(broker: Services) -> None:
    with pytest.raises(Misconfigured, match=r"--dlq-topic no topic: "):
        letters(broker, "no topic").check(4.0)


def test_a_broker_that_does_not_answer_is_unavailable(dead_endpoint: str) -> None:
    """That may be over in a moment."""
    with pytest.raises(Unavailable, match="letters"):
        DeadLetters({"bootstrap.servers": dead_endpoint, "log_level": 0}, "letters").check(1.0)
