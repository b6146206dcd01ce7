"""The only door of a worker to Kafka: warm up, assign at an offset, read.

`assign` only: nobody rebalances us. A standby is *warm* when it knows the leader and is connected to it, with
nothing assigned: then `assign` brings the first record in a millisecond. Never parked paused: resuming takes a
second. Reading is `poll(t)` for the first record and `consume(n, 0)` for whatever else is there, because
`consume(n, t)` waits for t to fill its list.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import confluent_kafka.admin  # noqa: F401  (list_topics imports it: once before the fork, not in every worker)
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from partition_workers.errors import Misconfigured, PartitionRefused, Unavailable
from partition_workers.model import Offset, Partition

log = logging.getLogger(__name__)

Record = Message

#: Seconds after which an assign that brought nothing is looked into; then twice that, and so on.
FIRST_DOUBT = 1.0

#: Seconds for the question that makes librdkafka connect.
ICE_BREAKER = 0.1

#: Records in a list, at most. Longer lists are slower: they fall out of the processor's cache.
BATCH = 500

_error_of = Message.error


def next_offset(record: Record) -> Offset:
    """The only place where one is added to an offset."""
    offset = record.offset()
    assert offset is not None, "a record that was read has an offset"
    return offset + 1


class Reader:
    """One partition of one topic. Not thread-safe.

    librdkafka was seen, once in some hundred times, to fetch nothing after an `assign`, for as long as anybody
    waited. So after an assign that brings nothing we ask, ever more rarely, whether there is something, and
    assign anew.
    """

    def __init__(self, config: Mapping[str, Any], partition: Partition) -> None:
        self.partition = partition
        self._assigned_at: Offset | None = None  # None: records have come since
        self._doubt_at = 0.0
        self._doubts = 0
        self._suspicious = False
        try:
            self._consumer = Consumer(dict(config), logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error

    def warm_up(self, timeout: float) -> tuple[Offset, Offset]:
        """Find the leader and connect to it. The first and the next offset that the broker has.

        Raises Unavailable when no broker answers in `timeout` seconds.

        Asked for the topic first, librdkafka drops the bootstrap connection with the question on it, and makes
        another 50 ms later: 55 ms in all. Asked for the offsets first, it takes 5, but in one case of fifty it waits
        0.7 s for an answer that it has; so the first question need not be answered. Not asked for the topic at all,
        it forgets it in time (metadata.max.age.ms), and an `assign` after that takes up to a second.
        """
        try:
            with contextlib.suppress(KafkaException):
                self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=ICE_BREAKER)
            self._consumer.list_topics(self.partition.topic, timeout=timeout)
            first, end = self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=timeout)
        except KafkaException as error:
            raise Unavailable(f"Kafka: {self.partition}: {error.args[0].str()}") from error
        return first, end

    def assign(self, offset: Offset) -> None:
        """Read from `offset` on. Said twice before anything was read, it leaves alone what is on its way."""
        if self._assigned_at == offset:
            return
        self._consumer.assign([self._at(offset)])
        self._assigned_at, self._doubts, self._suspicious = offset, 0, False
        self._doubt_at = time.monotonic() + FIRST_DOUBT

    def unassign(self) -> None:
        """Read nothing, and stay warm."""
        self._consumer.unassign()
        self._assigned_at = None

    def read(self, timeout: float) -> list[Record]:
        """The next records, in order, at most BATCH; empty when none came within `timeout` seconds.

        Raises PartitionRefused when Kafka does not have the records we need, or does not let us read them.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            if self._assigned_at is not None and time.monotonic() > self._doubt_at:
                self._doubt(self._assigned_at)
            return []
        self._assigned_at = None
        records: list[Record] = [first, *self._consumer.consume(BATCH - 1, 0)]
        if any(map(_error_of, records)):
            return self._without_errors(records)
        return records

    @property
    def at_end(self) -> Offset | None:
        """Where the partition ended when it was last asked for more; None: there is more, or nobody knows."""
        _, end = self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), cached=True)
        (at,) = self._consumer.position([self._at(OFFSET_BEGINNING)])
        position = at.offset if at.offset >= 0 else self._assigned_at
        return end if position is not None and 0 <= end <= position else None

    def close(self) -> None:
        self._consumer.close()

    def _without_errors(self, records: list[Record]) -> list[Record]:
        good: list[Record] = []
        for record in records:
            error = record.error()
            if error is None:
                good.append(record)
            elif refusal := self._refusal(error):
                if not good:
                    raise refusal
                self.assign(next_offset(good[-1]))  # the error comes again, with nothing before it
                break
        return good

    def _refusal(self, error: KafkaError) -> PartitionRefused | None:
        """None for what librdkafka mends by itself: a broker away, a leader that moved."""
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return PartitionRefused(
                f"{self.partition}: Kafka does not have the next record ({error.str()}); nothing was skipped."
                f" Decide where to go on: partition-supervisor offsets reset {self.partition} --to-earliest --execute"
            )
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART):
            return PartitionRefused(f"{self.partition} cannot be read: {error.str()}")
        return None

    def _doubt(self, offset: Offset) -> None:
        suspicious, self._suspicious = self._suspicious, False
        self._doubts += 1
        self._doubt_at = time.monotonic() + min(FIRST_DOUBT * 2**self._doubts, 60.0)
        try:
            _, end = self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=1.0)
        except KafkaException:
            return
        if end > offset and not suspicious:
            self._suspicious = True  # or they were written just now: give them time to get here
            self._doubt_at = time.monotonic() + FIRST_DOUBT / 2
        elif end > offset:
            log.warning("%s: nothing came from offset %d, though there is more up to %d; assigning anew",
                        self.partition, offset, end)  # fmt: skip
            self._consumer.unassign()
            self._consumer.assign([self._at(offset)])

    def _at(self, offset: Offset) -> TopicPartition:
        return TopicPartition(self.partition.topic, self.partition.number, offset)
