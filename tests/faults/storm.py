"""Storms: many faults under load, each gap kept, and the final state compared with what was produced.

    python -m tests.faults.storm kills      a hundred kill -9 of owners at random moments, two hosts
    python -m tests.faults.storm moves      a host joins and is drained, again and again, twelve partitions
    python -m tests.faults.storm rolling    every host of three is restarted, twice
    python -m tests.faults.storm outputs    a hundred owners, hosts and supervisors killed or stopped, with outputs
    python -m tests.faults.storm postgres   forty, into a database, and owners that wake up within their transaction

Ends with 1 when a record was lost, doubled or out of order. The gaps are reported, not judged: machines differ.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import click

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.demo.script import report
from partition_workers.layout.documents import History, milliseconds, now
from partition_workers.model import Partition
from tests.faults.output_storm import run as run_outputs
from tests.faults.postgres_storm import run as run_postgres

#: Records a second in each partition. Twelve partitions at 500 leave two cores nothing to spare, Kafka and etcd
#: being on them too, and then a gap tells mostly how long a process waits for a processor.
RATE = click.option("--rate", default=500.0, show_default=True, help="Records a second in each partition.")
FEWER = click.option("--rate", default=200.0, show_default=True, help="Records a second in each partition.")
#: Seconds of load before the first fault: a broker that has just started compiles, and then some answers take it a
#: fifth of a second.
WARM_UP = 15.0


@click.group()
def storm() -> None:
    """Many faults under load."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP is, under nohup
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))


@contextmanager
def cluster_of(rate: float, partitions: int, hosts: tuple[str, ...], *options: str) -> Iterator[DemoCluster]:
    topic = f"storm-{secrets.token_hex(3)}"
    with services.start() as running:
        create_topic(running.bootstrap_servers, topic, partitions)
        addresses = running.bootstrap_servers, running.etcd_endpoints
        with DemoCluster(*addresses, topic, partitions, hosts, rate=rate * partitions, options=options) as cluster:
            yield cluster


def begin_load(cluster: DemoCluster, rate: float) -> str:
    """Records come from now on, and have come for a while. The time since when faults count."""
    cluster.load.start()
    wait_for("the load is steady", lambda: min(cluster.load.produced) >= WARM_UP * rate, WARM_UP + 30.0)
    return now()


def is_there(look: Callable[[], object]) -> bool:
    return look() is not None


def show(name: str, values: list[float]) -> None:
    """Every trial, and what to remember of them."""
    ordered = sorted(values)
    click.echo(f"{name}: " + " ".join(f"{value:.0f}" for value in values))
    if ordered:
        p50, p90, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.9, 0.99))
        click.echo(
            f"{name}, {len(ordered)} trials: p50 {p50:.1f}  p90 {p90:.1f}  p99 {p99:.1f}  max {ordered[-1]:.1f} ms"
        )


def end(cluster: DemoCluster) -> None:
    verdicts = cluster.finish()
    report(verdicts, click.echo)
    sys.exit(0 if all(each.is_good for each in verdicts) else 1)


@storm.command()
@click.option("--count", default=100, show_default=True)
@RATE
def kills(count: int, rate: float) -> None:
    """kill -9 of owners at random moments."""
    with cluster_of(rate, 4, ("a", "b"), "--rebalance-delay", "3600") as cluster:
        cluster.start()
        begin_load(cluster, rate)
        phases: dict[str, list[float]] = {}
        for _ in range(count):
            cluster.wait_until_complete()
            time.sleep(random.uniform(0.2, 0.8))  # the random moment
            owners, tokens = cluster.judge.owners_and_tokens()
            partition, owner = random.choice(sorted(owners.items()))
            token, at = tokens[partition], time.time()
            os.kill(owner.pid, signal.SIGKILL)
            time.sleep(0.5)  # whoever asks etcd now delays those who have to
            look = partial(cluster.judge.gap, partition, token, at)
            wait_for(f"{partition} goes on", partial(is_there, look), 30.0)
            gap = look()
            assert gap is not None
            for name, value in gap.phases.items():
                phases.setdefault(name, []).append(value)
        for name, values in phases.items():
            show(f"kill -> {name}", values)
        end(cluster)


