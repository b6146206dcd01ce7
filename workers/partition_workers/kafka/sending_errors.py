"""What went wrong with outputs on their way to Kafka, and whether trying again can help."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from partition_workers.kafka.sending import Record
from partition_workers.kafka.topics import UNKNOWN

_NO_RIGHT = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip
REFUSED = _NO_RIGHT | UNKNOWN | {KafkaError.INVALID_TRANSACTION_TIMEOUT}


class SendingFailed(Exception):
    """Raised when outputs were not seen to be sent, or a transaction of them to be committed; they may have been.

    `too_large`: which of the records the broker did not take for its size. `refusal`: why it will not take it at
    another time either, until a person has done something. `given_up`: it was not waited for any longer.
    """

    def __init__(
        self, why: str, too_large: int | None = None, refusal: str | None = None, given_up: bool = False
    ) -> None:
        super().__init__(why)
        self.too_large, self.refusal, self.given_up = too_large, refusal, given_up


def failure(
    error: KafkaError,
    refused: Sequence[tuple[KafkaError, Message]],
    records: Sequence[Record],
    too_large: Message | None = None,
) -> SendingFailed:
    """`refused`: what the broker said of which of the `records`. `too_large`: the one to blame. What may be asked
    again was given up."""
    hopeless = next((each for each in (error, *(each for each, _ in refused)) if each.code() in REFUSED), None)
    number = None if too_large is None else _number_of(too_large, records)
    return SendingFailed(error.str(), number, hopeless.str() if hopeless else None, error.retriable())


def _number_of(message: Message, records: Sequence[Record]) -> int:
    """Which of the records it was, or the first that is the same."""
    found = message.topic(), message.value(), message.key()
    return next(number for number, each in enumerate(records) if (*each[:3],) == found)


class BatchSize:
    """Bytes of the batches in which records are sent. The broker takes a batch or refuses it as a whole, and says its
    topic's `max.message.bytes` of it; librdkafka makes them of up to 1 MB, and does not divide one that was refused.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def judge(self, refused: Sequence[tuple[KafkaError, Message]]) -> Message | None:
        """The record that is too large for its topic. None: that cannot be said of one, for others were in its batch.
        From now on they are not: with what the protocol adds, the largest alone is more than a batch may have."""
        large = [message for each, message in refused if each.code() == KafkaError.MSG_SIZE_TOO_LARGE]
        if not large:
            return None
        largest = max(large, key=size_of)
        if len(large) == 1 or self.size <= size_of(largest):
            return largest
        self.size = max(1, size_of(largest))
        return None


def size_of(message: Message) -> int:
    """Bytes of its key and value."""
    return len(message.value() or b"") + len(message.key() or b"")


def insist(call: Callable[[], object], given_up: Callable[[], bool]) -> None:
    """What may be asked again is. Raises KafkaException."""
    while True:
        try:
            call()
            return
        except KafkaException as failed:
            if not failed.args[0].retriable() or given_up():
                raise
            time.sleep(0.02)
