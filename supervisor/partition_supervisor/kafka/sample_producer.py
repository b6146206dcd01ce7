"""Sample records for a topic, each acknowledged, in order, and the topic itself where it is missing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from partition_workers.errors import Misconfigured, PartitionSupervisorError, Unreachable

#: librdkafka properties that the promises rest upon, each with the reason why nobody may set it.
OWNED = {
    "bootstrap.servers": "use --bootstrap-servers",
    "enable.idempotence": "without it, a retry would change the order of records or write one twice",
}
#: Seconds after which a record counts as lost that no broker acknowledged; librdkafka's own would be 5 minutes.
PATIENCE = 30.0
#: How often, in seconds and in records, we look up from the work.
GLANCE_S, GLANCE_RECORDS = 0.1, 500
#: The client's own numbers for "any partition" and "the broker's default replication".
ANY_PARTITION, BROKER_DEFAULT = -1, -1


@dataclass(frozen=True, slots=True)
class Sample:
    """What to write: `key-0`/`value-0`, `key-1`/`value-1`, ... `count` 0: until stopped; `rate` 0: at full speed."""

    topic: str
    count: int = 10
    rate: float = 0.0
    size: int = 0
    round_robin: bool = False

    def numbers(self) -> Iterable[int]:
        return range(self.count) if self.count else itertools.count()

    def record(self, number: int) -> tuple[bytes, bytes]:
        return b"key-%d" % number, (b"value-%d" % number).ljust(self.size, b".")

    def partition(self, number: int, partitions: int) -> int:
        return number % partitions if self.round_robin else ANY_PARTITION

    def due(self, number: int) -> float:
        """Seconds from the start at which a record is to be written."""
        return number / self.rate if self.rate else 0.0


@dataclass
class Tally:
    """What became of the records."""

    acknowledged: int = 0
    failed: int = 0
    error: KafkaError | None = None
    seconds: float = 0.0

    def count(self, error: KafkaError | None) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1
            self.error = self.error or error


def client_config(bootstrap_servers: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """What both clients are made with. Raises Misconfigured for a property that is not the caller's to set."""
    for key in properties:
        if key in OWNED:
            raise Misconfigured(f"-X {key}: this property is not yours to set: {OWNED[key]}")
    # What goes wrong is told once, by our errors, and not by the client itself again and again.
    return {"log_level": 2, **properties, "bootstrap.servers": bootstrap_servers}


class SampleTopics:
    """Finds topics, and creates them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            self._admin = AdminClient(dict(config))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {_text(error)}") from error
        self._address = str(config["bootstrap.servers"])

    def prepare(self, topic: str, wanted: int | None, timeout: float) -> int:
        """How many partitions the topic has; with `wanted`, it is created with so many when it is missing.

        Raises Unreachable when no broker answers within `timeout` seconds, Misconfigured when the topic is not as
        wanted or must not be created.
        """
        found = self._partitions(topic, timeout)
        if found and wanted in (None, found):
            return found
        if found:
            raise Misconfigured(
                f"the topic {topic!r} exists and has {found} partitions, not {wanted}:"
                " leave out --partitions, or choose another --topic"
            )
        if wanted is None:
            raise Misconfigured(f"there is no topic {topic!r} on {self._address}. Create it: add --partitions 4")
        return self._create(topic, wanted, timeout)

    def _partitions(self, topic: str, timeout: float) -> int:
        """0 if there is no such topic. All topics are asked for, because naming one might create it."""
        known = self._ask(timeout).topics.get(topic)
        return len(known.partitions) if known is not None and known.error is None else 0

    def _ask(self, timeout: float, **topic: str) -> Any:
        try:
            return self._admin.list_topics(timeout=timeout, **topic)
        except KafkaException as error:
            raise Unreachable(
                f"Kafka does not answer at {self._address} ({_text(error)}):"
                " is it running, and is --bootstrap-servers right?"
            ) from None

    def _create(self, topic: str, wanted: int, timeout: float) -> int:
        metadata = self._ask(timeout)
        if metadata.controller_id not in metadata.brokers:
            return self._create_by_naming(topic, wanted, timeout)
        try:
            self._order(topic, wanted, BROKER_DEFAULT, timeout)
        except KafkaException as error:
            # Brokers before 2.4 know no default here; a single broker may have one that it cannot fulfil.
            if error.args[0].code() not in (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError._UNSUPPORTED_FEATURE):
                raise Misconfigured(f"the topic {topic!r} cannot be created: {_text(error)}") from None
            self._order_alone(topic, wanted, timeout)
        return self._await(topic, wanted, timeout)

    def _order_alone(self, topic: str, wanted: int, timeout: float) -> None:
        try:
            self._order(topic, wanted, 1, timeout)
        except KafkaException as error:
            raise Misconfigured(f"the topic {topic!r} cannot be created: {_text(error)}") from None

    def _order(self, topic: str, wanted: int, replicas: int, timeout: float) -> None:
        new = NewTopic(topic, wanted, replicas)
        try:
            self._admin.create_topics([new], request_timeout=timeout, operation_timeout=timeout)[topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody was quicker
                raise

    def _create_by_naming(self, topic: str, wanted: int, timeout: float) -> int:
        """librdkafka's mock cluster has no controller to ask; a topic comes into being by being asked for."""
        self._ask(timeout, topic=topic)
        made = self._await(topic, 1, timeout)
        if made != wanted:
            raise Misconfigured(
                f"this Kafka is a stand-in that makes every topic with {made} partitions, {topic!r} now too:"
                f" it cannot be {wanted}; use --partitions {made}, or a real Kafka"
            )
        return made

    def _await(self, topic: str, least: int, timeout: float) -> int:
        """Return the number of partitions once the brokers know of them."""
        until = time.monotonic() + timeout
        while (found := self._partitions(topic, timeout)) < least:
            if time.monotonic() > until:
                raise Unreachable(f"the topic {topic!r} was created, but {self._address} does not show it")
            time.sleep(0.05)  # the brokers spread the news among themselves
        return found


