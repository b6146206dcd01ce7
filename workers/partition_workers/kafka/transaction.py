"""One transaction of a producer: what is sent ahead of its commit, the rest, K, and the end.

What is sent ahead goes by the thread that made it, which also hears what has become of it. Another thread has it in
another processor's cache, and waits for the interpreter at each acknowledgement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from partition_workers.kafka.sending import Record, send, send_at_once, send_watched
from partition_workers.kafka.sending_errors import Refusal, insist

#: Seconds for one attempt to end a transaction; then it is looked whether anybody still wants it.
ATTEMPT = 1.0
#: Seconds for whoever sent ahead to hear that all is acknowledged. Then librdkafka hears it, at five times the cost.
ACKNOWLEDGED = 0.03


class Transaction:
    """It knows no producer: whoever throws one away must be the last that does.

    It is begun at once, so that whoever sends ahead waits for nothing: to the broker it begins with its first record.
    """

    def __init__(self, producer: Producer, is_watched: bool) -> None:
        """`is_watched`: it is to be told what became of each record, to know which is to blame."""
        self.is_watched = is_watched
        #: What the broker did not take, where it is watched.
        self.refused: list[Refusal] = []
        self._ahead = 0
        self._error: KafkaError | None = None
        try:
            producer.begin_transaction()
        except KafkaException as failed:
            self._error = failed.args[0]

    def send_ahead(self, producer: Producer, records: Sequence[Record]) -> None:
        """Without waiting for anything. An error is one of the commit."""
        self._ahead += len(records)
        try:
            send_at_once(producer, records)
        except BufferError:
            self._error = KafkaError(KafkaError._QUEUE_FULL)
        except KafkaException as failed:
            self._error = failed.args[0]

    def commit(
        self,
        producer: Producer,
        ahead: int,
        records: Sequence[Record],
        known: TopicPartition,
        group: object,
        is_over: Callable[[], bool],
    ) -> KafkaError | None:
        """Of so many records that were sent ahead, and these. `known`: K, of the `group`."""
        if self._error is None and ahead != self._ahead:
            self._error = KafkaError(KafkaError._STATE, "what was sent ahead was taken back")
        if self._error is not None:
            return self._error
        try:
            self._send(producer, records)
            if ahead:
                _wait_until_acknowledged(producer)
            self._end(producer, known, group, is_over)
        except KafkaException as failed:
            error: KafkaError = failed.args[0]
            return error
        return None

    def _end(self, producer: Producer, known: TopicPartition, group: object, is_over: Callable[[], bool]) -> None:
        insist(lambda: producer.send_offsets_to_transaction([known], group, ATTEMPT), is_over)
        insist(lambda: producer.commit_transaction(ATTEMPT), is_over)

    def _send(self, producer: Producer, records: Sequence[Record]) -> None:
        if self.is_watched:
            send_watched(producer, records, self._watch)
        else:
            send(producer, records)

    def _watch(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refused.append((error, message))


def _wait_until_acknowledged(producer: Producer) -> None:
    until = time.monotonic() + ACKNOWLEDGED
    while len(producer) and time.monotonic() < until:
        time.sleep(0.001)
