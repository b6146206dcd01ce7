"""What a read_committed reader sees of a topic: the oracle for outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

from confluent_kafka import Consumer, KafkaError, TopicPartition


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one partition to which the numbers 0, 1, 2, ... were sent: what is missing, doubled, out of order."""

    count: int
    lost: int
    doubled: int
    out_of_order: int

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order)


def seen(numbers: list[int], produced: int) -> Seen:
    lost = produced - len(set(numbers) & set(range(produced)))
    steps = pairwise(numbers)
    return Seen(len(numbers), lost, len(numbers) - len(set(numbers)), sum(after < before for before, after in steps))


def read_committed(bootstrap_servers: str, topic: str, partitions: int, within: float = 60.0) -> list[list[int]]:
    """The numbers in each partition; see `committed_values`."""
    found = committed_values(bootstrap_servers, topic, partitions, within)
    return [[int(value.split(b" ", 1)[0]) for value in values] for values in found]


def committed_values(bootstrap_servers: str, topic: str, partitions: int, within: float = 60.0) -> list[list[bytes]]:
    """What is in each partition, up to its end. Raises TimeoutError, as when a transaction was left open."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap_servers, "group.id": "oracle", "enable.auto.commit": False,
        "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True,
    })  # fmt: skip
    places = [TopicPartition(topic, number, 0) for number in range(partitions)]
    consumer.assign(places)
    until = time.monotonic() + within
    found: list[list[bytes]] = [[] for _ in places]
    ends: dict[int, int] = {}
    try:
        while len(ends) < partitions:
            if time.monotonic() > until:
                raise TimeoutError(f"the end of {topic} was not reached within {within:g} s: {ends}")
            for each in consumer.consume(1000, 0.2):
                number, error = each.partition(), each.error()
                assert number is not None
                if error is None:
                    found[number].append(each.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends[number] = each.offset() or 0
        everything = Consumer({
            "bootstrap.servers": bootstrap_servers, "group.id": "oracle", "isolation.level": "read_uncommitted",
        })  # fmt: skip
        for place in places:  # a reader stops at an open transaction, and calls that the end
            _, last = everything.get_watermark_offsets(place, timeout=10.0)
            if last > ends[place.partition]:
                raise TimeoutError(f"{topic}[{place.partition}]: a transaction is open at {ends[place.partition]}")
    finally:
        consumer.close()
    return found
