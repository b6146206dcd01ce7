"""Topics that are made anew, deleted, grow, or are written by transactions, under supervisors that run."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from partition_supervisor.dev.services import Services
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.documents import Parked, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.commands import COMMAND, cli, environment
from tests.eventually import eventually
from tests.topics import create, delete, make_anew

pytestmark = pytest.mark.timeout(150)


class Group:
    """A group of its own over a topic of its own with one partition, as a person at a terminal sees it."""

    def __init__(self, services: Services, store: Etcd, folder: Path) -> None:
        if services.kind == "embedded":
            pytest.skip("librdkafka's mock of a broker cannot delete topics")
        self.services, self.store, self.folder = services, store, folder
        self.name, self.topic = f"group-{secrets.token_hex(4)}", f"topics-{secrets.token_hex(4)}"
        self.first = Partition(self.topic, 0)
        self.keys = Keys.of("partition-supervisor", self.name)
        self.kafka = AdminClient({"bootstrap.servers": services.bootstrap_servers, "log_level": 2})
        self._running: list[subprocess.Popen[str]] = []

    # --- Kafka

    def create(self, partitions: int = 1) -> None:
        create(self.kafka, self.topic, partitions)

    def delete(self) -> None:
        delete(self.kafka, self.topic)

    def fill(self, count: int, number: int = 0) -> None:
        self._produce(Producer(self._client()), count, number)

    def transaction(self, count: int) -> Producer:
        producer = Producer(self._client() | {"transactional.id": self.name})
        producer.init_transactions(20.0)
        producer.begin_transaction()
        self._produce(producer, count, 0)
        return producer

    def _produce(self, producer: Producer, count: int, number: int) -> None:
        for _ in range(count):
            producer.produce(self.topic, b"x", partition=number)
        assert producer.flush(20.0) == 0

    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.services.bootstrap_servers, "log_level": 2}

    # --- commands

    def options(self) -> tuple[str, ...]:
        return "--group", self.name, "-b", self.services.bootstrap_servers, "-e", self.services.etcd_endpoints

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return cli(*words, *self.options())

    def done(self, *words: str) -> str:
        ended = self(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def run(self, host: str, *more: str, handler: str = "partition_workers.samples:count") -> None:
        log = (self.folder / f"{host}.log").open("w")
        command = (
            *COMMAND, "run", handler, "-t", self.topic, "--host-id", host, "--graceful-timeout", "3",
            *self.options(), *more,
        )  # fmt: skip
        self._running.append(subprocess.Popen(command, stderr=log, text=True, env=environment()))

    def log(self, host: str) -> str:
        return (self.folder / f"{host}.log").read_text()

    def end(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            process.communicate(timeout=40)

    # --- etcd

    def offset(self, number: int = 0) -> StoredOffset | None:
        found = self.store.list(self.keys.offset(Partition(self.topic, number))).items
        return StoredOffset.decode(found[0].value) if found else None

    def at(self, number: int = 0) -> int:
        stored = self.offset(number)
        return stored.offset if stored else -1

    def count(self, number: int = 0) -> int:
        found = self.store.list(self.keys.state(Partition(self.topic, number)) + "count").items
        return int(json.loads(found[0].value)) if found else 0

    def parked(self) -> Parked | None:
        found = self.store.list(self.keys.parked(self.first)).items
        return Parked.decode(found[0].value) if found else None

    def workers(self) -> list[str]:
        """The keys of its owner and its standbys."""
        prefixes = self.keys.lock(self.first), self.keys.standby(self.first, "")
        return [each.key for prefix in prefixes for each in self.store.list(prefix).items]

    def shown(self, number: int = 0) -> dict[str, Any]:
        document = json.loads(self("status", "-o", "json").stdout)
        (found,) = (each for each in document["partitions"] if each["partition"] == number)
        return dict(found)


@pytest.fixture
def group(services: Services, etcd_endpoints: tuple[str, ...], tmp_path: Path) -> Iterator[Group]:
    store = Etcd(EtcdOptions(etcd_endpoints))
    made = Group(services, store, tmp_path)
    yield made
    made.end()
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()}")
    store.close()


@pytest.mark.parametrize("new", [5000, 0])
def test_a_topic_made_anew_parks_its_partition_and_one_reset_and_one_resume_mend_it(group: Group, new: int) -> None:
    """Longer than the old one or empty: nothing of the new one is passed over, on whichever host."""
    group.create()
    group.fill(1000)
    for host in ("a", "b"):
        group.run(host)
    eventually("all is counted", lambda: group.count() == 1000, deadline=40)
    before = eventually("its end is stored", lambda: group.offset() if group.at() == 1000 else None)

    make_anew(group.kafka, group.topic)
    group.fill(new)

    parked = eventually("it is parked", group.parked, deadline=30)
    assert parked is not None
    assert f"offsets reset {group.first} --to-earliest" in parked.reason
    stored = group.offset()
    assert stored is not None
    assert before is not None
    assert (stored.offset, stored.topic_id, group.count()) == (1000, before.topic_id, 1000)

    refused = group("resume", str(group.first))
    assert refused.returncode == 3
    assert f"offsets reset {group.first} --to-earliest" in refused.stderr
    assert group.parked()

    group.done("offsets", "reset", str(group.first), "--to-earliest", "--execute")
    group.done("resume", str(group.first), "--wait")

    group.fill(10)
    eventually("all of the new one is counted", lambda: group.count() == 1000 + new + 10, deadline=30)
    eventually("and stored", lambda: group.at() == new + 10)
    stored = group.offset()
    assert stored is not None
    assert stored.topic_id != before.topic_id


def test_a_topic_that_is_deleted_loses_its_workers_and_can_be_forgotten(group: Group) -> None:
    """Status says so until somebody decides."""
    group.create()
    group.fill(10)
    group.run("a")
    eventually("all is counted", lambda: group.count() == 10, deadline=40)
    assert group("offsets", "forget", str(group.first), "--execute").returncode == 3

    group.delete()

    eventually("nobody works on it", lambda: not group.workers(), deadline=40)
    assert group.parked() is None
    checked = group("status", "--check")
    assert checked.returncode == 3
    assert f"{group.first} has no owner: Kafka does not have it any more" in checked.stderr
    assert f"{group.first} would be forgotten" in group.done("offsets", "forget")
    assert group.offset() is not None
    group.done("offsets", "forget", "--execute")
    assert not [each.key for each in group.store.list(group.keys.root).items if group.topic in each.key]


def test_latest_is_for_the_partitions_that_exist_at_the_first_start(group: Group) -> None:
    """One that is added later begins at its first record, and one that nobody read at first loses nothing."""
    group.create(2)
    group.fill(50, 0)
    group.fill(50, 1)
    group.run("a", "--start", "latest", "--workers", "1")  # so the other partition has nobody
    eventually("one is owned", lambda: {group.at(0), group.at(1)} == {50, -1}, deadline=40)
    owned = 0 if group.at(0) == 50 else 1
    group.fill(7, 1 - owned)

    group.kafka.create_partitions([NewPartitions(group.topic, 3)])[group.topic].result(20.0)
    eventually("the third can be written", lambda: group.topic in group.kafka.list_topics().topics)
    group.fill(100, 2)
    group.run("b", "--start", "latest")

    eventually("the late one is counted", lambda: group.count(1 - owned) == 7, deadline=40)
    eventually("the new one is counted from its first record", lambda: group.count(2) == 100, deadline=40)
    group.fill(3, owned)
    eventually("and the first from its end", lambda: group.count(owned) == 3, deadline=20)


def test_a_topic_written_by_transactions_has_no_lag(group: Group) -> None:
    """Marks of transactions, an open one, an aborted one: nothing that could be read is left."""
    group.create()
    group.transaction(10).commit_transaction(20.0)
    group.run("a")
    eventually("the mark is passed over", lambda: (group.count(), group.at()) == (10, 11), deadline=40)
    producer = group.transaction(1000)
    shown = group.shown()
    assert (shown["offset"], shown["end_offset"], shown["lag"]) == (11, 11, 0)
    producer.abort_transaction(20.0)
    eventually("what was aborted is passed over", lambda: group.at() == 1012, deadline=20)
    assert group.shown()["lag"] == 0
    assert group("status", "--check").returncode == 0
    assert "nothing comes" not in group.log("a")


def test_check_finds_a_partition_that_has_more_and_does_not_advance(group: Group, tmp_path: Path) -> None:
    """And does not mind one that is idle, nor one that has just got a record after a rest."""
    group.create()
    group.fill(20)
    (tmp_path / "stands.py").write_text(
        "import time\n\n\ndef handle(record, state):\n    state['count'] = state.get('count', 0) + 1\n"
        "    if record.offset() == 20:\n        time.sleep(3600)\n"
    )
    group.run("a", "--commit-interval", "0", handler=f"{tmp_path}/stands.py:handle")
    eventually("all is counted", lambda: group.count() == 20, deadline=40)
    checked = group("status", "--check", "--stalled-after", "0.1")
    assert checked.returncode == 0, checked.stderr

    group.fill(5)

    def stands() -> bool:
        checked = group("status", "--check", "--stalled-after", "2")
        return checked.returncode == 3 and "has not advanced for" in checked.stderr

    eventually("it is found", stands, deadline=20)
    assert "has not advanced for" in group("status", "--stalled-after", "2").stdout
    assert group("status", "--check").returncode == 0, "two minutes are not over"
