"""Takeovers of large states, at full size: each owner is killed with SIGKILL, and the next record is waited for.

    python -m tests.faults.large_states one    one partition: 5, 30 and 100 MB
    python -m tests.faults.large_states many   64 partitions fail over together, through a slow way to etcd

Ends with 1 when a record was lost, doubled or out of order. The times are reported, not judged: machines differ.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import click

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.checking import expected_sum
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_workers.etcd.options import parse_endpoints
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import Size, StoredOffset, now
from partition_workers.model import Partition
from tests.fakes.slow_line import Bottleneck, SlowLine

#: Bytes a second, to begin with.
FAST = 125e6


@click.group()
def large_states() -> None:
    """Takeovers of large states."""


@contextmanager
def cluster_of(
    partitions: int, rate: float, hosts: tuple[str, ...], way: Bottleneck | None, *options: str
) -> Iterator[DemoCluster]:
    """`way`: between all hosts and all members of etcd; None: as fast as it gets."""
    topic = f"large-{secrets.token_hex(3)}"
    with services.start() as running:
        create_topic(running.bootstrap_servers, topic, partitions)
        endpoints = parse_endpoints(running.etcd_endpoints)
        lines = [SlowLine(each, way) for each in endpoints] if way else []
        cluster = DemoCluster(
            running.bootstrap_servers, running.etcd_endpoints, topic, partitions, hosts, rate=rate * partitions,
            options=(*options, "--rebalance-delay", "3600",
                     *(("--etcd-endpoints", ",".join(each.endpoint for each in lines)) if lines else ())),
        )  # fmt: skip
        with cluster:
            try:
                yield cluster
            finally:
                for each in lines:
                    each.close()


def fill(cluster: DemoCluster, partition: Partition, megabytes: float, value: int, noted: bool = True) -> None:
    """A state as an owner would have left it. `value`: bytes of each value."""
    prefix = cluster.keys.state(partition)
    count = max(1, int(megabytes * 1e6 / value))
    puts = [Put(f"{prefix}filler/{number:07d}", json.dumps("." * (value - 2)).encode()) for number in range(count)]
    at_once = max(1, min(100, 1_000_000 // value))
    for start in range(0, len(puts), at_once):
        cluster.store.transact(Txn((), tuple(puts[start : start + at_once])))
    stored = StoredOffset(0, 1, 1, "", now())
    size = Size(count, count * value, now())
    notes = (Put(cluster.keys.size(partition), size.encode()),) if noted and megabytes > 1 else ()
    cluster.store.transact(Txn((), (Put(cluster.keys.offset(partition), stored.encode()), *notes)))


def kill_and_wait(cluster: DemoCluster, partitions: list[Partition], deadline: float) -> dict[Partition, float]:
    """Owners of these are killed together. Seconds until each has committed something under another token."""
    owners, tokens = cluster.judge.owners_and_tokens()
    begun = time.monotonic()
    for each in partitions:
        os.kill(owners[each].pid, signal.SIGKILL)
    waiting, taken = set(partitions), {}

    def all_have_committed() -> bool:
        for each in sorted(waiting):
            if cluster.judge.offset(each).token > tokens[each]:
                taken[each] = time.monotonic() - begun
                waiting.discard(each)
        return not waiting

    wait_for("all partitions have committed under another token", all_have_committed, deadline)
    return taken


def are_at_work(cluster: DemoCluster, records: int) -> bool:
    return all(cluster.judge.offset(each).offset > records for each in cluster.judge.partitions)


def verdicts_are_good(cluster: DemoCluster) -> bool:
    produced = cluster.load.stop()
    wait_for("all is processed", lambda: cluster.judge.caught_up(produced), 120.0)
    good = True
    for partition in cluster.judge.partitions:
        prefix, wanted = cluster.keys.state(partition), produced[partition.number]
        found = {name: cluster.store.get(prefix + name) for name in ("next", "count", "sum", "lost", "doubled")}
        state = {name: json.loads(each.value) for name, each in found.items() if each}
        expected = {"next": wanted, "count": wanted, "sum": expected_sum(wanted)}
        good &= state == expected
        if state != expected:
            click.echo(f"{partition}: {state} instead of {expected}")
    return good


def passed_on(cluster: DemoCluster) -> Counter[int]:
    """How often each lock was given to somebody, by the log."""
    return Counter(Counter(re.findall(r"(\S+): the lock goes to", cluster.logs())).values())


@large_states.command()
@click.option("--size", "sizes", multiple=True, type=float, default=(0.001, 5.0, 30.0, 100.0))
@click.option("--value", default=100_000, show_default=True, help="Bytes of each value.")
@click.option("--trials", default=3, show_default=True)
def one(sizes: tuple[float, ...], value: int, trials: int) -> None:
    """One partition, a standby on another host."""
    good = True
    for size in sizes:
        with cluster_of(1, 200.0, ("a", "b"), None) as cluster:
            (partition,) = cluster.judge.partitions
            fill(cluster, partition, size, min(value, int(size * 1e6)))
            cluster.start()
            cluster.load.start()
            wait_for("it is at work", lambda: are_at_work(cluster, 200), 30.0)
            times = []
            for _ in range(trials):
                times.append(kill_and_wait(cluster, [partition], 60.0)[partition])
                cluster.wait_until_complete()
            newest = cluster.judge.history(partition)[-1].gap
            good &= verdicts_are_good(cluster)
            seconds = ", ".join(f"{each:.2f}" for each in times)
            click.echo(f"{size:6g} MB: the next owner's first commit after {seconds} s; phases of the last: {newest};"
                       f" locks given so often: {dict(passed_on(cluster))}")  # fmt: skip
    sys.exit(0 if good else 1)


@large_states.command()
@click.option("--partitions", default=64, show_default=True)
@click.option("--each", default=0.1, show_default=True, help="MB of state in each partition.")
@click.option("--value", default=10_000, show_default=True, help="Bytes of each value.")
@click.option("--mbit", default=20.0, show_default=True, help="Megabits a second between hosts and etcd.")
@click.option("--hosts", default=3, show_default=True)
@click.option("--noted/--not-noted", default=True, help="Whether the size of the states is in etcd.")
def many(partitions: int, each: float, value: int, mbit: float, hosts: int, noted: bool) -> None:
    """All partitions fail over together."""
    names = tuple("abcdefgh"[:hosts])
    way = Bottleneck(FAST)
    with cluster_of(partitions, 5.0, names, way) as cluster:
        for partition in cluster.judge.partitions:
            fill(cluster, partition, each, value, noted)
        cluster.start(deadline=180.0)
        cluster.load.start()
        wait_for("all are at work", lambda: are_at_work(cluster, 10), 60.0)
        way.set_rate(mbit * 1e6 / 8)
        before = passed_on(cluster)
        carried = way.back.carried
        begun = time.monotonic()
        times = sorted(kill_and_wait(cluster, cluster.judge.partitions, 300.0).values())
        carried = way.back.carried - carried
        logs = cluster.logs()
        way.set_rate(FAST)
        good = verdicts_are_good(cluster)
        click.echo(
            f"{partitions} partitions of {each:g} MB through {mbit:g} Mbit/s: first commit after {times[0]:.2f} s,"
            f" half after {times[len(times) // 2]:.2f} s, all after {times[-1]:.2f} s;"
            f" {carried / 1e6:.1f} MB in {time.monotonic() - begun:.0f} s;"
            f" locks given so often: {dict(passed_on(cluster))}, before: {dict(before)};"
            f" lost: {logs.count('has another owner by now')}, leases over: {logs.count('the lease ran out')},"
            f" late: {logs.count('is late with its lease')}, suspended: {logs.count('suspended: etcd')}"
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    large_states()
