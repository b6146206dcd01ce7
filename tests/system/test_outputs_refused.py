"""A real Kafka that refuses one of thousands of outputs for good: that record is passed over, and no other."""

from __future__ import annotations

import json
import secrets
import signal
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from partition_supervisor.dev.services import Services
from tests.commands import cli, start_cli
from tests.committed import committed_values
from tests.eventually import eventually

HANDLER = """
def handle(record, state, context):
    number = int(record.value())
    context.produce("{out}", record.value(), key=None if number in (700, 2345) else b"key %d" % number)
    state["count"] = state.get("count", 0) + 1
"""
RECORDS, BAD = 4000, (700, 2345)


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_records_that_a_compacted_topic_does_not_take_are_passed_over(
    services: Services, tmp_path: Path, guarantee: str
) -> None:
    name = secrets.token_hex(4)
    topic, out = f"in-{name}", f"out-{name}"
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    made = [NewTopic(topic, 1, 1), NewTopic(out, 1, 1, config={"cleanup.policy": "compact"})]
    for future in admin.create_topics(made).values():
        future.result(30.0)
    producer = Producer({"bootstrap.servers": services.bootstrap_servers})
    for number in range(RECORDS):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(30.0) == 0
    file = tmp_path / "keyless.py"
    file.write_text(HANDLER.format(out=out))
    group = ("--group", name, "-b", services.bootstrap_servers, "-e", services.etcd_endpoints)
    with start_cli(
        "run", f"{file}:handle", *group, "--topic", topic, "--workers", "1", "--host-id", "a",
        "--output", out, "--output-guarantee", guarantee, "--on-error", "skip", "--max-retries", "1",
    ) as running:  # fmt: skip

        def offset() -> int:
            partitions = json.loads(cli("status", *group, "-o", "json").stdout)["partitions"]
            return max((each["offset"] or 0 for each in partitions), default=0)

        try:
            eventually("all is committed", lambda: offset() == RECORDS, deadline=45)
        finally:
            running.send_signal(signal.SIGTERM)
            _, log = running.communicate(timeout=30.0)

    (found,) = committed_values(services.bootstrap_servers, out, 1)
    seen = [int(each) for each in (found if guarantee == "exactly-once" else dict.fromkeys(found))]
    assert seen == [number for number in range(RECORDS) if number not in BAD]
    assert log.count("was skipped") == len(BAD)
    assert "Broker failed to validate record" in log
