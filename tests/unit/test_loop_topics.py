"""What the supervisor does when Kafka tells of other topics than before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from partition_supervisor.events import KafkaAnswers, PartitionsChanged
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Host, now
from partition_workers.model import Partition
from partition_workers.protocol import KnowTopic, Leave, Starved
from tests.fakes.host import FakeHost

P, Q = Partition("t", 0), Partition("t", 1)


@pytest.fixture
def host() -> Iterator[FakeHost]:
    """With two partitions, each with an owner here."""
    made = FakeHost(2)
    made.open()
    made.warm_up_all()
    made.advance(1.0)
    made.warm_up_all()
    yield made
    made.close()


def tell(host: FakeHost, topic_ids: dict[Partition, str]) -> None:
    host.inbox.post(PartitionsChanged(topic_ids))
    host.settle()


def test_every_worker_of_a_topic_that_was_made_anew_is_told_once(host: FakeHost) -> None:
    """And whoever is started later knows the new id from the beginning."""
    for _ in range(3):
        tell(host, {P: "new", Q: "id"})
    assert [child.orders(KnowTopic) for child in host.on(P)] == [[KnowTopic("new")]] * len(host.on(P))
    assert not any(child.orders(KnowTopic) for child in host.on(Q))
    host.exit(host.owner(P))
    host.settle()
    host.advance(1.0)
    assert host.on(P)[-1].settings.topic_id == "new"


def test_the_workers_of_partitions_that_are_gone_leave_and_nobody_follows(host: FakeHost) -> None:
    owner = host.owner(Q)
    tell(host, {P: "id"})
    assert owner.orders(Leave) == [Leave(())]
    host.advance(60.0)
    assert not host.on(Q)
    assert host.lock_of(Q) is None
    assert host.owner(P)


def test_a_host_whose_only_topic_is_gone_waits_for_it_to_come_back(host: FakeHost) -> None:
    tell(host, {})
    host.advance(60.0)
    assert not host.children.living
    tell(host, {P: "another"})
    host.warm_up_all()
    assert host.owner(P).settings.topic_id == "another"


# --- a host that cannot read


def cut(host: FakeHost, host_b_reads: bool = True) -> None:
    """Host b has come, and stands by for everything. Then Kafka answers this one no more."""
    host.put(Put(host.keys.host("b"), Host(0, "1", 1, "", now(), reads_kafka=host_b_reads).encode()))
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    host.inbox.post(KafkaAnswers(False))
    host.settle()


def test_who_cannot_read_gives_its_partitions_to_a_host_that_can(host: FakeHost) -> None:
    """An owner to which nothing comes says so. The others are told that this host cannot read, and when it can."""
    cut(host)
    owner = host.owner(P)
    assert not owner.orders(Leave)
    assert not Host.decode(host.value(host.keys.host("a"))).reads_kafka
    host.report(owner, Starved(30.0))
    host.settle()
    assert [each.host for each in owner.orders(Leave)[-1].successors] == ["b"]

    host.inbox.post(KafkaAnswers(True))
    host.settle()
    assert Host.decode(host.value(host.keys.host("a"))).reads_kafka


def test_nothing_is_moved_to_a_host_that_cannot_read(host: FakeHost) -> None:
    """Whatever the balance says; until it can."""
    host.put(Put(host.keys.host("b"), Host(0, "1", 1, "", now(), reads_kafka=False).encode()))
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.advance(60.0)
    assert {host.plan_of(partition) for partition in host.partitions} == {"a", "b"}
    assert not host.moved()
    host.put(Put(host.keys.host("b"), Host(0, "1", 1, "", now()).encode()))
    host.advance(60.0)
    assert host.moved()


def test_when_nobody_can_read_everybody_keeps_what_he_has(host: FakeHost) -> None:
    cut(host, host_b_reads=False)
    owner = host.owner(P)
    for _ in range(5):
        host.report(owner, Starved(30.0))
        host.advance(10.0)
    assert not owner.orders(Leave)
    assert host.plan_of(P) == "a"


def test_an_owner_that_starves_where_kafka_answers_stays(host: FakeHost) -> None:
    """A leader that is away is away for everybody."""
    cut(host)
    host.inbox.post(KafkaAnswers(True))
    host.settle()
    host.report(host.owner(P), Starved(30.0))
    host.settle()
    assert not host.owner(P).orders(Leave)
