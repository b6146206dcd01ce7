"""`partition-supervisor services`: Kafka and etcd for development, as long as the command runs."""

from __future__ import annotations

import signal
from contextlib import suppress

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.dev import services as running
from partition_supervisor.dev.services.processes import is_free
from partition_workers.errors import Misconfigured

#: Where Kafka and the members of etcd are unless something else is said: below the ports of outgoing connections.
KAFKA_PORT, ETCD_PORTS = 9092, (2379, 22379, 32379, 12379, 13379, 14379, 15379)


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
@click.option(
    "--port-base",
    type=click.IntRange(0, 60_000),
    default=None,
    metavar="PORT",
    show_default="9092 and 2379",
    help="Kafka at this port, etcd at the next ones, and nowhere else; 0: at any that are free.",
)
@click.option("--prepare", is_flag=True, help="Only download and build what is needed, once; then exit.")
def services(kind: str, etcd_members: int, port_base: int | None, prepare: bool) -> None:
    """Run Kafka and etcd for development.

    Prints two lines on standard output as soon as both answer, and stays until Ctrl-C or TERM. Everything
    binds to loopback, with its data in a temporary folder, and ends with this command, even if it is killed. Kafka is
    at 9092 and etcd at 2379, where all other commands look, unless somebody else has these ports: then the two lines
    say where.

    \b
    local     processes of this machine: Java with Maven or KAFKA_HOME, and
              an etcd on the PATH or Go. Fetched once into ~/.cache.
    docker    containers, where a Docker daemon answers.
    embedded  stand-ins that come with pip: no Java, no Go, no Docker.

    With auto, addresses in the environment (the two variables below) are used as they are.

    \b
    Examples:
      $ partition-supervisor services
      PARTITION_SUPERVISOR_BOOTSTRAP_SERVERS=127.0.0.1:9092
      PARTITION_SUPERVISOR_ETCD_ENDPOINTS=127.0.0.1:2379,...
    \b
      Use them in another terminal, wherever they are:
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
    with running.start(kind, etcd_members=etcd_members, ports=ports_from(port_base, etcd_members)) as started:
        click.echo(f"{running.BOOTSTRAP_SERVERS}={started.bootstrap_servers}")
        click.echo(f"{running.ETCD_ENDPOINTS}={started.etcd_endpoints}")
        with suppress(KeyboardInterrupt):
            while True:
                signal.pause()


def ports_from(base: int | None, members: int) -> dict[str, tuple[int, ...]]:
    """Raises Misconfigured when a port that was asked for is taken."""
    if base is None:
        return {"kafka": (KAFKA_PORT,), "etcd": ETCD_PORTS}
    if base == 0:
        return {}
    wanted = range(base, base + 1 + members)
    if taken := [port for port in wanted if not is_free(port)]:
        raise Misconfigured(
            f"--port-base {base}: somebody else has {', '.join(map(str, taken))}; give another, or 0 for any"
        )
    return {"kafka": (base,), "etcd": tuple(wanted[1:])}
