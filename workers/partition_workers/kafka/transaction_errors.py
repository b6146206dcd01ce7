"""What went wrong with a transaction, and whether trying again can help."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException

from partition_workers.kafka.topics import UNKNOWN

_NO_RIGHT = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip
REFUSED = _NO_RIGHT | UNKNOWN | {KafkaError.INVALID_TRANSACTION_TIMEOUT}


class TransactionFailed(Exception):
    """Raised when a transaction was not seen to be committed; it may have been.

    `too_large`: which of the records the broker did not take for its size. `refusal`: why it will not take it at
    another time either, until a person has done something.
    """

    def __init__(self, why: str, too_large: int | None = None, refusal: str | None = None) -> None:
        super().__init__(why)
        self.too_large, self.refusal = too_large, refusal


def failure(error: KafkaError, refused: Sequence[tuple[int, KafkaError]]) -> TransactionFailed:
    """`refused`: of the records, by their number, what the broker said of them."""
    too_large = next((number for number, each in refused if each.code() == KafkaError.MSG_SIZE_TOO_LARGE), None)
    hopeless = next((each for each in (error, *(each for _, each in refused)) if each.code() in REFUSED), None)
    return TransactionFailed(error.str(), too_large, hopeless.str() if hopeless else None)


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
