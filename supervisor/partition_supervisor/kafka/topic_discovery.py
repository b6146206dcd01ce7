"""Which partitions there are: asked of Kafka at the start, and again every few seconds, because topics grow.

A thread asks, and tells the loop what it found.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from partition_supervisor.kafka.topic_ids import topic_ids
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds between two looks; new partitions are found within 30.
EVERY = 15.0


class TopicDiscovery:
    """The partitions of some topics, each with its topic's id ("" where the broker does not tell)."""

    def __init__(self, config: Mapping[str, Any], names: Sequence[str]) -> None:
        try:
            self._admin = AdminClient(dict(config), logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._names = tuple(names)
        self._address = str(config["bootstrap.servers"])

    def first_look(self, timeout: float) -> dict[Partition, str]:
        """Raises Unreachable when no broker answers within `timeout` seconds, Misconfigured when a topic is missing.

        A topic that was just created takes a moment to be known everywhere, so a missing one is asked for again.
        """
        until = time.monotonic() + timeout
        patience = time.monotonic() + min(5.0, timeout)
        while True:
            try:
                found = self.look()
                missing = [name for name in self._names if not any(p.topic == name for p in found)]
                if not missing:
                    return found
                if time.monotonic() > patience:
                    raise Misconfigured(
                        f"there is no topic {', '.join(map(repr, missing))} on {self._address}."
                        f" Create it: partition-supervisor produce --topic {missing[0]} --partitions 4"
                    )
            except KafkaException as error:
                if time.monotonic() > until:
                    raise Unreachable(
                        f"Kafka does not answer at {self._address} ({error.args[0].str()}):"
                        " is it running, and is --bootstrap-servers right?"
                    ) from None
            time.sleep(0.2)  # a broker that starts, or spreads the news of a topic, has nothing to wait upon

    def look(self) -> dict[Partition, str]:
        """Raises KafkaException when no broker answers."""
        known = self._admin.list_topics(timeout=2.0).topics
        ids = topic_ids(self._admin, [name for name in self._names if name in known])
        return {
            Partition(name, number): ids.get(name, "")
            for name in self._names
            if name in known and known[name].error is None
            for number in sorted(known[name].partitions)
        }

    def watch(self, tell: Callable[[dict[Partition, str]], None], stopped: threading.Event) -> None:
        """Look again and again, until `stopped`, and tell what is there."""
        while not stopped.wait(EVERY):
            try:
                tell(self.look())
            except KafkaException as error:
                log.warning("Kafka: cannot look for new partitions: %s", error.args[0].str())
