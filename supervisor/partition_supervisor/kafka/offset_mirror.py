"""Copying offsets to Kafka's own group of the same name, for tools that measure lag. Nobody reads it back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_workers.errors import Misconfigured
from partition_workers.model import Partition

log = logging.getLogger(__name__)


class OffsetMirror:
    def __init__(self, config: Mapping[str, Any], group: str) -> None:
        try:
            self._admin = AdminClient(dict(config), logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._group = group
        self._failed = False

    def copy(self, offsets: Mapping[Partition, int]) -> None:
        """Copy offsets to a consumer group. It works while the group has no members; its errors are only told."""
        places = [TopicPartition(p.topic, p.number, offset) for p, offset in offsets.items()]
        try:
            asked = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self._group, places)])
            for each in asked[self._group].result(10.0).topic_partitions:
                if each.error is not None:
                    raise KafkaException(each.error)
            self._failed = False
        except KafkaException as error:
            if not self._failed:
                log.warning("offsets cannot be copied to the Kafka group %r: %s", self._group, error.args[0].str())
            self._failed = True
