"""Handlers that do nothing, raise what nobody expects, or cannot be told to be wrong: nothing is passed over."""

from __future__ import annotations

import os
import secrets
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.services import Services
from tests.commands import cli
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.system.test_handlers import BAD, assert_nothing_was_lost, parked, start

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class A:\n    async def __call__(self, r, s): ...\nhandle = A()", "async"),
        ("def handle(record): ...", "(record, state)"),
        ("class handle:\n    def __init__(self, url): ...\n    def handle(self, r, s): ...", "without arguments"),
    ],
)
def test_a_handler_that_would_do_nothing_is_refused_at_the_start(tmp_path: Path, source: str, words: str) -> None:
    """Before Kafka or etcd are asked for anything."""
    file = tmp_path / "mine.py"
    file.write_text(source)
    done = cli("run", f"{file}:handle", "--topic", "t", "--bootstrap-servers", "127.0.0.1:1")
    assert done.returncode == 78
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, "one message"


def test_an_async_handler_that_nobody_could_see_fails_at_its_first_record(make_cluster: MakeCluster) -> None:
    """And not one record is taken for handled."""
    cluster = start(make_cluster, "asynchronous_in_disguise", {}, "--max-retries", "0")
    eventually("all are parked", lambda: len(parked(cluster)) == 4)
    found = parked(cluster).values()
    assert {(each.offset, "nobody awaits" in each.reason) for each in found} == {(0, True)}


@pytest.mark.parametrize("kind", ["cancelled", "interrupt", "generator"])
def test_what_is_raised_past_exception_is_the_records_error(make_cluster: MakeCluster, kind: str) -> None:
    """No worker dies of it."""
    environment = {"TROUBLE_KIND": kind}
    cluster = start(make_cluster, "raises_past_exception", environment, "--max-retries", "1", "--on-error", "skip")
    trouble = cluster.judge.partitions[0]
    eventually("it is passed over", lambda: cluster.judge.offset(trouble).offset > BAD + 100, deadline=30)
    assert "WARNING" in cluster.logs()
    assert not [each for each in cluster.judge.history(trouble) if each.ending == "died"]


def test_many_attempts_may_take_longer_than_one_record_may(make_cluster: MakeCluster) -> None:
    """The time limit is for an attempt: pauses between them are ours, and --on-error comes at last."""
    options = ("--max-retries", "5", "--handler-timeout", "1", "--on-error", "skip")
    cluster = start(make_cluster, "raises", {}, *options)
    trouble = cluster.judge.partitions[0]
    eventually("it is passed over", lambda: cluster.judge.offset(trouble).offset > BAD + 100, deadline=30)
    assert "has been on one record" not in cluster.logs()


# --- dead letters


