"""Which partitions there are: asked of Kafka at the start, and again every few seconds.

Topics grow, are deleted, and are made anew under the same name. A thread asks, and tells the loop what it found.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from partition_supervisor.kafka.topic_catalog import TopicCatalog
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.kafka.topics import Topic
from partition_workers.model import Partition
from partition_workers.seldom import Seldom

log = logging.getLogger(__name__)

#: Seconds between two looks: one small question for all topics of the group. Until an owner that reads by name (a
#: broker before 3.1) hears of it, it may read some of a topic that was made anew.
EVERY = 3.0
#: Seconds for which a topic must be gone before it is believed: a broker that starts may not know all of them.
GONE_AFTER = 10.0
#: Seconds without an answer after which Kafka is out of this host's reach.
SILENT_AFTER = 10.0


class TopicDiscovery:
    """The partitions of some topics, each with its topic's id ("" where the broker has none)."""

    def __init__(self, config: Mapping[str, Any], names: Sequence[str]) -> None:
        try:
            admin = AdminClient(dict(config), logger=logging.getLogger("librdkafka"))
            self._catalog = TopicCatalog(config, admin)
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
        self._names = tuple(names)
        self._address = str(config["bootstrap.servers"])
        self._known = Known()
        self._seldom = Seldom(log)

    def first_look(self, timeout: float) -> dict[Partition, str]:
        """Raises Unreachable when no broker answers within `timeout` seconds, Misconfigured when a topic is missing.

        A topic that was just created takes a moment to be known everywhere, so a missing one is asked for again.
        """
        until = time.monotonic() + timeout
        patience = time.monotonic() + min(5.0, timeout)
        while True:
            try:
                found = self._known.learn(self._catalog.ask(self._names, 2.0), time.monotonic())
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

    def watch(
        self,
        tell: Callable[[dict[Partition, str]], None],
        answers: Callable[[bool], None],
        stopped: threading.Event,
    ) -> None:
        """Look again and again, until `stopped`, and tell what is there; and whether Kafka answers, when that has
        changed."""
        answered_at, told = time.monotonic(), True
        while not stopped.wait(EVERY):
            try:
                tell(self._known.learn(self._catalog.ask(self._names, 2.0), time.monotonic()))
                answered_at = time.monotonic()
            except KafkaException as error:
                self._seldom.warn("look", "Kafka: cannot look for the topics: %s", error.args[0].str())
            if (is_answering := time.monotonic() - answered_at < SILENT_AFTER) != told:
                told = is_answering
                answers(told)


class Known:
    """What is known of the topics, over several answers of which each may lack something."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._gone_since: dict[str, float] = {}

    def learn(self, told: Mapping[str, Topic | None], now: float) -> dict[Partition, str]:
        """All partitions that there are. An id that is known is replaced by another, never by "not known"."""
        for name, topic in told.items():
            if topic is not None:
                self._gone_since.pop(name, None)
                before = self._topics.get(name)
                topic_id = topic.topic_id or (before.topic_id if before else "")
                self._topics[name] = Topic(topic_id, topic.partitions)
            elif now - self._gone_since.setdefault(name, now) >= GONE_AFTER:
                self._topics.pop(name, None)
        return {
            Partition(name, number): topic.topic_id
            for name, topic in self._topics.items()
            for number in topic.partitions
        }
