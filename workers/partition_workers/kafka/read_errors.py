"""What an error means that librdkafka reports in the place of a record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from confluent_kafka import Consumer, KafkaError, KafkaException

from partition_workers.errors import PartitionRefused
from partition_workers.kafka.topics import UNKNOWN
from partition_workers.model import Offset, Partition


class Meaning(Enum):
    #: No error: there is nothing more at the moment.
    END = auto()
    #: A broker away, a leader that moved: librdkafka goes on by itself, and has skipped nothing.
    MENDS = auto()
    #: The next record does not exist, or those before it were replaced by others. Nothing will change that.
    NOT_THERE = auto()
    #: The topic, or the right to read it, is gone; right after the start of a broker that may be its mistake.
    MAY_PASS = auto()
    #: Everything else. Records may have been skipped (a checksum that is wrong, a format that is not known), or
    #: the same will be fetched again for ever (a batch that cannot be unpacked).
    BAD = auto()


#: Seconds for which an error must be there, at one offset, before the partition is given up.
PATIENCE = {Meaning.NOT_THERE: 0.0, Meaning.MAY_PASS: 30.0, Meaning.BAD: 5.0}

_MENDS = frozenset({
    KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE, KafkaError._WAIT_COORD, KafkaError._WAIT_CACHE, KafkaError._IN_PROGRESS,
    KafkaError._DESTROY, KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RETRY,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.BROKER_NOT_AVAILABLE, KafkaError.REPLICA_NOT_AVAILABLE, KafkaError.NETWORK_EXCEPTION,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR, KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
})  # fmt: skip


def meaning_of(error: KafkaError) -> Meaning:
    code = error.code()
    if code == KafkaError._PARTITION_EOF:
        return Meaning.END
    if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
        return Meaning.NOT_THERE
    if code in UNKNOWN or code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return Meaning.MAY_PASS
    return Meaning.MENDS if code in _MENDS else Meaning.BAD


@dataclass(slots=True)
class Trouble:
    """Errors in the place of the record at one offset: how long they have been there, and when that is too long."""

    partition: Partition
    offset: Offset = -1
    since: float = 0.0
    why: str = ""

    def met(self, meaning: Meaning, why: str, offset: Offset, now: float) -> float:
        """An error again, or for the first time. For how many seconds it may stay.

        Raises PartitionRefused when there is nothing to wait for.
        """
        if offset != self.offset:
            self.offset, self.since, self.why = offset, now, why
        elif meaning is Meaning.NOT_THERE:
            meaning = Meaning.BAD  # behind a wrong checksum librdkafka loses its place, and then blames the offset
        if now - self.since >= PATIENCE[meaning]:
            raise PartitionRefused(self._refusal(meaning, self.why))
        return PATIENCE[meaning]

    def over(self) -> None:
        self.offset = -1

    def _refusal(self, meaning: Meaning, why: str) -> str:
        partition, offset = self.partition, self.offset
        reset = f"partition-supervisor offsets reset {partition}"
        if meaning is Meaning.NOT_THERE:
            return (
                f"{partition}: Kafka does not have the next record, offset {offset} ({why}); nothing was skipped."
                f" Decide where to go on: {reset} --to-earliest --execute"
            )
        if meaning is Meaning.MAY_PASS:
            return f"{partition} cannot be read: {why}"
        return (
            f"{partition} cannot be read on from offset {offset}: {why}; nothing was skipped. If records there are"
            f" given up, look for the next that can be read: {reset} --shift-by 1 --execute"
        )


def what_is_wrong(consumer: Consumer, partition: Partition) -> str | None:
    """With the topic, as a broker says it; None: nothing, or none answers. librdkafka itself takes a partition whose
    broker is away for one that is not known; and it finds it again only if it is left alone."""
    try:
        topic = consumer.list_topics(partition.topic, timeout=1.0).topics[partition.topic]
    except KafkaException:
        return None
    if topic.error is not None:
        return str(topic.error.str()) if meaning_of(topic.error) is Meaning.MAY_PASS else None
    return None if partition.number in topic.partitions else "the topic has no such partition"
