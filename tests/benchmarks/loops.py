"""What people write instead: plain loops around a consumer, each in a process of its own.

    python -m tests.benchmarks.loops LOOP '{"settings": {...}, "topic": ..., "partition": ..., "handler": ...}'

`bare` reads one partition as fast as it can be done: no commits, no state that lasts, no look at anything else. It
gets the settings of our workers, and the same way of reading. `group` is a member of a consumer group, equally
tuned, which commits its offset every five seconds, as groups do. `default` is the loop of every tutorial: `poll()`,
on default settings. `transactional` also sends records on, exactly once: what is produced, and the offset, are
committed in one transaction of Kafka, as often as ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from tests.benchmarks import counting

#: As many as our workers read in one go.
LIST = 500

_error_of = Message.error

Handle = Callable[[Any, dict[str, Any]], None]


def bare(order: dict[str, Any]) -> NoReturn:
    consumer = Consumer(order["settings"])
    consumer.assign([TopicPartition(order["topic"], order["partition"], 0)])
    _read_fast(consumer, order["handler"], None)


def group(order: dict[str, Any]) -> NoReturn:
    """Begins to read only when each member has its share, so that all begin together."""
    consumer = Consumer(order["settings"])
    assigned: list[TopicPartition] = []

    def on_assign(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assigned[:] = partitions
        consumer.assign(partitions if len(partitions) == 1 else [])

    consumer.subscribe([order["topic"]], on_assign=on_assign)
    until = time.monotonic() + 30.0
    first = None
    while len(assigned) != 1:
        assert time.monotonic() < until, f"no share of my own: {assigned}"
        first = consumer.poll(0.1)
    _read_fast(consumer, order["handler"], first)


def default(order: dict[str, Any]) -> NoReturn:
    handle = getattr(counting, order["handler"])().handle
    state: dict[str, Any] = {}
    consumer = Consumer(order["settings"])
    consumer.subscribe([order["topic"]])
    while True:
        record = consumer.poll(1.0)
        if record is None:
            continue
        if record.error():
            raise KafkaException(record.error())
        handle(record, state)


def transactional(order: dict[str, Any]) -> NoReturn:
    """Its transaction is open all the time, so that librdkafka sends while the handler is at work."""
    consumer, producer = Consumer(order["settings"]), Producer(order["producer"])
    place = TopicPartition(order["topic"], order["partition"], 0)
    consumer.assign([place])
    producer.init_transactions(30.0)
    handler = getattr(counting, order["handler"])()
    handler.open(SimpleNamespace(produce=producer.produce))
    producer.begin_transaction()
    commit_at = time.monotonic() + order["interval"]

    def commit() -> None:
        nonlocal commit_at
        if time.monotonic() >= commit_at:
            producer.send_offsets_to_transaction(consumer.position([place]), consumer.consumer_group_metadata())
            producer.commit_transaction()
            producer.begin_transaction()
            commit_at = time.monotonic() + order["interval"]
        producer.poll(0)

    _loop_fast(consumer, handler, None, commit)


def _read_fast(consumer: Consumer, name: str, first: Message | None) -> NoReturn:
    _loop_fast(consumer, getattr(counting, name)(), first, lambda: None)


def _loop_fast(consumer: Consumer, handler: Any, first: Message | None, after: Callable[[], None]) -> NoReturn:
    """`after`: called after each list."""
    batch: Handle | None = getattr(handler, "handle_batch", None)
    handle: Handle = batch or handler.handle
    state: dict[str, Any] = {}
    while True:
        if first is None:
            first = consumer.poll(1.0)
            continue
        records, first = [first, *consumer.consume(LIST - 1, 0)], None
        if any(map(_error_of, records)):
            raise KafkaException(next(filter(None, map(_error_of, records))))
        if batch is not None:
            batch(records, state)
        else:
            for record in records:
                handle(record, state)
        after()


if __name__ == "__main__":
    loops = {"bare": bare, "group": group, "default": default, "transactional": transactional}
    loops[sys.argv[1]](json.loads(sys.argv[2]))
