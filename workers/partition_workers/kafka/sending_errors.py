"""What went wrong with outputs on their way to Kafka, and whether trying again can help."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from partition_workers.kafka.sending import Record
from partition_workers.kafka.topics import UNKNOWN

_NO_RIGHT = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip
#: Of a topic, or of this program as a whole: people can mend it.
REFUSED = _NO_RIGHT | (UNKNOWN - {KafkaError._UNKNOWN_PARTITION}) | {KafkaError.INVALID_TRANSACTION_TIMEOUT}
#: Of one record: what is in it (in a compacted topic, that it has no key), its time, its partition.
OF_A_RECORD = frozenset({KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP, KafkaError._UNKNOWN_PARTITION})
#: A batch that is larger than the topic's `max.message.bytes`, or than its `segment.bytes`.
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
#: What happens to records for a while, or because of others. All else that is said of a record will be said again.
PASSING = frozenset({
    KafkaError._INVALID_DIFFERENT_RECORD, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY,
    KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._SSL,
    KafkaError._AUTHENTICATION, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._MSG_TIMED_OUT,
    KafkaError._QUEUE_FULL, KafkaError._RETRY, KafkaError._WAIT_COORD, KafkaError._FATAL, KafkaError._FENCED,
    KafkaError._STATE, KafkaError._INCONSISTENT, KafkaError._GAPLESS_GUARANTEE, KafkaError.UNKNOWN,
    KafkaError.INVALID_MSG, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.KAFKA_STORAGE_ERROR, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.THROTTLING_QUOTA_EXCEEDED, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.DUPLICATE_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING, KafkaError.INVALID_TXN_STATE, KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.PRODUCER_FENCED, KafkaError.TRANSACTION_COORDINATOR_FENCED, KafkaError.TRANSACTION_ABORTABLE,
})  # fmt: skip

Refusal = tuple[KafkaError, Message]
"""What the broker said, and of which record."""


class SendingFailed(Exception):
    """Raised when outputs were not seen to be sent, or a transaction of them to be committed; they may have been.

    `too_large`: which of the records the broker did not take for its size. `blamed`: which it did not take for what
    it is, or several that look the same. `refusal`: why it will not take any at another time either, until a person
    has done something. `lasting`: what it will say again, as far as anybody knows. `given_up`: it was not waited for
    any longer.
    """

    def __init__(
        self,
        why: str,
        too_large: int | None = None,
        refusal: str | None = None,
        given_up: bool = False,
        blamed: Sequence[int] = (),
        lasting: str | None = None,
    ) -> None:
        super().__init__(why)
        self.too_large, self.refusal, self.given_up = too_large, refusal, given_up
        self.blamed, self.lasting = blamed, lasting


def failure(
    error: KafkaError, refused: Sequence[Refusal], records: Sequence[Record], blamed: Refusal | None = None
) -> SendingFailed:
    """`refused`: what the broker said of which of the `records`. `blamed`: the one that is to blame. What may be
    asked again was given up."""
    said = [error, *(each for each, _ in refused)]
    hopeless = next((each.str() for each in said if each.code() in REFUSED), None)
    lasting = next((each.str() for each in said[1:] if each.code() not in PASSING), None)
    if blamed is None:
        return SendingFailed(error.str(), None, hopeless, error.retriable(), lasting=lasting)
    numbers, why = _numbers_of(blamed, records), blamed[0].str()
    if blamed[0].code() in TOO_LARGE:
        return SendingFailed(why, numbers[0], hopeless)
    return SendingFailed(why, None, hopeless, blamed=numbers, lasting=why)


def _numbers_of(refusal: Refusal, records: Sequence[Record]) -> list[int]:
    """Which of the records it may have been: the time of a record that was refused is not told."""
    error, message = refusal
    found, partition = (message.topic(), message.value(), message.key()), message.partition()
    chosen = [(partition,)] if error.code() == KafkaError._UNKNOWN_PARTITION else [(), (-1,), (partition,)]
    same = [number for number, each in enumerate(records) if (*each[:3],) == found]
    return [number for number in same if (*records[number][3:4],) in chosen] or same


class BatchSize:
    """Bytes of the batches in which records are sent. The broker takes a batch or refuses it as a whole, and says its
    topic's `max.message.bytes` of it; librdkafka makes them of up to 1 MB, and does not divide one that was refused.
    """

    def __init__(self, size: int) -> None:
        self.size = self._usual = size

    def judge(self, refused: Sequence[Refusal]) -> Refusal | None:
        """The record that is to blame. None: that cannot be said of one, for others were in its batch. From now on
        they are not."""
        if large := [each for each in refused if each[0].code() in TOO_LARGE]:
            return self._too_large(large)
        counts = Counter(error.code() for error, _ in refused)
        for each in refused:
            if self._is_told(each[0].code(), counts):
                self.relax()
                return each
        if not OF_A_RECORD.isdisjoint(counts):
            self.size = 1  # each in a batch of its own
        return None

    def relax(self) -> bool:
        """Batches are as large as ever, once it is known who is to blame, or nobody is. Whether they were not."""
        was, self.size = self.size, self._usual
        return was != self._usual

    def _is_told(self, code: int, counts: Counter[int]) -> bool:
        """Whether what was said of a record was meant for that one. As a rule it is said of all in its batch. Where
        two of a batch are wrong librdkafka (2.16) says it of those alone, but there may be other batches."""
        if code not in OF_A_RECORD:
            return False
        return code == KafkaError._UNKNOWN_PARTITION or counts[code] == 1 or self.size == 1

    def _too_large(self, large: Sequence[Refusal]) -> Refusal | None:
        """With what the protocol adds, the largest alone is more than a batch may have, from now on."""
        largest = max(large, key=lambda each: size_of(each[1]))
        if len(large) == 1 or self.size <= size_of(largest[1]):
            return largest
        self.size = self._usual = max(1, size_of(largest[1]))
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
