"""The door through which outputs go that are promised at least once: an idempotent producer, whose every record is
acknowledged before anybody is told that it was sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from partition_workers.kafka.output_clients import connect, for_outputs, made, throw_away
from partition_workers.kafka.sending import Record, send_watched
from partition_workers.kafka.sending_errors import BatchSize, Refusal, failure


class AcknowledgedProducer:
    """For one partition. Not thread-safe, and every call may take seconds.

    A broker that is away is waited for without end, by librdkafka, which keeps the order. What it does not take at
    all is said at once.
    """

    def __init__(self, config: Mapping[str, Any], topics: Sequence[str]) -> None:
        """`config`: the properties of the consumer that reads the partition."""
        self._config = for_outputs(config) | {"enable.idempotence": True, "message.timeout.ms": 0}
        self._batches = BatchSize(int(config.get("batch.size", 1_000_000)))
        self._topics = topics
        #: One, or none.
        self._at_work: list[Producer] = []
        self._counts: dict[str, int] = {}
        self.called_at = time.monotonic()

    def partitions_of(self, topic: str) -> int:
        """How many the topic has; 0: not known."""
        return self._counts.get(topic, 0)

    def warm_up(self, timeout: float) -> None:
        """Raises Unavailable when no broker answers in `timeout` seconds."""
        self._counts |= connect(self._producer(), self._topics, timeout)

    def send(self, records: Sequence[Record], given_up: Callable[[], bool]) -> None:
        """Until all are acknowledged. Raises SendingFailed when one is not, or it is `given_up`: some may have been
        sent."""
        refused: list[Refusal] = []
        error = self._try(records, refused, given_up)
        if error is not None or refused:
            throw_away(self._at_work)  # one that has failed for good takes nothing any more
            raise failure(error or refused[0][0], refused, records, self._batches.judge(refused))
        if self._batches.relax():
            throw_away(self._at_work)

    def _try(
        self, records: Sequence[Record], refused: list[Refusal], given_up: Callable[[], bool]
    ) -> KafkaError | None:
        producer, left = self._producer(), len(records)

        def watch(error: KafkaError | None, message: Message) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                refused.append((error, message))

        try:
            send_watched(producer, records, watch)
            while left > 0 and not given_up():
                self.called_at = time.monotonic()
                producer.poll(0.1)
        except KafkaException as failed:
            error: KafkaError = failed.args[0]
            return error
        return KafkaError(KafkaError._TIMED_OUT) if left > 0 else None

    def close(self) -> None:
        throw_away(self._at_work)

    def _producer(self) -> Producer:
        if not self._at_work:
            self._at_work.append(made(Producer, self._config | {"batch.size": self._batches.size}))
        return self._at_work[0]
