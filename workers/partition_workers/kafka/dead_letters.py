"""Sending records that cannot be handled to a topic of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Producer

from partition_workers.errors import Unavailable
from partition_workers.kafka.reader import Record

#: What a producer of dead letters takes over from the consumer's properties.
_FOR_BOTH = {"bootstrap.servers", "client.id", "test.mock.num.brokers"}
_SECURITY = ("ssl.", "sasl.", "security.", "socket.", "broker.")


class DeadLetters:
    """Where records go that cannot be handled, with headers that say where each was and why."""

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self._config = {key: value for key, value in config.items() if key in _FOR_BOTH or key.startswith(_SECURITY)}
        self._producer: Producer | None = None

    def send(self, record: Record, reason: str, timeout: float = 10.0) -> None:
        """Send and wait for the acknowledgement. Raises Unavailable when there is none in `timeout` seconds."""
        if self._producer is None:
            settings = self._config | {"enable.idempotence": True, "message.timeout.ms": int(timeout * 1000)}
            self._producer = Producer(settings, logger=logging.getLogger("librdkafka"))
        failures: list[str] = []
        headers = [
            *(record.headers() or []),
            ("dlq.topic", str(record.topic()).encode()),
            ("dlq.partition", str(record.partition()).encode()),
            ("dlq.offset", str(record.offset()).encode()),
            ("dlq.error", reason.encode()),
        ]
        self._producer.produce(
            self.topic, value=record.value(), key=record.key(), headers=headers,
            on_delivery=lambda error, _message: failures.append(error.str()) if error else None,
        )  # fmt: skip
        if self._producer.flush(timeout) or failures:
            raise Unavailable(failures[0] if failures else f"no acknowledgement within {timeout:g} s")
