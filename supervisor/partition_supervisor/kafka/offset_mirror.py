"""Copying offsets to Kafka's own group of the same name, for tools that measure lag. Nobody reads it back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_workers.errors import Misconfigured
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds for one copy: less than until the next, and little where a supervisor that stops waits for it.
PATIENCE = 3.0


class OffsetMirror:
    def __init__(self, config: Mapping[str, Any], group: str) -> None:
        try:
            self._admin = AdminClient(dict(config), logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._group = group
        self._failed = False
        #: How many copies did not work.
        self.failures = 0
        self._copying = threading.Lock()

    def copy(self, offsets: Mapping[Partition, int]) -> None:
        """Copy offsets to a consumer group. It works while the group has no members; its errors are only told.

        While a copy is under way, another is left out.
        """
        if not self._copying.acquire(blocking=False):
            return
        try:
            self._failed = self._tell(self._copy(offsets))
            self.failures += self._failed
        finally:
            self._copying.release()

    def _copy(self, offsets: Mapping[Partition, int]) -> str | None:
        """Why it did not work."""
        places = [TopicPartition(p.topic, p.number, offset) for p, offset in offsets.items()]
        try:
            asked = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self._group, places)])
            done = asked[self._group].result(PATIENCE).topic_partitions
        except KafkaException as error:
            return str(error.args[0].str())
        except TimeoutError:
            return "no answer"
        return next((str(each.error.str()) for each in done if each.error is not None), None)

    def _tell(self, failure: str | None) -> bool:
        if failure is not None and not self._failed:
            log.warning(
                "offsets cannot be copied to the Kafka group %r: %s",
                self._group,
                failure,
                extra=event("offsets-not-copied"),
            )
        return failure is not None