class SampleProducer:
    """Writes sample records, each partition's in order, each once.

    `stopped` is asked now and then whether to stop; `progress` is told how many records are acknowledged.
    """

    def __init__(
        self, config: Mapping[str, Any], stopped: Callable[[], bool], progress: Callable[[int], None]
    ) -> None:
        defaults = {"message.timeout.ms": int(PATIENCE * 1000)}
        try:
            self._producer = Producer({**defaults, **config, "enable.idempotence": True})
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {_text(error)}") from error
        self._stopped, self._progress = stopped, progress
        self._tally = Tally()

    def write(self, sample: Sample, partitions: int) -> Tally:
        """Write all, or until stopped or refused; then wait until each written one is acknowledged or lost."""
        began = time.monotonic()
        # Connect first: an idempotent producer that is not, asks for its id only half a second later.
        with suppress(KafkaException):
            self._producer.list_topics(sample.topic, timeout=GLANCE_S)
        for number in sample.numbers():
            if not self._wait(began + sample.due(number), number) or not self._put(sample, number, partitions):
                break
        while len(self._producer):
            self._glance(GLANCE_S)
        self._tally.seconds = time.monotonic() - began
        return self._tally

    def _wait(self, due: float, number: int) -> bool:
        """Return when the next record is due: whether to write it."""
        if due <= time.monotonic():
            return bool(number % GLANCE_RECORDS) or self._glance(0)
        while (left := due - time.monotonic()) > 0:
            if not self._glance(min(left, GLANCE_S)):
                return False
        return True

    def _put(self, sample: Sample, number: int, partitions: int) -> bool:
        key, value = sample.record(number)
        partition = sample.partition(number, partitions)
        while True:
            try:
                self._producer.produce(sample.topic, value, key, partition, on_delivery=self._delivered)
            except BufferError:  # the client's queue is full until the broker has taken some
                if not self._glance(GLANCE_S):
                    return False
            except KafkaException as error:
                self._tally.count(error.args[0])
                return False
            else:
                return True

    def _glance(self, seconds: float) -> bool:
        """Take in acknowledgements for up to so many seconds; False when it is time to stop."""
        self._producer.poll(seconds)
        self._progress(self._tally.acknowledged)
        return not self._stopped() and self._tally.error is None

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        self._tally.count(error)


def failure(sample: Sample, tally: Tally) -> PartitionSupervisorError:
    """The error for records that were not acknowledged."""
    error = tally.error
    reason = error.str() if error else "unknown"
    text = f"{tally.failed} of {tally.failed + tally.acknowledged} records to {sample.topic} failed: {reason}"
    silent = error is not None and error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT)
    return Unreachable(text) if silent else PartitionSupervisorError(text)


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
