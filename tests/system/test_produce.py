"""`produce` from outside: what arrives in Kafka, in which order, and how it fails."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from partition_supervisor.dev.services import Services
from tests.commands import cli, start_cli

NOWHERE = "127.0.0.1:1"

Produce = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Arrived:
    partition: int
    key: bytes
    value: bytes


@pytest.fixture
def name() -> str:
    """Of a topic that does not exist."""
    return f"produce-{secrets.token_hex(4)}"


@pytest.fixture
def produce(services: Services) -> Produce:
    return lambda *arguments: cli("produce", "-b", services.bootstrap_servers, *arguments)


def partitions_of(services: Services, name: str) -> int:
    known = AdminClient({"bootstrap.servers": services.bootstrap_servers}).list_topics(timeout=10).topics
    return len(known[name].partitions) if name in known else 0


def all_records(services: Services, name: str) -> list[Arrived]:
    """Every record, in the order of each partition."""
    consumer = Consumer(
        {"bootstrap.servers": services.bootstrap_servers, "group.id": name, "auto.offset.reset": "earliest"}
    )
    records = []
    try:
        for number in range(partitions_of(services, name)):
            partition = TopicPartition(name, number, 0)
            end = consumer.get_watermark_offsets(partition, timeout=10)[1]
            consumer.assign([partition])
            for _ in range(end):
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                records.append(Arrived(number, message.key() or b"", message.value() or b""))
    finally:
        consumer.close()
    return records


def test_ten_records_arrive_by_default(services: Services, produce: Produce, topic: str) -> None:
    ended = produce("-t", topic)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert re.fullmatch(rf"produced 10 records to {topic} in \d+\.\d s \([\d,]+/s\)\n", ended.stderr)
    arrived = {record.key: record.value for record in all_records(services, topic)}
    assert arrived == {b"key-%d" % number: b"value-%d" % number for number in range(10)}


def test_a_missing_topic_is_created_with_the_partitions_asked_for(
    services: Services, produce: Produce, name: str
) -> None:
    wanted = 4 if services.kind == "embedded" else 3
    ended = produce("-t", name, "--partitions", str(wanted))
    assert ended.returncode == 0, ended.stderr
    assert partitions_of(services, name) == wanted
    assert len(all_records(services, name)) == 10


def test_an_existing_topic_with_as_many_partitions_is_fine(produce: Produce, topic: str) -> None:
    assert produce("-t", topic, "--partitions", "4").returncode == 0


def test_an_existing_topic_with_another_number_of_partitions_is_refused(
    services: Services, produce: Produce, topic: str
) -> None:
    ended = produce("-t", topic, "--partitions", "3")
    assert ended.returncode == 78
    assert "4 partitions, not 3" in ended.stderr
    assert all_records(services, topic) == []


def test_an_unknown_topic_is_not_created_unasked(services: Services, produce: Produce, name: str) -> None:
    ended = produce("-t", name)
    assert ended.returncode == 78
    assert "--partitions" in ended.stderr
    assert partitions_of(services, name) == 0


def test_what_a_stand_in_cannot_do_is_said(name: str) -> None:
    from partition_supervisor.dev import services

    with services.start("embedded", etcd_endpoints=NOWHERE) as running:
        ended = cli("produce", "-b", running.bootstrap_servers, "-t", name, "--partitions", "8")
        assert ended.returncode == 78
        assert "stand-in" in ended.stderr
        assert "--partitions 4" in ended.stderr
        ended = cli("produce", "-b", running.bootstrap_servers, "-t", f"{name}-2", "--partitions", "4")
        assert ended.returncode == 0, ended.stderr


def test_the_order_of_each_partition_is_kept(services: Services, produce: Produce, topic: str) -> None:
    ended = produce("-t", topic, "--count", "5000", "--round-robin", "-X", "linger.ms=1")
    assert ended.returncode == 0, ended.stderr
    records = all_records(services, topic)
    for partition in range(4):
        numbers = [int(record.value.removeprefix(b"value-")) for record in records if record.partition == partition]
        assert numbers == list(range(partition, 5000, 4))


def test_values_are_padded(services: Services, produce: Produce, topic: str) -> None:
    assert produce("-t", topic, "--size", "100").returncode == 0
    assert {len(record.value) for record in all_records(services, topic)} == {100}


def test_the_rate_is_kept(produce: Produce, topic: str) -> None:
    began = time.monotonic()
    assert produce("-t", topic, "--count", "21", "--rate", "20").returncode == 0
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_says_what_was_acknowledged(
    services: Services, topic: str, signum: signal.Signals, code: int
) -> None:
    command = start_cli("produce", "-b", services.bootstrap_servers, "-t", topic, "--count", "1000", "--rate", "100")
    with command:
        wait_for_a_record(services, topic)
        command.send_signal(signum)
        _, said = command.communicate(timeout=30)
    assert command.returncode == code
    found = re.match(r"produced (\d+) records", said)
    assert found, said
    assert int(found[1]) == len(all_records(services, topic))
    assert f"{1000 - int(found[1])} of 1000 records were not written" in said


def test_a_stream_without_end_is_ended_by_a_signal_and_that_is_fine(services: Services, topic: str) -> None:
    with start_cli(
        "produce", "-b", services.bootstrap_servers, "-t", topic, "--count", "0", "--rate", "50"
    ) as command:
        wait_for_a_record(services, topic)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=30)
    assert command.returncode == 0


def wait_for_a_record(services: Services, topic: str) -> None:
    consumer = Consumer({"bootstrap.servers": services.bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
    try:
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None
    finally:
        consumer.close()


def test_a_record_that_kafka_refuses_is_a_failure(produce: Produce, topic: str) -> None:
    ended = produce("-t", topic, "--size", "2000000", "--count", "1")
    assert ended.returncode == 1
    assert "error: 1 of 1 records" in ended.stderr
    assert "size" in ended.stderr


def test_a_silent_kafka_is_named_with_the_option_to_look_at() -> None:
    ended = cli("produce", "-b", NOWHERE, "--connect-timeout", "0.5")
    assert ended.returncode == 69
    assert ended.stderr.startswith(f"error: Kafka does not answer at {NOWHERE}")
    assert "--bootstrap-servers" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("setting", ["enable.idempotence=false", "bootstrap.servers=x", "no.such=1", "nonsense"])
def test_a_property_that_cannot_be_set_is_a_bad_configuration(setting: str) -> None:
    ended = cli("produce", "-b", NOWHERE, "-X", setting)
    assert ended.returncode == 78
    assert setting.partition("=")[0] in ended.stderr
