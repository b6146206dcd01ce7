"""`partition-supervisor services`: Kafka and etcd for development, as long as the command runs."""

from __future__ import annotations

import signal
from contextlib import suppress

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.dev import services as running


@click.command(cls=PlainCommand)
@click.option(
    "--kind",
    type=click.Choice(["auto", "local", "docker", "embedded"]),
    default="auto",
    show_default=True,
    help="How to get them; auto takes the first that this machine offers.",
)
@click.option(
    "--etcd-members",
    type=click.IntRange(1, 7),
    default=3,
    show_default=True,
    help="How many members etcd has.",
)
@click.option("--prepare", is_flag=True, help="Only download and build what is needed, once; then exit.")
def services(kind: str, etcd_members: int, prepare: bool) -> None:
    """Run Kafka and etcd for development.

    Prints two lines on standard output as soon as both answer, and stays until Ctrl-C or TERM. Everything
    binds to loopback, on free ports, with its data in a temporary folder, and ends with this command, even if
    it is killed.

    \b
    local     processes of this machine: Java with Maven or KAFKA_HOME, and
              an etcd on the PATH or Go. Fetched once into ~/.cache.
    docker    containers, where a Docker daemon answers.
    embedded  stand-ins that come with pip: no Java, no Go, no Docker.

    With auto, addresses in the environment (the two variables below) are used as they are.

    \b
    Examples:
      $ partition-supervisor services
      PARTITION_SUPERVISOR_BOOTSTRAP_SERVERS=127.0.0.1:19092
      PARTITION_SUPERVISOR_ETCD_ENDPOINTS=127.0.0.1:12379,...
    \b
      Use them in another terminal:
      $ partition-supervisor services > services.env
      $ set -a; . ./services.env; set +a
      $ partition-supervisor status
    \b
      One etcd member and nothing but Python packages:
      $ partition-supervisor services --kind embedded --etcd-members 1
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if prepare:
        click.echo(f"ready: {running.prepare(kind)}", err=True)
        return
    with running.start(kind, etcd_members=etcd_members) as started:
        click.echo(f"{running.BOOTSTRAP_SERVERS}={started.bootstrap_servers}")
        click.echo(f"{running.ETCD_ENDPOINTS}={started.etcd_endpoints}")
        with suppress(KeyboardInterrupt):
            while True:
                signal.pause()
