"""Ordinary days: hosts come and go, deployments roll, one record is bad; and nobody notices."""

from __future__ import annotations

import os
import secrets
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from partition_workers.layout.documents import Ending, Lock, Standby
from partition_workers.model import Partition
from tests.conftest import MakeCluster
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(180)

QUICK = ("--rebalance-delay", "0.5")
BAD = 150  # the number of the record that kills, in partition 0


def assert_nothing_was_lost(cluster: DemoCluster) -> None:
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


def has_another_owner(cluster: DemoCluster, partition: Partition, than: int) -> bool:
    owner = cluster.judge.owners().get(partition)
    return owner is not None and owner.pid != than


def share(cluster: DemoCluster) -> dict[str, int]:
    """How many partitions each host owns."""
    return dict(Counter(lock.host for lock in cluster.judge.owners().values()))


def test_a_host_that_joins_takes_its_share_by_hand_over(make_cluster: MakeCluster) -> None:
    """It gets half, each partition in one transaction: no instant without an owner."""
    cluster = make_cluster(options=QUICK)
    first, second = cluster.hosts.values()
    first.start()
    eventually("the first owns everything", lambda: share(cluster) == {first.name: 4}, deadline=20)
    cluster.load.start()

    second.start()

    eventually("each owns two", lambda: share(cluster) == {first.name: 2, second.name: 2}, deadline=20)
    moved = [p for p, lock in cluster.judge.owners().items() if lock.host == second.name]
    eventually("the moves are in the history", lambda: all(cluster.judge.history(p)[-1].from_offset for p in moved))
    for partition in moved:
        before, after = cluster.judge.history(partition)
        assert (before.ending, after.cause) == (Ending.HANDED_OVER, "handed-over")
        assert before.to_offset == after.from_offset
    unmoved = set(cluster.judge.partitions) - set(moved)
    assert all(len(cluster.judge.history(p)) == 1 for p in unmoved), "the others were not touched"
    assert_nothing_was_lost(cluster)


def test_a_rolling_restart_of_every_host_loses_nothing(make_cluster: MakeCluster) -> None:
    """One host after the other stops and comes back; partitions are handed over, never abandoned."""
    cluster = make_cluster(hosts=("a", "b", "c"), options=(*QUICK, "--lease-ttl", "30"))
    cluster.start()
    cluster.load.start()

    for host in cluster.hosts.values():
        host.stop()
        assert host.wait(15.0) == 0
        host.start()
        cluster.wait_until_complete()

    causes = {record.cause for p in cluster.judge.partitions for record in cluster.judge.history(p)}
    assert causes <= {"acquired", "handed-over"}
    assert all(
        record.cause == "handed-over" for p in cluster.judge.partitions for record in cluster.judge.history(p)[1:]
    )
    assert_nothing_was_lost(cluster)


def test_hup_replaces_every_worker(make_cluster: MakeCluster) -> None:
    """A new fork server, and one worker after the other; the supervisor stays."""
    cluster = make_cluster(options=QUICK)
    cluster.start()
    cluster.load.start()
    host = cluster.hosts["host-a"]
    before = {process.pid for process in host.processes()} - {host.pid}

    os.kill(host.pid, signal.SIGHUP)

    eventually("all are new", lambda: not before & workers_of(cluster, "host-a"), deadline=30)
    assert host.is_running
    cluster.wait_until_complete()
    assert_nothing_was_lost(cluster)


def workers_of(cluster: DemoCluster, host: str) -> set[int]:
    everybody: list[Lock | Standby] = [*cluster.judge.owners().values(), *cluster.judge.standby_documents()]
    return {each.pid for each in everybody if each.host == host}


def test_ttou_and_ttin_change_the_number_of_workers(make_cluster: MakeCluster) -> None:
    """One less, and one more again."""
    cluster = make_cluster(options=QUICK)
    cluster.start()
    host = cluster.hosts["host-b"]

    os.kill(host.pid, signal.SIGTTOU)
    eventually("host-b has three workers", lambda: len(workers_of(cluster, "host-b")) == 3)
    os.kill(host.pid, signal.SIGTTIN)
    eventually("host-b has four workers", lambda: len(workers_of(cluster, "host-b")) == 4)


def test_more_partitions_than_places_are_covered_by_another_host(make_cluster: MakeCluster) -> None:
    """What has no place is named; a second host serves it."""
    cluster = make_cluster(options=(*QUICK, "--workers", "2"))
    first, second = cluster.hosts.values()
    cluster.load.start()
    first.start()
    eventually("it owns two", lambda: share(cluster) == {first.name: 2}, deadline=20)
    eventually("the others are named", lambda: "2 places for 4 partitions" in first.log.read_text())

    second.start()

    eventually("each owns two", lambda: share(cluster) == {first.name: 2, second.name: 2}, deadline=20)
    assert_nothing_was_lost(cluster)


