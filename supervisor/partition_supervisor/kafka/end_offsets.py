"""Where partitions begin and end, as Kafka says to one who reads what is committed.

Committed: the offset up to which a reader sees everything, which is where the first open transaction begins. Marks of
transactions have offsets too; a reader passes over them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from partition_supervisor.kafka.topic_catalog import TopicCatalog
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.kafka.topics import Topic
from partition_workers.model import Partition


@dataclass(frozen=True, slots=True)
class Ends:
    """Where partitions end: the offset of the next record that will be written. Those without a leader are not in
    `offsets`. `topics`: those that Kafka could tell of; None: there is none of that name."""

    offsets: Mapping[Partition, int] = field(default_factory=dict)
    topics: Mapping[str, Topic | None] = field(default_factory=dict)

    def lacks(self, partition: Partition) -> bool:
        """Whether Kafka said that there is no such partition."""
        topic = self.topics.get(partition.topic)
        return partition.topic in self.topics and (topic is None or partition.number not in topic.partitions)


class EndOffsets:
    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            # What goes wrong is told once, by an exception, and not by the client itself again and again.
            self._admin = AdminClient({"log_level": 2, **config})
            self._catalog = TopicCatalog({"log_level": 2, **config}, self._admin)
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._address = str(config["bootstrap.servers"])

    def of(self, topics: Collection[str], timeout: float) -> Ends:
        """The ends of all partitions of these topics.

        Raises Unreachable when no broker answers within `timeout` seconds.
        """
        until = time.monotonic() + timeout
        known = self._topics(topics, timeout)
        return Ends(self._ask(_partitions(known), OffsetSpec.latest(), max(0.1, until - time.monotonic())), known)  # type: ignore[no-untyped-call]

    def at_time(self, partitions: Collection[Partition], milliseconds: int, timeout: float) -> dict[Partition, int]:
        """The first record of each that is as new as that (milliseconds since 1970); -1: there is none."""
        wanted = [TopicPartition(each.topic, each.number) for each in partitions]
        return self._ask(wanted, OffsetSpec.for_timestamp(milliseconds), timeout)

    def _topics(self, names: Collection[str], timeout: float) -> dict[str, Topic | None]:
        try:
            return self._catalog.ask(names, timeout)
        except KafkaException as error:
            raise Unreachable(
                f"Kafka does not answer at {self._address} ({error.args[0].str()}):"
                " is it running, and is --bootstrap-servers right?"
            ) from None

    def _ask(self, wanted: list[TopicPartition], what: Any, timeout: float) -> dict[Partition, int]:
        if not wanted:
            return {}
        offsets = {}
        asked = self._admin.list_offsets(
            dict.fromkeys(wanted, what), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout
        )
        for found, future in asked.items():
            with contextlib.suppress(KafkaException):
                offsets[Partition(found.topic, found.partition)] = int(future.result().offset)
        return offsets


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds: its first offset and its end, and where the asked time begins (None: it has nothing
    as new as that). `topic_id` is "" where the broker does not tell."""

    earliest: int
    latest: int
    topic_id: str = ""
    at_time: int | None = None


class Extents(EndOffsets):
    """The same, with everything that a new offset may depend on."""

    def extents(
        self, topics: Collection[str], timeout: float, milliseconds: int | None = None
    ) -> dict[Partition, Extent]:
        """Of all partitions of these topics that have a leader. `milliseconds`: the time asked for, since 1970.

        Raises Unreachable when no broker answers within `timeout` seconds.
        """
        known = self._topics(topics, timeout)
        wanted = _partitions(known)
        first = self._ask(wanted, OffsetSpec.earliest(), timeout)  # type: ignore[no-untyped-call]
        end = self._ask(wanted, OffsetSpec.latest(), timeout)  # type: ignore[no-untyped-call]
        times: dict[Partition, int] = {}
        if milliseconds is not None:
            times = self._ask(wanted, OffsetSpec.for_timestamp(milliseconds), timeout)
        ids = {name: topic.topic_id for name, topic in known.items() if topic is not None}
        return {
            p: Extent(first[p], end[p], ids[p.topic], times[p] if times.get(p, -1) >= 0 else None)
            for p in sorted(first.keys() & end.keys())
        }


def _partitions(topics: Mapping[str, Topic | None]) -> list[TopicPartition]:
    return [
        TopicPartition(name, number)
        for name, topic in topics.items()
        if topic is not None
        for number in topic.partitions
    ]
