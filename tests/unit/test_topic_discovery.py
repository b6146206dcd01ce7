"""What is known of topics over several answers of Kafka, each of which may lack something."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from partition_supervisor.cluster.first_start import known_from, start_offsets
from partition_supervisor.kafka.topic_catalog import TopicCatalog
from partition_supervisor.kafka.topic_discovery import GONE_AFTER, Known
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.etcd.store import Put, Txn
from partition_workers.kafka.topics import Topic
from partition_workers.layout.documents import FirstStart, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

E0, E1, E2 = (Partition("events", number) for number in range(3))
KEYS = Keys.of("p", "g")


def test_an_id_is_replaced_by_another_and_never_by_not_known() -> None:
    known = Known()
    assert known.learn({"events": Topic("", (0,))}, 0.0) == {E0: ""}
    assert known.learn({"events": Topic("a", (0, 1))}, 0.0) == {E0: "a", E1: "a"}
    assert known.learn({"events": Topic("", (0, 1))}, 0.0) == {E0: "a", E1: "a"}
    assert known.learn({"events": Topic("b", (0,))}, 0.0) == {E0: "b"}


def test_a_topic_that_no_answer_tells_of_stays_as_it_was() -> None:
    known = Known()
    known.learn({"events": Topic("a", (0,)), "orders": Topic("o", (0,))}, 0.0)
    for moment in range(100):
        assert known.learn({"orders": Topic("o", (0,))}, float(moment)) == {E0: "a", Partition("orders", 0): "o"}


def test_a_topic_is_gone_when_kafka_has_said_so_for_some_seconds() -> None:
    """A broker that has just started may not know it yet; one answer that has it, and it was never gone."""
    known = Known()
    known.learn({"events": Topic("a", (0,))}, 0.0)
    assert known.learn({"events": None}, 1.0) == {E0: "a"}
    assert known.learn({"events": Topic("a", (0,))}, GONE_AFTER) == {E0: "a"}
    assert known.learn({"events": None}, GONE_AFTER + 1) == {E0: "a"}
    assert known.learn({"events": None}, 2 * GONE_AFTER + 1) == {}


class FakeClients:
    """A consumer's client and an admin's whose broker answers with what a test says: a topic's id, or an error."""

    def __init__(self, answers: dict[str, str | int], controller: int = 1, silent: bool = False) -> None:
        self.answers, self.controller, self.silent = answers, controller, silent
        self.asked: list[object] = []

    def list_topics(self, name: str, timeout: float) -> Any:
        self.asked.append(name)
        if self.silent:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        answer = self.answers[name]
        error = KafkaError(answer) if isinstance(answer, int) else None
        topic = SimpleNamespace(error=error, partitions={} if error else {0: None})
        return SimpleNamespace(controller_id=self.controller, topics={name: topic})

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, Future[Any]]:
        self.asked.append(tuple(topics.topic_names))
        told: dict[str, Future[Any]] = {name: Future() for name in topics.topic_names}
        for name, future in told.items():
            future.set_result(SimpleNamespace(topic_id=self.answers[name], partitions=[SimpleNamespace(id=0)]))
        return told


def catalog(clients: FakeClients) -> TopicCatalog:
    made = TopicCatalog({"bootstrap.servers": "127.0.0.1:1"}, cast(AdminClient, clients))
    made._asking = cast(Consumer, clients)
    return made


def test_only_the_topics_of_the_group_are_asked_for() -> None:
    """The metadata of a whole cluster may be more than it can tell in time."""
    clients = FakeClients({"events": "a", "orders": KafkaError.UNKNOWN_TOPIC_OR_PART, "secret": 29})
    assert catalog(clients).ask(["events", "orders", "secret"], 1.0) == {"events": Topic("a", (0,)), "orders": None}
    assert clients.asked == ["events", "orders", "secret", ("events",)]


def test_silence_is_an_error_and_an_admin_is_not_asked_then() -> None:
    """Its question would wait for a controller, and could end the process when a broker comes back."""
    clients = FakeClients({"events": "a"}, silent=True)
    with pytest.raises(KafkaException):
        catalog(clients).ask(["events"], 1.0)
    assert clients.asked == ["events"]
    with pytest.raises(KafkaException):
        catalog(FakeClients({"secret": 29})).ask(["secret"], 1.0)


def test_a_stand_in_without_a_controller_is_not_asked_for_ids() -> None:
    clients = FakeClients({"events": "a"}, controller=-1)
    assert catalog(clients).ask(["events"], 1.0) == {"events": Topic("", (0,))}
    assert clients.asked == ["events"]


def test_latest_is_where_the_group_first_started() -> None:
    """Whoever comes later, and however far the partitions have grown since."""
    store = FakeEtcd()
    ids = {E0: "a", E1: "a"}
    assert start_offsets(store, KEYS, ids, lambda _topic: {E0: 5, E1: 7}, 1.0) == {E0: 5, E1: 7}
    assert start_offsets(store, KEYS, ids, lambda _topic: {E0: 50, E1: 70}, 1.0) == {E0: 5, E1: 7}


def test_a_partition_that_was_added_later_begins_at_its_first_record() -> None:
    store = FakeEtcd()
    start_offsets(store, KEYS, {E0: "a", E1: "a"}, lambda _topic: {E0: 5, E1: 7}, 1.0)
    later = start_offsets(store, KEYS, {E0: "a", E1: "a", E2: "a"}, lambda _topic: {}, 1.0)
    assert E2 not in later


@pytest.mark.parametrize("written", [b"garbage", b"{}", b'{"topic_id":"a","offsets":[-1],"at":""}'])
def test_a_first_start_that_nobody_can_read_is_named(written: bytes) -> None:
    """With the command that removes it; where the group would begin is for a person to say."""
    store = FakeEtcd()
    store.transact(Txn((), (Put(KEYS.topic("events"), written),)))
    with pytest.raises(Misconfigured, match=f"--start latest: .*etcdctl del {KEYS.topic('events')}"):
        start_offsets(store, KEYS, {E0: "a"}, lambda _topic: {E0: 5}, 1.0)


def test_of_a_topic_that_was_made_anew_every_partition_was_added_later() -> None:
    document = FirstStart("a", [5, 7], now())
    assert known_from(document, [E0, E1], "b") == {}
    assert known_from(document, [E0, E1], "") == {E0: 5, E1: 7}


def test_without_a_leader_the_end_is_waited_for_and_said_to_be_missing() -> None:
    answers = iter([{E0: 5}, {E0: 5, E1: 7}])
    assert start_offsets(FakeEtcd(), KEYS, {E0: "a", E1: "a"}, lambda _topic: next(answers), 5.0) == {E0: 5, E1: 7}
    with pytest.raises(Unreachable, match=r"--start latest.*no leader"):
        start_offsets(FakeEtcd(), KEYS, {E0: "a"}, lambda _topic: {}, 0.1)


def test_an_answer_of_etcd_that_was_lost_is_asked_for_again() -> None:
    store = FakeEtcd()
    store.fail_next(applied=False)
    assert start_offsets(store, KEYS, {E0: "a"}, lambda _topic: {E0: 5}, 5.0) == {E0: 5}
