"""The storm with outputs: what a read_committed reader sees at its end, beside the state and what was produced, and
of what the longest gaps are made."""

from __future__ import annotations

import random
import secrets
import tempfile
import time
from pathlib import Path

import click

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import Gap
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.demo.script import report
from tests.committed import read_committed, seen
from tests.faults.sudden import FAULTS, Struck, show_gaps, strike
from tests.handlers.places import passed

PARTITIONS = 4
#: Of how many of the longest gaps after an owner's death it is told what they are made of.
LONGEST = 8


def run(count: int, rate: float) -> bool:
    """Whether nothing was lost, doubled or out of order, for the reader and in the state."""
    topic, out = (f"storm-{secrets.token_hex(3)}{end}" for end in ("", "-out"))
    with services.start() as running, tempfile.TemporaryDirectory() as times:
        for name in (topic, out):
            create_topic(running.bootstrap_servers, name, PARTITIONS)
        cluster = DemoCluster(
            running.bootstrap_servers, running.etcd_endpoints, topic, PARTITIONS, ("a", "b"), rate * PARTITIONS,
            ("--rebalance-delay", "3600", "--output", out), "tests/handlers/producing.py:forward",
            {"PRODUCE_TO": out, "PLACE_TIMES": times},
        )  # fmt: skip
        with cluster:
            cluster.start()
            cluster.load.start()
            time.sleep(10.0)  # a broker that has just started compiles
            struck: list[Struck] = []
            made_of: list[tuple[float, str]] = []
            for number in range(count):
                cluster.wait_until_complete(60.0)
                time.sleep(random.uniform(0.2, 0.8))  # the random moment
                struck.append(strike(cluster, FAULTS[number % len(FAULTS)]))
                if struck[-1].fault == "owner":
                    made_of += [_made_of(cluster, struck[-1], each, Path(times)) for each in struck[-1].gaps]
            verdicts = cluster.finish(60.0)
            report(verdicts, click.echo)
            numbers = read_committed(running.bootstrap_servers, out, PARTITIONS, 120.0)
    found = [seen(each, verdict.produced) for each, verdict in zip(numbers, verdicts, strict=True)]
    for partition, each in enumerate(found):
        click.echo(f"{out}[{partition}]: {each}")
    show_gaps(struck)
    for _, said in sorted(made_of, reverse=True)[:LONGEST]:
        click.echo(f"  among the longest: {said}")
    return all(each.is_good for each in verdicts) and all(each.is_good for each in found)


def _made_of(cluster: DemoCluster, struck: Struck, gap: Gap, times: Path) -> tuple[float, str]:
    """How long it was, and the steps before the first record, in milliseconds since the death: of the dead owner what
    it did last, of its successor what it did until then."""
    until = gap.phases["first record"]
    (pid,) = (each.pid for each in cluster.judge.history(gap.partition) if each.token == gap.token)
    dead = passed(times, struck.owners[gap.partition].pid, struck.at - 0.2)
    last = [f"{place} {at - 200:.0f}" for at, place in dead[-2:]]
    steps = [f"{place} {at:.0f}" for at, place in passed(times, pid, struck.at) if at <= until + 1]
    phases = [f"{name} {at:.0f}" for name, at in gap.phases.items()]
    return until, f"{', '.join(phases)}; the dead: {', '.join(last)}; its successor: {', '.join(steps)}"
