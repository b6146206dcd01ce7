"""Which partitions there are: asked of Kafka at the start, and again every few seconds, because topics grow.

The supervisor's only door to Kafka; its thread asks, and tells the loop what it found.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from workers.errors import Misconfigured, Unreachable
from workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds between two looks; new partitions are found within 30.
EVERY = 15.0


class Topics:
    """The partitions of some topics, each with its topic's id ("" where the broker does not tell)."""

    def __init__(self, config: Mapping[str, Any], names: Sequence[str]) -> None:
        try:
            self._admin = AdminClient(dict(config), logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._names = tuple(names)
        self._mirror_failed = False
        self._address = str(config["bootstrap.servers"])

    def first_look(self, timeout: float) -> dict[Partition, str]:
        """Raises Unreachable when no broker answers within `timeout` seconds, Misconfigured when a topic is missing.

        A topic that was just created takes a moment to be known everywhere, so a missing one is asked for again.
        """
        until = time.monotonic() + timeout
        patience = time.monotonic() + min(5.0, timeout)
        while True:
            try:
                found = self.look()
                missing = [name for name in self._names if not any(p.topic == name for p in found)]
                if not missing:
                    return found
                if time.monotonic() > patience:
                    raise Misconfigured(
                        f"there is no topic {', '.join(map(repr, missing))} on {self._address}."
                        f" Create it: partition-supervisor produce --topic {missing[0]} --partitions 4"
                    )
            except KafkaException as error:
                if time.monotonic() > until:
                    raise Unreachable(
                        f"Kafka does not answer at {self._address} ({error.args[0].str()}):"
                        " is it running, and is --bootstrap-servers right?"
                    ) from None
            time.sleep(0.2)  # a broker that starts, or spreads the news of a topic, has nothing to wait upon

    def look(self) -> dict[Partition, str]:
        """Raises KafkaException when no broker answers."""
        known = self._admin.list_topics(timeout=2.0).topics
        ids = topic_ids(self._admin, [name for name in self._names if name in known])
        return {
            Partition(name, number): ids.get(name, "")
            for name in self._names
            if name in known and known[name].error is None
            for number in sorted(known[name].partitions)
        }

    def watch(self, tell: Callable[[dict[Partition, str]], None], stopped: threading.Event) -> None:
        """Look again and again, until `stopped`, and tell what is there."""
        while not stopped.wait(EVERY):
            try:
                tell(self.look())
            except KafkaException as error:
                log.warning("Kafka: cannot look for new partitions: %s", error.args[0].str())

    def mirror(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Copy offsets to a consumer group. It works while the group has no members; its errors are only told."""
        places = [TopicPartition(p.topic, p.number, offset) for p, offset in offsets.items()]
        try:
            asked = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
            for each in asked[group].result(10.0).topic_partitions:
                if each.error is not None:
                    raise KafkaException(each.error)
            self._mirror_failed = False
        except KafkaException as error:
            if not self._mirror_failed:
                log.warning("offsets cannot be copied to the Kafka group %r: %s", group, error.args[0].str())
            self._mirror_failed = True


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


def topic_ids(admin: AdminClient, names: list[str]) -> dict[str, str]:
    """The id of each topic; "" where the broker does not tell."""
    if not names:
        return {}
    ids = {}
    for name, future in admin.describe_topics(TopicCollection(names), request_timeout=5.0).items():
        try:
            ids[name] = str(future.result().topic_id)
        except KafkaException:
            ids[name] = ""  # a broker too old to have ids, or a stand-in
    return ids
