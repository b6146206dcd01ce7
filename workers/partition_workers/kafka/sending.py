"""Handing outputs to librdkafka, tens of thousands at once, while the handler goes on.

Python's interpreter is what both have to share. Microseconds for a record of 100 bytes, on a busy machine: 0.9 by
`produce`, 1.8 if its arguments have their names, 2.3 with a callback for each; as a list 0.9, of which librdkafka's
part is done without the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

#: No more than so many records, and bytes, are handed over at once: librdkafka must have room for them.
MOST = (200_000, 128 * 1024 * 1024)

#: Records in a list: what is made for one is still in the processor's cache when librdkafka reads it.
AT_ONCE = 500

_TOPIC, _VALUE, _KEY, _HEADERS, _PARTITION, _TIMESTAMP = range(6)

Record = Sequence[Any]
"""Topic, value, key, headers, partition, timestamp."""


def send(producer: Producer, records: Sequence[Record]) -> None:
    """In their order, in each partition. Raises KafkaException."""
    by_place: dict[tuple[str, int], list[Record]] = {}
    for each in records:
        by_place.setdefault((each[_TOPIC], each[_PARTITION]), []).append(each)
    if _go_as_lists(by_place, records):
        for (topic, partition), found in by_place.items():
            for begin in range(0, len(found), AT_ONCE):
                _send_list(producer, topic, partition, found[begin : begin + AT_ONCE])
    else:
        send_each(producer, records, None)


def _send_list(producer: Producer, topic: str, partition: int, records: Sequence[Record]) -> None:
    messages = [{"value": each[_VALUE], "key": each[_KEY]} for each in records]
    if producer.produce_batch(topic, messages, partition) < len(messages):
        raise KafkaException(next(each["_error"] for each in messages if "_error" in each))


def _go_as_lists(places: Iterable[tuple[str, int]], records: Sequence[Record]) -> bool:
    """Lists know of no headers and times, and have one partition each: what a message says of its own is ignored. A
    topic whose records have none, and others that have one, would come in another order."""
    with_any = {topic for topic, partition in places if partition < 0}
    is_mixed = any(partition >= 0 and topic in with_any for topic, partition in places)
    return not is_mixed and not any(each[_HEADERS] or each[_TIMESTAMP] for each in records)


def send_each(
    producer: Producer, records: Sequence[Record], told: Callable[[KafkaError | None, Message], None] | None
) -> None:
    """`told`: what became of each. Raises KafkaException."""
    produce = producer.produce
    for topic, value, key, headers, partition, timestamp in records:
        while True:
            try:
                produce(topic, value, key, partition, told, None, timestamp, headers)
                break
            except BufferError:
                producer.poll(0.1)
