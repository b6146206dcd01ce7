"""The door through which outputs go: one transactional producer for a partition, and the group offset K.

`outputs/steps.py` says in which order these are called, and why.

Clients are made and connected while standing by. Initialising takes 5 to 8 ms then; but while the broker decides a
transaction that a dead owner left open it says CONCURRENT_TRANSACTIONS, and librdkafka waits for 500 ms before it
asks again. Another client that asks 20 ms later succeeds, or the next one. Those before it are thrown away, for their
next question would fence it.

With librdkafka's usual pause of 100 ms before it asks again, transactions back to back take 111 ms each, and K is
known 95 ms after a commit; with 5 ms it is 22 and 8. A group offset that is not asked for as stable was still the one
before in half of all cases, right after a commit.

A transaction that failed is not aborted here: the next client that is initialised has the broker decide it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from partition_workers.errors import PartitionRefused, Unavailable
from partition_workers.kafka.closing import close
from partition_workers.kafka.output_clients import BACKOFF, connect, for_outputs, made, throw_away
from partition_workers.kafka.sending import Record
from partition_workers.kafka.sending_errors import REFUSED, BatchSize, SendingFailed, failure
from partition_workers.kafka.transaction import Transaction
from partition_workers.model import Offset, Partition

#: Seconds for a client to be initialised, before it is asked what it has heard; and for any call in the end.
SOON, LONG = 0.02, 5.0
#: Clients that are tried, one after the other, while the broker is at another transaction; two of them are warm.
TRIED = 25
#: Seconds after which a transaction is given up, at first and at the most: after a broker was killed and came back,
#: librdkafka was seen to go on with an old one for more than a minute, where another client is served at once.
PATIENCE, MOST_PATIENCE = 10.0, 60.0


class TransactionalProducer:
    """For one partition. Not thread-safe but for `hear` and `send_ahead`, which take no time; every other call may
    take seconds.

    `config`: the properties of the consumer that reads the partition. `group`: whose offset of it is K.
    """

    def __init__(
        self, config: Mapping[str, Any], partition: Partition, name: str, group: str, topics: Sequence[str]
    ) -> None:
        """`name`: the transactional.id."""
        self._config = for_outputs(config) | {"transactional.id": name}
        self._batches = BatchSize(int(config.get("batch.size", 1_000_000)))
        self._asking = BACKOFF | dict(config) | {"group.id": group, "enable.auto.commit": False}
        self._partition, self._topics = partition, topics
        self._warm: list[Producer] = []
        self._patience = PATIENCE
        #: The one that is initialised, or none.
        self._at_work: list[Producer] = []
        self._throwing_away = threading.Lock()
        #: Of the one at work; None while it is being committed.
        self._transaction: Transaction | None = None
        self._is_watched = False
        self._consumer: Consumer | None = None
        self.called_at = time.monotonic()
        self._counts: dict[str, int] = {}

    def partitions_of(self, topic: str) -> int:
        """How many the topic has; 0: not known."""
        return self._counts.get(topic, 0)

    def warm_up(self, timeout: float) -> None:
        """Two clients, connected. Raises Unavailable when no broker answers in `timeout` seconds."""
        while len(self._warm) < 2:
            self._warm.append(self._make())
        for each in self._warm:
            self.called_at = time.monotonic()
            self._counts |= connect(each, self._topics, timeout)
        self.look(timeout)

    def initialise(self) -> None:
        """From now on nobody else commits for this partition, and what somebody else had begun is decided.

        Raises Unavailable, to be called again; PartitionRefused when a right is missing.
        """
        self._throw_away()
        error: KafkaError | None = None
        for _ in range(TRIED):
            self.called_at = time.monotonic()
            tried = [self._warm.pop(0) if self._warm else self._make()]
            error = _initialise(tried[0])
            if error is None:
                self._transaction = Transaction(tried[0], self._is_watched)
                self._at_work = tried
                return
            throw_away(tried)
            self._refuse_if_hopeless(error)
            if error.code() != KafkaError.CONCURRENT_TRANSACTIONS:
                break
            if not self._warm:
                self._warm.append(self._make())
        raise Unavailable(f"Kafka: {self._partition}: {error.str() if error else ''}")

    def look(self, timeout: float = LONG) -> tuple[Offset, str] | None:
        """K and what stands beside it; None: there is none. Raises Unavailable; PartitionRefused for want of a right.

        What a transaction has written that is not decided yet is waited for.
        """
        if self._consumer is None:
            self._consumer = made(Consumer, self._asking)
        self.called_at = time.monotonic()
        asked = TopicPartition(self._partition.topic, self._partition.number)
        try:
            (found,) = self._consumer.committed([asked], timeout=timeout)
            if found.error is not None:
                raise KafkaException(found.error)
        except KafkaException as failed:
            self._refuse_if_hopeless(failed.args[0])
            raise Unavailable(f"Kafka: {self._partition}: {failed.args[0].str()}") from failed
        return (found.offset, found.metadata or "") if found.offset >= 0 else None

    def send_ahead(self, records: Sequence[Record]) -> bool:
        """Now, for the next commit. False: not now."""
        if not self._throwing_away.acquire(blocking=False):
            return False
        try:
            if not self._at_work or self._transaction is None or self._transaction.is_watched:
                return False
            self._transaction.send_ahead(self._at_work[0], records)
            return True
        finally:
            self._throwing_away.release()

    def hear(self) -> None:
        """Of what the broker has said of single records. That it has failed for good it says at the commit."""
        if self._throwing_away.acquire(blocking=False):
            try:
                self._hear()
            finally:
                self._throwing_away.release()

    def commit(
        self, ahead: int, records: Sequence[Record], offset: Offset, metadata: str, given_up: Callable[[], bool]
    ) -> None:
        """One transaction: the records, after so many that were sent ahead, and K.

        Raises SendingFailed, after which `initialise` must come first.
        """
        transaction, self._transaction = self._transaction, None
        if not self._at_work or transaction is None:
            raise SendingFailed("no producer is initialised")
        known = TopicPartition(self._partition.topic, self._partition.number, offset, metadata=metadata)
        assert self._consumer is not None, "K was looked at before"
        group, until = self._consumer.consumer_group_metadata(), time.monotonic() + self._patience

        def is_over() -> bool:
            self.called_at = time.monotonic()
            return given_up() or self.called_at > until

        error = transaction.commit(self._at_work[0], ahead, records, known, group, is_over)
        self._is_watched = error is not None
        if error is not None:
            with self._throwing_away:
                self._hear()
            self._throw_away()
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            refused, before = transaction.refused, self._batches.size
            blamed = self._batches.judge(refused)
            if self._batches.size != before:
                throw_away(self._warm)  # theirs are as large
            raise failure(error, refused, records, blamed)
        self._patience = PATIENCE
        if self._batches.relax():
            self._throw_away()  # at the next commit it is missed, and another is initialised
            throw_away(self._warm)
        else:
            self._transaction = Transaction(self._at_work[0], is_watched=False)

    def close(self) -> None:
        self._throw_away()
        throw_away(self._warm)
        if self._consumer is not None:
            close(self._consumer, self._partition)

    def _hear(self) -> None:
        with contextlib.suppress(KafkaException):
            if self._at_work:
                self._at_work[0].poll(0)

    # --- clients

    def _throw_away(self) -> None:
        with self._throwing_away:
            throw_away(self._at_work)

    def _make(self) -> Producer:
        producer: Producer = made(Producer, self._config | {"batch.size": self._batches.size})
        return producer

    def _refuse_if_hopeless(self, error: KafkaError) -> None:
        if error.code() in REFUSED:
            raise PartitionRefused(f"{self._partition}: its outputs cannot be sent: {error.str()}")


def _initialise(producer: Producer) -> KafkaError | None:
    """As soon as the broker has said that it is still at another transaction, that is the error."""
    patience = SOON
    while True:
        try:
            producer.init_transactions(patience)
        except KafkaException as failed:
            error: KafkaError = failed.args[0]
            if error.code() != KafkaError._TIMED_OUT or patience > LONG:
                return error
            patience *= 2  # it has not answered at all
        else:
            return None
