"""What all clients that send outputs have in common."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin._metadata import TopicMetadata

from partition_workers.errors import Misconfigured, Unavailable
from partition_workers.kafka.destination import LARGEST_RECORD, for_sending
from partition_workers.kafka.sending import MOST

#: A producer that was fenced says so at the highest level. It is an old one's, or its owner says what follows.
LOG = logging.getLogger("librdkafka.outputs")
LOG.addFilter(lambda line: "fenced" not in line.getMessage())

#: Milliseconds before librdkafka asks again. Its order of records does not depend on it, being idempotent.
BACKOFF = {"retry.backoff.ms": 5}

#: Topics that are asked for one by one; more of them come with all that there are, in one answer.
FEW = 10


def for_outputs(config: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a producer of outputs, from those of the consumer that reads the partition."""
    ours = {"message.max.bytes": LARGEST_RECORD, "linger.ms": 5, "queue.buffering.max.messages": 10 * MOST[0]}
    return BACKOFF | for_sending(config) | ours


def made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A client. Raises Misconfigured for properties that it refuses."""
    try:
        return kind(dict(config), logger=LOG)
    except KafkaException as error:
        raise Misconfigured(f"--output: Kafka: {error.args[0].str()}") from error


def connect(producer: Producer, topics: Sequence[str], timeout: float) -> dict[str, int]:
    """How many partitions each topic has; 0: not known. Raises Unavailable when no broker answers in `timeout`
    seconds."""
    found: dict[str, TopicMetadata] = {}
    try:
        for asked in topics if len(topics) <= FEW else (None,):
            found |= producer.list_topics(asked, timeout).topics
    except KafkaException as error:
        raise Unavailable(f"Kafka: --output: {error.args[0].str()}") from error
    known = {topic: found[topic] for topic in topics if topic in found}
    return {topic: len(each.partitions) if each.error is None else 0 for topic, each in known.items()}


def throw_away(producers: list[Producer]) -> None:
    """Not by this thread: it takes its time. They are not closed, which would abort, or send what is left. Whoever
    throws one away must be the last that knows it."""
    if producers:
        doomed = producers.copy()
        producers.clear()
        threading.Thread(target=_forget, args=(doomed,), name="old producers", daemon=True).start()


def _forget(producers: list[Producer]) -> None:
    while producers:
        producer = producers.pop()
        with contextlib.suppress(KafkaException):
            producer.purge(blocking=False)
        del producer
