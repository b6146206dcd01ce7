"""The storm with outputs: what a read_committed reader sees at its end, beside the state and what was produced."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import threading
import time
from functools import partial

import click

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import Gap, wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.demo.script import report
from partition_workers.model import Partition
from tests.committed import read_committed, seen

PARTITIONS = 4
#: Of ten faults: an owner killed; an owner stopped, for longer than its lease; a host; a supervisor.
FAULTS = ["owner"] * 7 + ["pause", "host", "supervisor"]


def run(count: int, rate: float) -> bool:
    """Whether nothing was lost, doubled or out of order, for the reader and in the state."""
    topic, out = (f"storm-{secrets.token_hex(3)}{end}" for end in ("", "-out"))
    with services.start() as running:
        for name in (topic, out):
            create_topic(running.bootstrap_servers, name, PARTITIONS)
        cluster = DemoCluster(
            running.bootstrap_servers, running.etcd_endpoints, topic, PARTITIONS, ("a", "b"), rate * PARTITIONS,
            ("--rebalance-delay", "3600", "--output", out), "tests/handlers/producing.py:forward",
            {"PRODUCE_TO": out},
        )  # fmt: skip
        with cluster:
            cluster.start()
            cluster.load.start()
            time.sleep(10.0)  # a broker that has just started compiles
            gaps: dict[str, list[float]] = {}  # by fault and phase
            for number in range(count):
                cluster.wait_until_complete(60.0)
                time.sleep(random.uniform(0.2, 0.8))  # the random moment
                fault = FAULTS[number % len(FAULTS)]
                for gap in _one(cluster, fault):
                    for phase, value in gap.phases.items():
                        gaps.setdefault(f"{fault} -> {phase}", []).append(value)
            verdicts = cluster.finish(60.0)
            report(verdicts, click.echo)
            numbers = read_committed(running.bootstrap_servers, out, PARTITIONS, 120.0)
    found = [seen(each, verdict.produced) for each, verdict in zip(numbers, verdicts, strict=True)]
    for partition, each in enumerate(found):
        click.echo(f"{out}[{partition}]: {each}")
    for name, values in gaps.items():
        _show(name, values)
    return all(each.is_good for each in verdicts) and all(each.is_good for each in found)


def _one(cluster: DemoCluster, fault: str) -> list[Gap]:
    """Do it, and wait until everything goes on: the gap of each partition concerned."""
    owners, tokens = cluster.judge.owners(), cluster.judge.tokens()
    partition, owner = random.choice(sorted(owners.items()))
    host = cluster.hosts[owner.host]
    concerned = [partition] if fault in ("owner", "pause") else [p for p, o in owners.items() if o.host == owner.host]
    at = time.time()
    if fault == "owner":
        os.kill(owner.pid, signal.SIGKILL)
    elif fault == "pause":
        os.kill(owner.pid, signal.SIGSTOP)
        threading.Timer(12.0, partial(_continue, owner.pid)).start()
    elif fault == "host":
        host.kill()
    else:
        host.kill_supervisor()
    time.sleep(0.5)  # whoever asks etcd now delays those who have to
    gaps = [_gap(cluster, each, tokens[each], at) for each in concerned]
    if fault in ("host", "supervisor"):
        wait_for("nothing is left of the host", lambda: not host.processes(), 15.0)
        host.start()
    return gaps


def _gap(cluster: DemoCluster, partition: Partition, token: int, at: float) -> Gap:
    found: list[Gap | None] = []

    def goes_on() -> bool:
        found.append(cluster.judge.gap(partition, token, at))
        return found[-1] is not None

    wait_for(f"{partition} goes on", goes_on, 60.0)
    gap = found[-1]
    assert gap is not None
    return gap


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # its supervisor has ended it
        os.kill(pid, signal.SIGCONT)


def _show(name: str, values: list[float]) -> None:
    ordered = sorted(values)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    click.echo(f"{name}: {len(ordered)} trials, p50 {p50:.1f}  p99 {p99:.1f}  max {ordered[-1]:.1f} ms")
