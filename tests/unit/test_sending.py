"""Outputs that are handed to librdkafka as lists where that can be: each once, and in order in each partition."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, cast

import pytest
from confluent_kafka import KafkaException, Producer
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.kafka.sending import send

PARTITIONS = 3


class Broker:
    """What librdkafka would do with it: a list has one partition, whatever its messages say, and knows no headers."""

    def __init__(self, refused: bytes = b"") -> None:
        self.found: dict[tuple[str, int], list[tuple[Any, ...]]] = defaultdict(list)
        self.lists = 0
        self._refused = refused

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, *more: Any) -> None:
        _told, _told_too, timestamp, headers = more
        self._put(topic, value, key, partition, headers, timestamp)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int = -1) -> int:
        self.lists += 1
        for each in messages:
            if each["value"] == self._refused:
                each["_error"] = "refused"
            else:
                self._put(topic, each["value"], each["key"], partition, None, 0)
        return sum("_error" not in each for each in messages)

    def _put(self, topic: str, value: bytes, key: bytes, partition: int, headers: Any, timestamp: int) -> None:
        chosen = partition if partition >= 0 else key[0] % PARTITIONS
        self.found[topic, chosen].append((value, key, headers, timestamp))


PLAIN = st.tuples(
    st.sampled_from(["a", "b"]), st.just(None), st.binary(min_size=1, max_size=1), st.just(None),
    st.integers(-1, PARTITIONS - 1), st.just(0),
)  # fmt: skip
WITH_HEADERS = st.tuples(
    st.sampled_from(["a", "b"]), st.just(None), st.binary(min_size=1, max_size=1), st.just([("h", b"1")]),
    st.integers(-1, PARTITIONS - 1), st.integers(0, 1),
)  # fmt: skip


@given(st.lists(PLAIN | WITH_HEADERS) | st.lists(PLAIN))
def test_each_record_goes_once_and_in_the_order_of_its_partition(made: list[tuple[Any, ...]]) -> None:
    records = [(each[0], b"%d" % number, *each[2:]) for number, each in enumerate(made)]
    broker, expected = Broker(), Broker()
    send(cast(Producer, broker), records)
    for topic, value, key, headers, partition, timestamp in records:
        expected.produce(topic, value, key, partition, None, None, timestamp, headers)
    assert broker.found == expected.found


def test_what_is_plain_goes_in_one_list_for_each_partition() -> None:
    broker = Broker()
    send(cast(Producer, broker), [("a", b"x", b"k", None, number % 2, 0) for number in range(100)])
    assert broker.lists == 2


def test_what_librdkafka_does_not_take_is_said() -> None:
    with pytest.raises(KafkaException, match="refused"):
        send(cast(Producer, Broker(refused=b"2")), [("a", b"%d" % each, b"k", None, -1, 0) for each in range(4)])
