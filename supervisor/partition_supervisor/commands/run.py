"""`partition-supervisor run`: the options of a supervisor."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_from, etcd_options, kafka_options, option
from partition_supervisor.commands.secret_option import SecretOption
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.config import Config
from partition_supervisor.processes import log_receiver
from partition_supervisor.processes.descriptors import raise_descriptor_limit
from partition_supervisor.service_manager import ServiceManager
from partition_supervisor.termination import Termination
from partition_workers.errors import Misconfigured
from partition_workers.model import AT_LEAST_ONCE, EXACTLY_ONCE

LEVELS = ["debug", "info", "warning", "error"]


@click.command(cls=PlainCommand)
@click.argument("handler")
@option("-t", "--topic", "topics", multiple=True, required=True, help="A topic to process. Repeatable.")
@kafka_options
@etcd_options
@option(
    "--host-id",
    default=socket.gethostname,
    show_default="the host name",
    help="This supervisor's name; each needs its own.",
)
@option(
    "-n",
    "--workers",
    type=int,
    default=None,
    show_default="one for each partition",
    help="How many worker processes this host runs, owners and standbys together.",
)
@option(
    "--lease-ttl",
    type=int,
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How long a host that is cut off or without power goes unnoticed; 2 to 60. Dead processes are noticed"
    " at once.",
)
@option(
    "--listen",
    metavar="HOST[:PORT]",
    default="",
    show_default="the address that leads to etcd, any port",
    help="Where the other supervisors connect to, to notice at once that this host died; none: nowhere.",
)
@option(
    "--advertise",
    metavar="HOST[:PORT]",
    default="",
    show_default="where it listens",
    help="Where they reach it, if that is elsewhere: behind NAT, or from outside of a container.",
)
@option(
    "--http",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where /metrics, /livez and /readyz are; port 0: one that is free, which `status` shows; none: nowhere.",
)
@option(
    "--http-token",
    metavar="TOKEN",
    cls=SecretOption,
    help="What /metrics wants as Authorization: Bearer TOKEN; file:/path or env:NAME: where that is.",
)
@option(
    "--commit-interval",
    type=float,
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="The least time between two commits of a partition; 0 commits after every record.",
)
@option(
    "--handler-timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="A handler that is longer at one record, without heartbeat(), is stuck; 0: never.",
)
@option(
    "--read-timeout",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="An owner that could read nothing for so long, while Kafka answers other hosts, hands over; 0: never.",
)
@option(
    "--max-retries",
    type=int,
    default=3,
    show_default=True,
    help="How often a record is tried again when the handler raises.",
)
@option(
    "--on-error",
    type=click.Choice(["stop", "skip", "dlq"]),
    default="stop",
    show_default=True,
    help="What becomes of a record that cannot be handled: its partition stops there, or it is passed over.",
)
@option("--dlq-topic", metavar="TOPIC", help="Where --on-error dlq sends the records it passes over.")
@option(
    "--output",
    "outputs",
    multiple=True,
    metavar="TOPIC",
    help="A topic that the handler may produce to, with context.produce(). Repeatable.",
)
@option(
    "--output-guarantee",
    type=click.Choice([EXACTLY_ONCE, AT_LEAST_ONCE]),
    default=EXACTLY_ONCE,
    show_default=True,
    help="What is promised of outputs: by Kafka's transactions, or only that they are acknowledged before a commit.",
)
@option(
    "--max-deaths",
    type=int,
    default=3,
    show_default=True,
    help="A record that ended so many workers, counted from when records are tried one by one, is not tried again.",
)
@option(
    "--max-worker-memory",
    type=int,
    default=0,
    metavar="MB",
    help="Replace a worker that uses more memory of its own than this.",
)
@option("--max-records", type=int, default=0, help="Replace a worker after so many records, give or take a tenth.")
@option(
    "--rebalance-delay",
    type=float,
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the membership must be quiet before partitions move. Failover does not wait for it.",
)
@option(
    "--mirror-offsets/--no-mirror-offsets",
    default=True,
    show_default=True,
    help="Copy offsets to the Kafka group of the same name every few seconds, for lag tools; never read back.",
)
@option(
    "--graceful-timeout",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long workers may take to hand over when told to stop.",
)
@option(
    "--start",
    type=click.Choice(["earliest", "latest"]),
    default="earliest",
    show_default=True,
    help="Where a partition begins that has no offset in etcd.",
)
@option(
    "--connect-timeout",
    type=float,
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for Kafka and etcd at the start.",
)
@option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="What to log.")
@option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, JSON for machines; on standard error.",
)
def run(log_format: str, **values: Any) -> None:
    """Run one supervisor on this host: a worker process for each partition of the topics.

    HANDLER is the code that gets each record, as package.module:attribute or path/to/file.py:attribute:

    \b
      def handle(record, state):
          state["count"] = state.get("count", 0) + 1

    Run the same command on as many hosts as you like. Each partition has one owner; the other hosts' workers for
    it stand by, warm. Kill what you want.

    \b
    Examples:
      $ partition-supervisor run app.py:handle --topic events
      $ partition-supervisor run partition_workers.samples:count -t events -b kafka:9092 -e etcd-1:2379,etcd-2:2379
      Two supervisors on one machine, to try it:
      $ partition-supervisor run partition_workers.samples:word_count -t events --host-id a
      $ partition-supervisor run partition_workers.samples:word_count -t events --host-id b
    \b
    Signals: TERM, INT: hand over and stop (a second INT: at once). HUP: replace the workers one by one, with
      fresh code. TTIN, TTOU: one worker more or less. USR1: the stacks of all workers.
    Exit codes: 0 stopped, 69 Kafka or etcd unreachable, 78 bad configuration, the handler's import included.
    """
    # A file of settings has every command look at these options; what a supervisor consists of is for this one alone.
    from partition_supervisor.assembly import supervise
    from partition_supervisor.processes.forkserver import ForkServer

    termination = Termination()
    service_manager = ServiceManager.from_environment(os.environ)
    config = config_from(values)
    log_receiver.configure(config.log_level, log_format)
    raise_descriptor_limit()
    fork_server = ForkServer(config.handler)
    termination.last_deeds.append(fork_server.kill)
    supervise(config, fork_server, termination, service_manager)


def config_from(values: dict[str, Any]) -> Config:
    """From the values of the options of `run`, those of its log's form left out. Raises Misconfigured."""
    values = dict(values)
    properties, workers, log_level = (values.pop(name) for name in ("properties", "workers", "log_level"))
    if workers is not None and workers < 1:
        raise Misconfigured(f"--workers {workers}: must be 1 or more; leave it out for one for each partition")
    return Config(
        etcd=etcd_from(values), kafka=properties_from(properties), workers=workers or 0,
        log_level=logging.getLevelName(log_level.upper()), **values,
    )  # fmt: skip