def make_topic(services: Services, name: str, partitions: int, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    (made,) = admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values()
    made.result(10.0)


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("limit", ["5000000", "1000000"])
def test_a_dead_letter_is_sent_or_its_partition_parks(
    make_cluster: MakeCluster, services: Services, topic: str, limit: str
) -> None:
    """A record of 2 MB, and a reason that is no unicode; the topic takes it or does not. No worker dies of it."""
    letters = f"letters-{secrets.token_hex(3)}"
    make_topic(services, letters, 1, **{"max.message.bytes": limit})
    raise_limit(services, topic)
    options = (
        "--on-error",
        "dlq",
        "--dlq-topic",
        letters,
        "--max-retries",
        "0",
        "-X",
        "fetch.message.max.bytes=5000000",
    )
    cluster = make_cluster(
        handler="tests.handlers.misbehaving:raises_what_cannot_be_encoded", environment={"TROUBLE_AT": "1"},
        options=options,
    )  # fmt: skip
    cluster.start()
    producer = Producer({"bootstrap.servers": services.bootstrap_servers, "message.max.bytes": 5_000_000})
    for value in (b"0 ", b"1 " + b"x" * 2_000_000, b"2 "):
        producer.produce(topic, value, partition=0)
    assert producer.flush(20.0) == 0
    trouble = cluster.judge.partitions[0]
    if limit == "5000000":
        eventually("it is passed over", lambda: cluster.judge.offset(trouble).offset == 3, deadline=20)
    else:
        found = eventually("it is parked", lambda: parked(cluster), deadline=20)
        assert "no dead letter could be sent" in found[trouble].reason
        assert found[trouble].offset == 1
    assert not [each for each in cluster.judge.history(trouble) if each.ending == "died"]


def raise_limit(services: Services, topic: str) -> None:
    entry = ConfigEntry("max.message.bytes", "5000000", incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    (done,) = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
    ).values()
    done.result(10.0)


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    "arguments", [("--dlq-topic", "no topic"), ("--dlq-topic", "t", "-X", "acks=1"), ("--dlq-topic", "TOPIC")]
)
def test_dead_letters_that_could_never_be_sent_are_refused_at_the_start(
    services: Services, topic: str, arguments: tuple[str, ...]
) -> None:
    """Not in the night, at the first bad record."""
    done = cli(
        "run", "partition_workers.samples:count", "--topic", topic, "--bootstrap-servers", services.bootstrap_servers,
        "--etcd-endpoints", services.etcd_endpoints, "--connect-timeout", "4", "--on-error", "dlq",
        *(each.replace("TOPIC", topic) for each in arguments),
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr


# --- open()


def test_an_open_that_raises_is_tried_again(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Nothing is parked for a database that was away for a moment."""
    cluster = start(make_cluster, "RaisesInOpen", {"TROUBLE_TIMES": str(tmp_path / "times")})
    assert_nothing_was_lost(cluster)
    assert "no database" in cluster.logs()
    assert parked(cluster) == {}


def test_an_open_that_hangs_is_ended_as_a_record_that_hangs(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Its stack is logged, and a standby goes on."""
    environment = {"TROUBLE_ONCE": str(tmp_path / "happened")}
    options = ("--handler-timeout", "1", "--lease-ttl", "10")
    cluster = start(make_cluster, "HangsInOpen", environment, *options)
    trouble = cluster.judge.partitions[0]
    eventually("somebody goes on", lambda: cluster.judge.offsets().get(trouble, 0) > 100, deadline=20)
    assert "in open()" in cluster.logs()
    assert_nothing_was_lost(cluster)


def test_workers_that_die_in_open_come_more_and_more_slowly(
    make_cluster: MakeCluster, services: Services, tmp_path: Path
) -> None:
    """And rest at last, which is said; the other partitions go on; no record is lost when it is mended."""
    times, over = tmp_path / "times", tmp_path / "over"
    environment = {"TROUBLE_TIMES": str(times), "TROUBLE_UNTIL": str(over)}
    cluster = make_cluster(handler="tests.handlers.misbehaving:DiesInOpen", environment=environment, rate=1000.0)
    for host in cluster.hosts.values():
        host.start()
    cluster.load.start()
    said = "crashed too often, next try in 300 s"
    eventually("both hosts say that they wait", lambda: cluster.logs().count(said) == 2, deadline=60)
    deaths = len(times.read_text().split())
    assert deaths <= 2 * 6 + 2
    others = cluster.judge.partitions[1:]
    eventually("the others go on", lambda: all(cluster.judge.offsets().get(each, 0) > 100 for each in others))
    assert len(times.read_text().split()) == deaths
    shown = cli(
        "status", "--group", cluster.group, "-b", services.bootstrap_servers, "-e", services.etcd_endpoints
    )  # fmt: skip
    assert "its workers crash too often" in shown.stdout


# --- deaths


def test_a_record_that_takes_the_whole_host_along_is_found(make_cluster: MakeCluster) -> None:
    """Somebody starts the host again each time, as orchestrators do. Nobody who saw a death is left, but etcd."""
    cluster = make_cluster(
        handler="tests.handlers.misbehaving:ends_everything", environment={"TROUBLE_AT": str(BAD)}, rate=1000.0,
        hosts=("host-a",), options=("--on-error", "skip", "--lease-ttl", "2"),
    )  # fmt: skip
    cluster.load.start()
    [host], trouble = cluster.hosts.values(), cluster.judge.partitions[0]
    starts = 0
    until = time.monotonic() + 100
    while cluster.judge.offset(trouble).offset <= BAD + 100:
        assert time.monotonic() < until, f"not found after {starts} starts"
        if not host.is_running:
            host.start()
            starts += 1
        time.sleep(0.05)  # for a process that may end at any time
    assert starts <= 3 + 1 + 4, "care before it is known where, and then --max-deaths"
    assert f"offset {BAD} was skipped: it has killed 3 workers" in cluster.logs()


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_healthy_owner_can_be_killed_every_second(make_cluster: MakeCluster, is_busy: bool) -> None:
    """Its replacement comes at once each time; nothing rests, nothing parks, nothing is lost."""
    cluster = make_cluster(rate=1000.0, hosts=("host-a",))
    cluster.start()
    trouble = cluster.judge.partitions[0]
    if is_busy:
        cluster.load.start()
    for _ in range(9):
        owner = eventually("it has an owner", lambda: cluster.judge.owners().get(trouble))
        assert owner is not None
        eventually("which works", partial(has_begun, cluster, cluster.judge.tokens().get(trouble, 0)))
        time.sleep(1.0)  # a person's pace
        os.kill(owner.pid, signal.SIGKILL)
        eventually("it is gone", partial(is_gone, cluster, owner.worker))
    assert "crashed too often" not in cluster.logs()
    if not is_busy:
        cluster.load.start()
    assert_nothing_was_lost(cluster)


def has_begun(cluster: DemoCluster, token: int) -> bool:
    return any(each.token >= token for each in cluster.judge.history(cluster.judge.partitions[0]))


def is_gone(cluster: DemoCluster, worker: str) -> bool:
    owner = cluster.judge.owners().get(cluster.judge.partitions[0])
    return owner is not None and owner.worker != worker
