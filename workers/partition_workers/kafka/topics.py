"""What Kafka says of a topic: its partitions, and the id that it was given when it was created.

A topic that was deleted and made anew under the same name has another id. Its offsets begin anew, so an offset is
worth something only together with the id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

#: How the id is written that stands for none: a broker before 2.8, or a stand-in.
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"

#: What says that there is no such topic, or no such partition of it.
UNKNOWN = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_ID,
})  # fmt: skip

#: What a client that only asks, or only sends, takes over from a consumer's properties.
_FOR_ALL = {"bootstrap.servers", "client.id", "test.mock.num.brokers"}
_CONNECTION = (
    "ssl.",
    "sasl.",
    "security.",
    "socket.",
    "reconnect.",
    "broker.",
    "enable.ssl.",
    "client.dns.",
    "api.version.",
)


@dataclass(frozen=True, slots=True)
class Topic:
    """`topic_id` is "" where the broker has none."""

    topic_id: str
    partitions: tuple[int, ...]


def describe(admin: AdminClient, names: Iterable[str], timeout: float) -> dict[str, Topic | KafkaError]:
    """Each of the topics, or why it cannot be told. Only these are asked for, and none is created by asking."""
    asked = list(names)
    if not asked:
        return {}
    told: dict[str, Topic | KafkaError] = {}
    for name, future in admin.describe_topics(TopicCollection(asked), request_timeout=timeout).items():
        try:
            found = future.result(timeout + 1.0)
            told[name] = Topic(identity(str(found.topic_id)), tuple(sorted(each.id for each in found.partitions)))
        except KafkaException as error:
            told[name] = error.args[0]
        except TimeoutError:
            told[name] = KafkaError(KafkaError._TIMED_OUT)
    return told


def ask_topic_id(config: Mapping[str, Any], name: str, timeout: float) -> str:
    """The topic's id as Kafka says it now; "": it does not. `config`: a consumer's. It makes a client of its own."""
    try:
        admin = AdminClient(for_asking(config), logger=logging.getLogger("librdkafka"))
    except KafkaException:
        return ""
    told = describe(admin, [name], timeout)[name]
    return told.topic_id if isinstance(told, Topic) else ""


def identity(written: str) -> str:
    """A topic id as we store it."""
    return "" if written == NO_ID else written


def for_asking(config: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a consumer that say how to reach Kafka, for a client of another kind."""
    return {key: value for key, value in config.items() if key in _FOR_ALL or key.startswith(_CONNECTION)}