@pytest.mark.parametrize("on_error", ["stop", "skip", "dlq"])
def test_a_record_that_kills_does_not_walk_from_host_to_host(
    make_cluster: MakeCluster, services: Services, tmp_path: Path, on_error: str
) -> None:
    """After a few deaths it is known and not tried again: its partition stops there, or passes it over."""
    letters, over = f"letters-{secrets.token_hex(3)}", tmp_path / "over"
    create_topic(services.bootstrap_servers, letters, 4)
    cluster = make_cluster(
        handler="tests.handlers.misbehaving:segfaults",
        environment={"TROUBLE_AT": str(BAD), "TROUBLE_UNTIL": str(over)},
        options=(
            "--on-error", on_error, "--max-deaths", "2", "--rebalance-delay", "3600",
            *(("--dlq-topic", letters) if on_error == "dlq" else ()),
        ),
        rate=1000.0,
    )  # fmt: skip
    cluster.start()
    tokens = cluster.judge.tokens()
    cluster.load.start()
    trouble, *others = cluster.judge.partitions

    if on_error == "stop":
        eventually("it is parked", lambda: cluster.store.get(cluster.keys.parked(trouble)), deadline=60)
        assert cluster.judge.offset(trouble).offset == BAD
        assert cluster.judge.state(trouble)["next"] == BAD
        over.touch()  # somebody has mended the handler
        Orders(RetryingStore(cluster.store, 10.0, "here"), cluster.keys).resume([trouble])
    eventually("it is past that", lambda: cluster.judge.offset(trouble).offset > BAD + 200, deadline=60)

    verdicts = cluster.finish()
    assert all(each.is_good for each in verdicts if each.partition != trouble)
    [bad] = [each for each in verdicts if each.partition == trouble]
    assert (bad.lost, bad.doubled) == (0 if on_error == "stop" else 1, 0), "the poison record alone is missing"
    assert bad.counted == bad.produced - bad.lost
    now = cluster.judge.tokens()
    assert [now[p] for p in others] == [tokens[p] for p in others], "the others were not touched"
    deaths = [each for each in cluster.judge.history(trouble) if each.ending == Ending.DIED]
    # Nobody may know the record of the first three: one more has committed up to it. Where no standby is ready, the
    # lock is freed, and the next owner, on the other host, has not heard of these deaths. Then each attempt is one.
    assert 2 <= len(deaths) <= 3 + 2 + 2
    if on_error == "dlq":
        assert the_letter(services, letters, cluster.group).startswith(b"%d " % BAD)


def the_letter(services: Services, topic: str, group: str) -> bytes:
    """The value of the first there."""
    reader = Consumer({"bootstrap.servers": services.bootstrap_servers, "group.id": group})
    reader.assign([TopicPartition(topic, number, 0) for number in range(4)])
    letter = eventually("the letter is there", lambda: reader.poll(0.5))
    reader.close()
    assert letter is not None
    return letter.value() or b""


def test_what_cannot_be_handled_becomes_a_dead_letter(make_cluster: MakeCluster, services: Services) -> None:
    """With headers that say where it was and why; everything else is counted."""
    letters = f"letters-{secrets.token_hex(3)}"
    create_topic(services.bootstrap_servers, letters, 4)
    cluster = make_cluster(
        handler="tests.handlers.misbehaving:raises",
        environment={"TROUBLE_AT": str(BAD)},
        options=("--on-error", "dlq", "--dlq-topic", letters, "--max-retries", "1"),
    )
    cluster.start()
    cluster.load.start()
    trouble = cluster.judge.partitions[0]

    eventually("work goes on", lambda: cluster.judge.offset(trouble).offset > BAD + 100, deadline=30)

    reader = Consumer({"bootstrap.servers": services.bootstrap_servers, "group.id": cluster.group})
    reader.assign([TopicPartition(letters, number, 0) for number in range(4)])
    letter = eventually("the letter is there", lambda: reader.poll(0.5))
    reader.close()
    assert letter is not None
    assert (letter.value() or b"").startswith(b"%d " % BAD)
    headers = {str(each[0]): str(each[1]) for each in letter.headers() or []}
    assert cluster.topic in headers["dlq.topic"]
    assert str(BAD) in headers["dlq.offset"]
    assert "this record is bad" in headers["dlq.error"]


