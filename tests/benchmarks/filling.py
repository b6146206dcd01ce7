"""A topic filled once, for systems to race through."""

from __future__ import annotations

import random

from confluent_kafka import Producer

from partition_supervisor.dev.demo.load import create_topic

#: Bytes of a record.
SIZE = 100

_AT_ONCE = 10_000


def fill(bootstrap_servers: str, topic: str, partitions: int, records: int, keys: int = 0) -> None:
    """Make the topic, with so many records in each partition. Half a million take about a second.

    `keys`: each record has one of so many keys, at random, in the same order in each run.

    Raises TimeoutError when Kafka does not take them.
    """
    create_topic(bootstrap_servers, topic, partitions)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "acks": 1,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "batch.num.messages": _AT_ONCE,
            "queue.buffering.max.messages": 20 * _AT_ONCE,
            "log_level": 2,
        }
    )
    choose = random.Random(keys)
    for begin in range(0, records, _AT_ONCE):
        count = min(_AT_ONCE, records - begin)
        for partition in range(partitions):
            _produce(producer, topic, partition, [_record(keys, choose) for _ in range(count)])
    if producer.flush(60.0):
        raise TimeoutError(f"Kafka did not take all records for {topic} within 60 s")


def _record(keys: int, choose: random.Random) -> dict[str, bytes]:
    """The key has the same length for all, as identifiers have."""
    return {"value": b"." * SIZE} | ({"key": b"key-%06d" % choose.randrange(keys)} if keys else {})


def _produce(producer: Producer, topic: str, partition: int, messages: list[dict[str, bytes]]) -> None:
    """Nothing is dropped: what the client has no room for is offered again."""
    while messages:
        taken = producer.produce_batch(topic, messages, partition)
        messages = messages[taken:] if taken else messages
        producer.poll(0.05 if messages else 0)
