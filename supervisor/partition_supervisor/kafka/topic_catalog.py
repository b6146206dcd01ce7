"""What there is of some topics, asked of Kafka about these topics alone.

Twice: a consumer's client asks which partitions there are, because naming a topic to a producer's may create it; then
an admin's client asks for the ids. Never the second without an answer to the first: librdkafka 2.16 was seen to abort
the process (`rd_kafka_enq_once_del_source_return: Assertion`) when a broker came back after an admin's question had
waited in vain for a controller.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from partition_workers.kafka.topics import UNKNOWN, Topic, describe

#: A client of a group asks, though it never joins it.
_GROUP = "partition-supervisor-catalog"


class TopicCatalog:
    def __init__(self, config: Mapping[str, Any], admin: AdminClient) -> None:
        """Raises KafkaException for a configuration that is not one."""
        self._admin = admin
        self._asking = Consumer({**config, "group.id": _GROUP}, logger=logging.getLogger("librdkafka"))

    def ask(self, names: Collection[str], timeout: float) -> dict[str, Topic | None]:
        """Each topic; None: there is none. One that cannot be told at the moment is left out.

        Raises KafkaException when nothing could be told, each topic within some `timeout` seconds.
        """
        told: dict[str, Topic | None] = {}
        has_controller, error = False, None
        for name in names:
            found = self._asking.list_topics(name, timeout=timeout)
            topic = found.topics[name]
            has_controller |= found.controller_id >= 0  # librdkafka's mock of a broker has none, nor ids
            if topic.error is None:
                told[name] = Topic("", tuple(sorted(topic.partitions)))
            elif topic.error.code() in UNKNOWN:
                told[name] = None
            else:
                error = topic.error
        if names and not told:
            raise KafkaException(error)
        present = [name for name, topic in told.items() if topic is not None] if has_controller else []
        described = describe(self._admin, present, timeout)
        return told | {name: each for name, each in described.items() if isinstance(each, Topic)}