def test_killing_an_idle_worker_parks_nothing(make_cluster: MakeCluster) -> None:
    """However often, once it has looked whether there is anything: nobody was at a record. To die before that, one
    after the other, is a crash loop."""
    cluster = make_cluster(options=("--max-deaths", "1"))
    cluster.start()
    partition = cluster.judge.partitions[0]

    for _ in range(20):
        dead = cluster.judge.owners()[partition].pid
        os.kill(dead, signal.SIGKILL)
        eventually("it has another owner", partial(has_another_owner, cluster, partition, dead))
        cluster.wait_until_complete()
        eventually("it has got on", partial(has_got_on, cluster, partition))

    assert cluster.store.get(cluster.keys.parked(partition)) is None
    cluster.load.start()
    eventually("records are committed", lambda: cluster.judge.offset(partition).offset > 100)
    assert_nothing_was_lost(cluster)


def has_got_on(cluster: DemoCluster, partition: Partition) -> bool:
    """Its own death would be the first in a row."""
    stored = cluster.judge.offset(partition)
    return stored.token == cluster.judge.tokens()[partition] and stored.deaths <= 1


def test_workers_are_replaced_after_so_many_records(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The replacement first, then a hand-over; the counts are right."""
    cluster = make_cluster(options=("--max-records", "700"), hosts=("only",), rate=4000.0)
    cluster.start()
    cluster.load.start()

    eventually(
        "every partition was handed over",
        lambda: all(len(cluster.judge.history(p)) > 1 for p in cluster.judge.partitions),
        deadline=30,
    )
    for partition in cluster.judge.partitions:
        first, *later = cluster.judge.history(partition)
        assert first.ending == Ending.HANDED_OVER
        assert {each.cause for each in later} == {"handed-over"}, "never without an owner"
    assert_nothing_was_lost(cluster)


def test_a_worker_that_grew_too_fat_is_replaced(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """After several samples; by hand-over, so its partition is never without an owner, and the others see nothing."""
    cluster = make_cluster(
        handler="tests.handlers.misbehaving:grows",
        environment={"TROUBLE_AT": str(BAD), "TROUBLE_ONCE": str(tmp_path / "happened")},
        options=("--max-worker-memory", "120", "--rebalance-delay", "3600"),
        hosts=("only",),
    )
    cluster.start()
    cluster.load.start()
    fat, *others = cluster.judge.partitions

    eventually("it is replaced", lambda: len(cluster.judge.history(fat)) > 1, deadline=30)

    assert [each.cause for each in cluster.judge.history(fat)] == ["acquired", "handed-over"]
    assert "it uses more than 120 MB" in cluster.hosts["only"].log.read_text()
    assert_nothing_was_lost(cluster)
    assert all(len(cluster.judge.history(p)) == 1 for p in others)


def test_when_most_hosts_are_gone_failover_goes_on_and_balancing_stops(make_cluster: MakeCluster) -> None:
    """Whoever is left takes everything, and when one comes back nothing is moved for a while."""
    cluster = make_cluster(hosts=("a", "b", "c", "d"), options=(*QUICK, "--lease-ttl", "2"))
    cluster.start()
    cluster.load.start()
    eventually("each has its share", lambda: set(share(cluster).values()) == {1}, deadline=20)
    cluster.wait_until_complete()

    for name in ("b", "c", "d"):
        cluster.hosts[name].signal_all(signal.SIGKILL)

    eventually("the last one owns everything", lambda: share(cluster) == {"a": 4}, deadline=10)
    log = cluster.hosts["a"].log
    eventually("it has noticed", lambda: "of 4 hosts are gone: no balancing" in log.read_text())
    for name in ("b", "c", "d"):
        cluster.hosts[name].wait(10.0)
    cluster.hosts["b"].start()
    cluster.wait_until_complete()
    tokens, offset = cluster.judge.tokens(), min(cluster.judge.offsets().values())
    eventually(
        "work goes on for many times the delay of a move",
        lambda: min(cluster.judge.offsets().values()) > offset + 5 * 0.5 * 500,
        deadline=20,
    )
    assert cluster.judge.tokens() == tokens
    assert_nothing_was_lost(cluster)


def test_offsets_are_mirrored_to_the_kafka_group(make_cluster: MakeCluster, services: Services) -> None:
    """So that every tool that measures lag sees them."""
    cluster = make_cluster()
    cluster.start()
    cluster.load.start()
    eventually("some records are committed", lambda: min(cluster.judge.offsets().values(), default=0) > 100)

    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})

    def mirrored() -> dict[int, int]:
        places = [TopicPartition(cluster.topic, number) for number in range(4)]  # librdkafka's mock wants them named
        wanted = ConsumerGroupTopicPartitions(cluster.group, places)
        asked = admin.list_consumer_group_offsets([wanted], request_timeout=5)
        return {place.partition: place.offset for place in asked[cluster.group].result().topic_partitions}

    eventually(
        "the group has offsets",
        lambda: [n for n, offset in sorted(mirrored().items()) if offset > 100] == [0, 1, 2, 3],
        15,
    )
    produced = cluster.load.stop()
    eventually("and in the end all of them", lambda: [mirrored()[n] for n in range(4)] == produced, deadline=15)
