"""A partition of Kafka in memory, and a reader of it that behaves as `partition_workers.kafka.reader.Reader` does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from partition_workers.errors import PartitionRefused, TopicMadeAnew, Unavailable
from partition_workers.kafka.reader import BATCH, Reader
from partition_workers.kafka.starvation import Starvation
from partition_workers.model import Offset, Partition


class FakeRecord:
    """As much of a `confluent_kafka.Message` as we and our handlers look at."""

    def __init__(
        self, partition: Partition, offset: Offset, value: bytes | None = None, key: bytes | None = None
    ) -> None:
        self._partition, self._offset, self._value, self._key = partition, offset, value, key
        self._topic: str | None = partition.topic
        self._headers: list[tuple[str, bytes]] | None = None

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int:
        return self._partition.number

    def offset(self) -> Offset:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers

    def set_topic(self, topic: str | None) -> None:
        self._topic = topic

    def set_value(self, value: Any) -> None:
        self._value = value

    def set_key(self, key: Any) -> None:
        self._key = key

    def set_headers(self, headers: list[tuple[str, bytes]] | None) -> None:
        self._headers = headers

    def error(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"FakeRecord({self._partition} offset {self._offset})"


class FakeReader(Reader):
    """`records` may have gaps between their offsets. `first`: what is before it no longer exists.

    `waited` is called with the timeout instead of waiting that long; `sizes` bounds the next lists, one after
    the other, as a broker's answers would.
    """

    def __init__(
        self,
        records: Iterable[FakeRecord],
        partition: Partition,
        waited: Callable[[float], None],
        first: Offset = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.partition = partition
        self.records = list(records)
        self.first = first
        self.reachable = True
        self.closed = False
        self.assigned: Offset | None = None
        self.at_end: Offset | None = None
        self.starvation = Starvation()
        #: Behind the last record, up to here, is nothing that could be read.
        self.marks_until = 0
        #: What the client says, what Kafka itself says when it is asked, and what is expected.
        self.id_of_client, self.id_of_kafka, self.expected = "", "", ""
        self._turned = False
        self._waited = waited
        self._sizes = list(sizes)

    @property
    def end(self) -> Offset:
        return max(self.marks_until, self.records[-1].offset() + 1 if self.records else self.first)

    @property
    def topic_id(self) -> str:
        return self.id_of_client

    def stay_warm(self) -> None:
        pass

    def expect(self, topic_id: str) -> None:
        self.expected, self._turned = topic_id, False

    def ask_topic_id(self, timeout: float = 2.0) -> str:
        return self.id_of_kafka

    def make_anew(self, topic_id: str, records: Iterable[FakeRecord]) -> None:
        """The topic is deleted and created under its name, and the client hears of it."""
        self.records = list(records)
        self.id_of_client = self.id_of_kafka = topic_id
        self._turned = self.expected not in ("", topic_id)

    def warm_up(self, timeout: float) -> tuple[Offset, Offset]:
        if not self.reachable:
            self._waited(timeout)
            raise Unavailable(f"Kafka: {self.partition}: the fake broker does not answer")
        return self.first, self.end

    def assign(self, offset: Offset) -> None:
        self.assigned, self.at_end = offset, None

    def unassign(self) -> None:
        self.assigned = self.at_end = None

    def read(self, timeout: float) -> list[FakeRecord]:  # type: ignore[override]
        assert self.assigned is not None, "read before assign"
        if self._turned:
            raise TopicMadeAnew(self.partition, self.assigned)
        if self.assigned < self.first or self.assigned > self.end:
            raise PartitionRefused(f"{self.partition}: Kafka does not have the next record; nothing was skipped.")
        most = min(BATCH, self._sizes.pop(0)) if self._sizes else BATCH
        position = self.assigned
        found = [each for each in self.records if each.offset() >= position][:most] if self.reachable else []
        if found:
            self.assigned, self.at_end = found[-1].offset() + 1, None
        else:
            self.at_end = self.end if self.reachable else None
            self._waited(timeout)
        return [copy.copy(each) for each in found]  # Kafka's are always fresh, whatever became of those read before

    def close(self) -> None:
        self.closed = True
