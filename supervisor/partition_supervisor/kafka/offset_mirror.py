"""Copying offsets to Kafka's own group of the same name, for tools that measure lag. Nobody reads it back.

By a consumer that commits and never reads. A client for administrators could do the same, but librdkafka aborts the
process when a connection ends while such a question to the group's coordinator is on its way (seen with 2.16:
`Assertion eonce->refcnt > 0`). One reset of the network, and a supervisor was gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from partition_workers.errors import Misconfigured
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds for one copy: less than until the next, and little where a supervisor that stops waits for it.
PATIENCE = 3.0
#: Kafka's client does not say that the group's coordinator was refused to us: it goes on asking.
SILENCE = "no answer; where Kafka has ACLs, this user needs READ on the group"


class OffsetMirror:
    def __init__(self, config: Mapping[str, Any], group: str) -> None:
        ours = {"group.id": group, "enable.auto.commit": False, "on_commit": self._hear}
        try:
            self._consumer = Consumer({**config, **ours}, logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._group = group
        #: What came of the last copy.
        self._answer: str | None = None
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
        self._answer = SILENCE
        until = time.monotonic() + PATIENCE
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
            while self._answer == SILENCE and time.monotonic() < until:
                self._consumer.poll(0.1)
        except KafkaException as error:
            return str(error.args[0].str())
        return self._answer

    def _hear(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Called by librdkafka in `poll`, maybe for an earlier copy: that one was of less."""
        errors = [each for each in (error, *(place.error for place in places)) if each is not None]
        self._answer = str(errors[0].str()) if errors else None

    def _tell(self, failure: str | None) -> bool:
        if failure is not None and not self._failed:
            log.warning(
                "offsets cannot be copied to the Kafka group %r: %s",
                self._group,
                failure,
                extra=event("offsets-not-copied"),
            )
        return failure is not None
