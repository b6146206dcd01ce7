"""What went wrong with a transaction, and whether trying again can help."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from partition_workers.kafka.topics import UNKNOWN

_NO_RIGHT = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip
REFUSED = _NO_RIGHT | UNKNOWN | {KafkaError.INVALID_TRANSACTION_TIMEOUT}


class TransactionFailed(Exception):
    """Raised when a transaction was not seen to be committed; it may have been.

    `too_large`: which of the records the broker did not take for its size. `refusal`: why it will not take it at
    another time either, until a person has done something. `given_up`: it was not waited for any longer.
    """

    def __init__(
        self, why: str, too_large: int | None = None, refusal: str | None = None, given_up: bool = False
    ) -> None:
        super().__init__(why)
        self.too_large, self.refusal, self.given_up = too_large, refusal, given_up


def failure(
    error: KafkaError, refused: Sequence[tuple[KafkaError, Message]], records: Sequence[Sequence[Any]]
) -> TransactionFailed:
    """`refused`: what the broker said of which of the `records`. What may be asked again was given up."""
    large = next((message for each, message in refused if each.code() == KafkaError.MSG_SIZE_TOO_LARGE), None)
    hopeless = next((each for each in (error, *(each for each, _ in refused)) if each.code() in REFUSED), None)
    too_large = None if large is None else _number_of(large, records)
    return TransactionFailed(error.str(), too_large, hopeless.str() if hopeless else None, error.retriable())


def _number_of(message: Message, records: Sequence[Sequence[Any]]) -> int:
    """Which of the records it was, or the first that is the same."""
    found = message.topic(), message.value(), message.key()
    return next(number for number, each in enumerate(records) if (*each[:3],) == found)


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
