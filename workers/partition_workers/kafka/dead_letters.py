"""Sending records that cannot be handled to a topic of their own."""

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
from partition_workers.kafka.reader import Record

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


class DeadLetters:
    """Where records go that cannot be handled, with headers that say where each was and why."""

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        """`config`: the properties of the consumer that reads the records."""
        self.topic = topic
        self._config = {key: value for key, value in config.items() if key not in CONSUMER_ONLY}
        self._producer: Producer | None = None

    def check(self, timeout: float) -> str | None:
        """Make the producer and look at the topic, before anybody needs them; a warning, where one is due.

        Raises Misconfigured when no dead letter can be sent as things are; Unavailable when no broker answers
        in `timeout` seconds.
        """
        producer = self._make(timeout)
        until = time.monotonic() + timeout
        try:
            while (error := self._trouble(producer, timeout)) is not None:
                # Asked by a producer, some brokers create the topic, and have it a moment later.
                may_pass = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or error.retriable()
                if not may_pass or time.monotonic() > until - timeout / 2:
                    raise Misconfigured(f"--dlq-topic {self.topic}: {error.str()}: create it, or correct its name")
                time.sleep(0.1)
        except KafkaException as failed:
            raise Unavailable(f"Kafka: --dlq-topic {self.topic}: {failed.args[0].str()}") from failed
        return self._warn_of_rights(max(1.0, until - time.monotonic()))

    def _trouble(self, producer: Producer, timeout: float) -> KafkaError | None:
        error: KafkaError | None = producer.list_topics(self.topic, timeout).topics[self.topic].error
        return error

    def _warn_of_rights(self, timeout: float) -> str | None:
        """Raises Misconfigured when the broker says that we may not write there; nothing is known: a warning."""
        quiet = {"log_level": 5}  # of what it still had to say when it ends
        asking = AdminClient(quiet | self._config, logger=logging.getLogger("librdkafka"))
        (answer,) = asking.describe_topics(
            TopicCollection([self.topic]), include_authorized_operations=True, request_timeout=timeout
        ).values()
        try:
            found: TopicDescription = answer.result(timeout + 1.0)
        except (KafkaException, TimeoutError) as error:
            return f"--dlq-topic {self.topic}: nobody knows whether it may be written to: {error}"
        if found.authorized_operations is not None and AclOperation.WRITE not in found.authorized_operations:
            raise Misconfigured(f"--dlq-topic {self.topic}: it may not be written to: grant WRITE on it to this user")
        return None

    def send(self, record: Record, reason: str, timeout: float = 10.0) -> None:
        """Send and wait for the acknowledgement. Raises Unavailable when there is none in `timeout` seconds.

        Whatever else is wrong with the record, the topic or the producer raises KafkaException or Misconfigured.
        """
        if self._producer is None:
            self._producer = self._make(timeout)
        failures: list[str] = []
        headers = [
            *(record.headers() or []),
            ("dlq.topic", str(record.topic()).encode()),
            ("dlq.partition", str(record.partition()).encode()),
            ("dlq.offset", str(record.offset()).encode()),
            ("dlq.error", reason.encode(errors="backslashreplace")),
        ]
        self._producer.produce(
            self.topic, value=record.value(), key=record.key(), headers=headers,
            on_delivery=lambda error, _message: failures.append(error.str()) if error else None,
        )  # fmt: skip
        if self._producer.flush(timeout) or failures:
            raise Unavailable(failures[0] if failures else f"no acknowledgement within {timeout:g} s")

    def _make(self, timeout: float) -> Producer:
        settings = self._config | {
            "enable.idempotence": True,
            "message.timeout.ms": int(timeout * 1000),
            "message.max.bytes": LARGEST_RECORD,
        }
        try:
            return Producer(settings, logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"dead letters cannot be sent: Kafka: {error.args[0].str()}") from error