@storm.command()
@click.option("--rounds", default=9, show_default=True, help="Each moves twelve partitions: six there, six back.")
@FEWER
def moves(rounds: int, rate: float) -> None:
    """A host joins and takes its half, is drained and gives it back."""
    with cluster_of(rate, 12, ("a", "b"), "--rebalance-delay", "0.5") as cluster:
        cluster.start()
        steady = begin_load(cluster, rate)
        orders = Orders(RetryingStore(cluster.store, 10.0, "the services of this storm"), cluster.keys)
        for _ in range(rounds):
            _wait_for_share(cluster, "b", 6)
            orders.drain("b")
            _wait_for_share(cluster, "b", 0)
            orders.undrain("b")
        moved = [each for each in _gaps_of(cluster, steady) if each.cause == "handed-over"]
        for phase in ("lock_taken", "state_loaded", "first_record"):
            show(
                f"last commit -> {phase.replace('_', ' ')} of a moved partition", [each.gap[phase] for each in moved]
            )
        _tell_the_longest(moved)
        end(cluster)


@storm.command()
@click.option("--rounds", default=2, show_default=True)
@FEWER
def rolling(rounds: int, rate: float) -> None:
    """Every host stops and comes back, one after the other."""
    with cluster_of(rate, 12, ("a", "b", "c"), "--rebalance-delay", "1") as cluster:
        cluster.start()
        steady = begin_load(cluster, rate)
        for _ in range(rounds):
            for host in cluster.hosts.values():
                time.sleep(2.0)  # a deployment takes its time
                host.stop()
                host.wait(30.0)
                host.start()
                cluster.wait_until_complete()
        gaps = _gaps_of(cluster, steady)
        unowned = sum(_unowned(cluster, partition) for partition in cluster.judge.partitions)
        show("last commit -> first record", [each.gap["first_record"] for each in gaps])
        _tell_the_longest(gaps)
        click.echo(f"time without an owner, all partitions together: {unowned:.1f} ms")
        end(cluster)


def _wait_for_share(cluster: DemoCluster, host: str, count: int) -> None:
    """Asked once a second: whoever asks etcd more often delays those who have to."""

    def has_its_share() -> bool:
        time.sleep(1.0)
        return sum(lock.host == host for lock in cluster.judge.owners().values()) == count

    wait_for(f"{host} owns {count}", has_its_share, 60.0)
    time.sleep(1.0)  # and everybody has handled a record


def _gaps_of(cluster: DemoCluster, steady: str) -> list[History]:
    """Every ownership since then that came after another one, and has handled a record."""
    histories = (record for partition in cluster.judge.partitions for record in cluster.judge.history(partition))
    return [record for record in histories if record.since > steady and "first_record" in record.gap]


def _tell_the_longest(gaps: list[History]) -> None:
    """Where their time went: what to look at next."""
    for each in sorted(gaps, key=lambda record: record.gap["first_record"])[-5:]:
        phases = ", ".join(f"{name.replace('_', ' ')} {value:.0f}" for name, value in each.gap.items())
        click.echo(f"  among the longest: {each.cause} to {each.host}, {each.since}: {phases} ms")


def _unowned(cluster: DemoCluster, partition: Partition) -> float:
    """Milliseconds between a release and the next acquisition; a hand-over has none, being one transaction."""
    records = cluster.judge.history(partition)
    return sum(
        milliseconds(before.until, after.since)
        for before, after in pairwise(records)
        if before.until and after.cause == "acquired"
    )


@storm.command()
@click.option("--count", default=100, show_default=True)
@FEWER
def outputs(count: int, rate: float) -> None:
    """Owners, hosts and supervisors are killed or stopped while their handler produces."""
    sys.exit(0 if run_outputs(count, rate) else 1)


@storm.command()
@click.option("--count", default=40, show_default=True)
@FEWER
def postgres(count: int, rate: float) -> None:
    """Owners, hosts and supervisors are killed or stopped while their handler writes into PostgreSQL."""
    sys.exit(0 if run_postgres(count, rate) else 1)


if __name__ == "__main__":
    storm()
