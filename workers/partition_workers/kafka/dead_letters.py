"""Sending records that cannot be handled to a topic of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer

from partition_workers.errors import Misconfigured, Unavailable
from partition_workers.kafka.destination import LARGEST_RECORD, check_destinations, for_sending
from partition_workers.kafka.reader import Record


class DeadLetters:
    """Where records go that cannot be handled, with headers that say where each was and why."""

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        """`config`: the properties of the consumer that reads the records."""
        self.topic = topic
        self._config = for_sending(config)
        self._producer: Producer | None = None

    def check(self, timeout: float) -> str | None:
        """Make the producer and look at the topic, before anybody needs them; as `check_destinations` does."""
        self._make(timeout)
        warnings = check_destinations(self._config, {self.topic: "--dlq-topic"}, timeout)
        return warnings[0] if warnings else None

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
