"""Where partitions begin and end, as Kafka says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from partition_supervisor.kafka.topic_ids import topic_ids
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.model import Partition


class EndOffsets:
    """Where partitions end: the offset of the next record that will be written."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            # What goes wrong is told once, by an exception, and not by the client itself again and again.
            self._admin = AdminClient({"log_level": 2, **config})
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._address = str(config["bootstrap.servers"])

    def of(self, topics: Collection[str], timeout: float) -> dict[Partition, int]:
        """The ends of all partitions of these topics, without those that have no leader now.

        Raises Unreachable when no broker answers within `timeout` seconds.
        """
        until = time.monotonic() + timeout
        wanted = self._partitions(topics, timeout)
        return self._ask(wanted, OffsetSpec.latest(), max(0.1, until - time.monotonic()))  # type: ignore[no-untyped-call]

    def _partitions(self, topics: Collection[str], timeout: float) -> list[TopicPartition]:
        try:
            known = self._admin.list_topics(timeout=timeout).topics  # of all: naming a topic might create it
        except KafkaException as error:
            raise self._silent(error) from None
        return [
            TopicPartition(name, number)
            for name in topics
            if name in known and known[name].error is None
            for number in known[name].partitions
        ]

    def _ask(self, wanted: list[TopicPartition], what: Any, timeout: float) -> dict[Partition, int]:
        if not wanted:
            return {}
        offsets = {}
        asked = dict.fromkeys(wanted, what)
        for found, future in self._admin.list_offsets(asked, request_timeout=timeout).items():
            with contextlib.suppress(KafkaException):
                offsets[Partition(found.topic, found.partition)] = int(future.result().offset)
        return offsets

    def _silent(self, error: KafkaException) -> Unreachable:
        return Unreachable(
            f"Kafka does not answer at {self._address} ({error.args[0].str()}):"
            " is it running, and is --bootstrap-servers right?"
        )


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
        wanted = self._partitions(topics, timeout)
        ids = topic_ids(self._admin, list(topics)) if wanted else {}
        first = self._ask(wanted, OffsetSpec.earliest(), timeout)  # type: ignore[no-untyped-call]
        end = self._ask(wanted, OffsetSpec.latest(), timeout)  # type: ignore[no-untyped-call]
        times: dict[Partition, int] = {}
        if milliseconds is not None:
            times = self._ask(wanted, OffsetSpec.for_timestamp(milliseconds), timeout)
        return {
            p: Extent(first[p], end[p], ids.get(p.topic, ""), times[p] if times.get(p, -1) >= 0 else None)
            for p in sorted(first.keys() & end.keys())
        }
