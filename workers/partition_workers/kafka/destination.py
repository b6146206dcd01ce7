"""Topics that we write to: whether they are there, and may be written; and the properties of clients that do."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._topic import TopicDescription

from partition_workers.errors import Misconfigured, Unavailable

#: Properties of the consumer that mean nothing to a producer; librdkafka would warn of each. All others it gets as
#: well, so that nobody has to guess which connection, which security and which limits dead letters are sent with.
CONSUMER_ONLY = frozenset({
    "allow.auto.create.topics", "auto.commit.enable", "auto.commit.interval.ms", "auto.offset.reset", "check.crcs",
    "consume.callback.max.messages", "coordinator.query.interval.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.partition.eof", "fetch.error.backoff.ms", "fetch.max.bytes",
    "fetch.message.max.bytes", "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.id",
    "group.instance.id", "group.protocol", "group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms",
    "isolation.level", "max.partition.fetch.bytes", "max.poll.interval.ms", "offset.store.method",
    "offset.store.path", "offset.store.sync.interval.ms", "partition.assignment.strategy",
    "queued.max.messages.kbytes", "queued.min.messages", "session.timeout.ms",
})  # fmt: skip
#: librdkafka's own limit is 1 MB, less than brokers accept; at its largest, the topic's limit alone counts.
LARGEST_RECORD = 1_000_000_000


def for_sending(config: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a producer, from those of the consumer that reads the records."""
    return {key: value for key, value in config.items() if key not in CONSUMER_ONLY}


def check_destinations(config: Mapping[str, Any], options: Mapping[str, str], timeout: float) -> list[str]:
    """Look at the topics, before anybody needs them; warnings, where they are due. `options`: what named each.

    Raises Misconfigured when nothing can be sent to one as things are; Unavailable when no broker answers in
    `timeout` seconds.
    """
    sending = for_sending(config)
    until = time.monotonic() + timeout
    named = {topic: f"{option} {topic}" for topic, option in options.items()}
    try:
        producer = Producer(sending, logger=logging.getLogger("librdkafka"))
    except KafkaException as failed:
        first = next(iter(named.values()), "")
        raise Misconfigured(f"{first}: nothing can be sent: Kafka: {failed.args[0].str()}") from failed
    for topic, words in named.items():
        try:
            while (error := _trouble(producer, topic, timeout)) is not None:
                # Asked by a producer, some brokers create the topic, and have it a moment later.
                may_pass = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or error.retriable()
                if not may_pass or time.monotonic() > until - timeout / 2:
                    raise Misconfigured(f"{words}: {error.str()}: create it, or correct its name")
                time.sleep(0.1)
        except KafkaException as failed:
            raise Unavailable(f"Kafka: {words}: {failed.args[0].str()}") from failed
    return _warn_of_rights(sending, named, max(1.0, until - time.monotonic())) if named else []


def _trouble(producer: Producer, topic: str, timeout: float) -> KafkaError | None:
    error: KafkaError | None = producer.list_topics(topic, timeout).topics[topic].error
    return error


def _warn_of_rights(sending: Mapping[str, Any], named: Mapping[str, str], timeout: float) -> list[str]:
    """Raises Misconfigured when the broker says that we may not write to one; nothing is known: a warning."""
    quiet = {"log_level": 5}  # of what it still had to say when it ends
    asking = AdminClient({**quiet, **sending}, logger=logging.getLogger("librdkafka"))
    answers = asking.describe_topics(
        TopicCollection(list(named)), include_authorized_operations=True, request_timeout=timeout
    )
    warnings = []
    for topic, answer in answers.items():
        try:
            found: TopicDescription = answer.result(timeout + 1.0)
        except (KafkaException, TimeoutError) as error:
            warnings.append(f"{named[topic]}: nobody knows whether it may be written to: {error}")
            continue
        if found.authorized_operations is not None and AclOperation.WRITE not in found.authorized_operations:
            raise Misconfigured(f"{named[topic]}: it may not be written to: grant WRITE on it to this user")
    return warnings
