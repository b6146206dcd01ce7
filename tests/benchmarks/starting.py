"""How each system of the throughput benchmark is started, with the same settings for all that take them."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from partition_supervisor.config import Config
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.layout.documents import StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.benchmarks import frameworks
from tests.benchmarks.racing import Race
from tests.benchmarks.trials import Bench

#: Seconds between two commits: ours, and those of a group; both the default.
OUR_INTERVAL, GROUP_INTERVAL = 0.1, 5.0

#: Properties of our workers that only our way of reading can have.
_OURS_ALONE = ("group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset")


@dataclass(frozen=True, slots=True)
class Course:
    """A topic: a partition for each process, filled with so many records each."""

    topic: str
    processes: int
    records: int


class Starting:
    """Every method returns the name of the group that commits, if anybody does."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._etcd = EtcdOptions(parse_endpoints(bench.etcd_endpoints))

    def ours(self, race: Race, course: Course, handler: str, options: tuple[str, ...] = ()) -> str:
        group = _new_group()
        race.start_ours(
            [
                f"tests.benchmarks.counting:{handler}", "--topic", course.topic, "--group", group,
                "--bootstrap-servers", self._bench.bootstrap_servers,
                "--etcd-endpoints", self._bench.etcd_endpoints, *options,
            ]
        )  # fmt: skip
        return group

    def bare(self, race: Race, course: Course, handler: str) -> str:
        settings = {**self._tuned(course), "group.id": _new_group(), "enable.auto.commit": False}
        for partition in range(course.processes):
            self._loop(race, "bare", course, handler, settings, partition)
        return ""

    def group(self, race: Race, course: Course, handler: str) -> str:
        group = _new_group()
        settings = {**self._tuned(course), "group.id": group, "auto.offset.reset": "earliest"}
        for _ in range(course.processes):
            self._loop(race, "group", course, handler, settings)
        return group

    def default(self, race: Race, course: Course, handler: str) -> str:
        group = _new_group()
        address = self._bench.bootstrap_servers
        settings = {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest"}
        self._loop(race, "default", course, handler, settings)
        return group

    def transactional(self, race: Race, course: Course, handler: str) -> str:
        """Tuned as ours, and so that it is fast: librdkafka's own pauses would cost each commit 100 ms."""
        group = _new_group()
        settings = {**self._tuned(course), "group.id": group, "enable.auto.commit": False}
        producer = {
            "bootstrap.servers": self._bench.bootstrap_servers, "transactional.id": group, "retry.backoff.ms": 5,
            "queue.buffering.max.messages": 1_000_000, "log_level": 2,
        }  # fmt: skip
        self._loop(race, "transactional", course, handler, settings, producer=producer, interval=OUR_INTERVAL)
        return group

    def framework(
        self, name: str, by_key: bool = False, to: str = "", guarantee: str = "at-least-once"
    ) -> Callable[[Race, Course, str], str]:
        """`by_key`: it counts the records of each key, in its store. `to`: a topic to which it sends them on. Raises
        PartitionSupervisorError when it does not install."""
        python = frameworks.python_of(name, self._bench.say)

        def start(race: Race, course: Course, _handler: str) -> str:
            group = _new_group()
            settings = {**self._tuned(course), "group.id": group}
            order = {
                "topic": course.topic, "settings": settings, "by key": by_key, "to": to, "guarantee": guarantee
            }  # fmt: skip
            race.start(python, "tests.benchmarks.frameworks", name, json.dumps(order))
            return group

        return start

    def committed_by_ours(self, course: Course, group: str) -> int:
        """The offset of the first partition."""
        store = Etcd(self._etcd)
        try:
            found = store.get(Keys.of("partition-supervisor", group).offset(Partition(course.topic, 0)))
            return StoredOffset.decode(found.value).offset if found else 0
        finally:
            store.close()

    def committed_by_group(self, course: Course, group: str) -> int:
        """The offset of the first partition."""
        consumer = Consumer({"bootstrap.servers": self._bench.bootstrap_servers, "group.id": group})
        try:
            (found,) = consumer.committed([TopicPartition(course.topic, 0)], timeout=10.0)
            return max(0, int(found.offset))
        finally:
            consumer.close()

    def _tuned(self, course: Course) -> dict[str, Any]:
        """What our workers give to librdkafka, as far as it says how to read."""
        config = Config("", (course.topic,), self._bench.bootstrap_servers, self._etcd)
        settings = config.kafka_reader(course.processes)
        return {name: value for name, value in settings.items() if name not in _OURS_ALONE}

    def _loop(
        self,
        race: Race,
        loop: str,
        course: Course,
        handler: str,
        settings: dict[str, Any],
        partition: int = 0,
        **more: Any,
    ) -> None:
        order = {"settings": settings, "topic": course.topic, "partition": partition, "handler": handler, **more}
        race.start(sys.executable, "tests.benchmarks.loops", loop, json.dumps(order))


def _new_group() -> str:
    return f"race-{secrets.token_hex(3)}"
