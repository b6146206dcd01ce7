"""`partition-supervisor demo`: a cluster on this machine, and processes to kill."""

from __future__ import annotations

import signal
import sys
import time

import click

from partition_supervisor.bounds import Bounds
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import Within
from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.live import show
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.demo.script import play
from partition_supervisor.printable import printable
from partition_workers.errors import PartitionSupervisorError

TOPIC, PARTITIONS = "events", 4


@click.command(cls=PlainCommand)
@click.option(
    "--script", is_flag=True, help="Break things by itself, measure, judge, end. So it is without a terminal."
)
@click.option(
    "--kind",
    type=click.Choice(["auto", "local", "docker", "embedded"]),
    default="auto",
    show_default=True,
    help="Where Kafka and etcd come from; see `services --help`.",
)
@click.option(
    "--rate",
    type=Within(Bounds(1, 100_000)),
    default=1000.0,
    show_default=True,
    help="Records a second, over all partitions.",
)
@click.option("--keep-logs", is_flag=True, help="Show the supervisors' logs at the end.")
def demo(script: bool, kind: str, rate: float, keep_logs: bool) -> None:
    """A cluster on this machine, to watch and to break.

    Starts Kafka, three etcd members, a topic of 4 partitions, a steady producer and two supervisors, host-a and
    host-b, each with a worker for every partition. Then:

    \b
    in a terminal     shows who owns what, and the line to paste: kill -9 PID.
                      Ctrl-C ends it, and compares states with what was produced.
    with --script     kills a worker, a whole host, and a supervisor alone, and
                      prints what each cost, in milliseconds by phase.

    Exit code 0: nothing was lost, doubled or out of order; 1: something was.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    scripted = script or not sys.stdout.isatty()
    begun = time.monotonic()
    with services.start(kind) as running:
        create_topic(running.bootstrap_servers, TOPIC, PARTITIONS)
        with DemoCluster(running.bootstrap_servers, running.etcd_endpoints, TOPIC, PARTITIONS, rate=rate) as cluster:
            try:
                cluster.start()
                cluster.load.start()
                click.echo(
                    f"{len(cluster.hosts)} hosts, {PARTITIONS} partitions of {TOPIC!r}, {rate:g} records/s;"
                    f" ready after {time.monotonic() - begun:.1f} s"
                )
                good = play(cluster, click.echo) if scripted else show(cluster, running.bootstrap_servers)
            except (TimeoutError, PartitionSupervisorError) as error:
                click.echo(f"\nerror: {printable(str(error))}", err=True)
                keep_logs = True
                good = False
            if keep_logs:
                click.echo(cluster.logs(), err=True)
    sys.exit(0 if good else 1)
