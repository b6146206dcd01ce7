"""`partition-supervisor`: the commands. Each is a module of `commands/`, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import click

from partition_supervisor import __version__
from partition_supervisor.commands.errors import PlainGroup

COMMANDS = {
    "run": "Run one supervisor: a worker process for each Kafka partition.",
    "status": "Show who owns which partition, how far it is, and who stands by.",
    "topology": "Show which host has which partitions; first those that nobody owns.",
    "history": "Tell who owned a partition, since when, why it moved, and how long the gap was.",
    "ui": "Show the group in a browser, live.",
    "pause": "Pause partitions: their owners commit and let go, and nobody takes them.",
    "resume": "Resume partitions that were paused, or parked by a worker.",
    "drain": "Have a host hand everything over to others.",
    "move": "Move a partition to a certain host.",
    "offsets": "Show the offsets in etcd, or set them.",
    "produce": "Fill a topic with sample records.",
    "check": "Look at etcd, Kafka, this host and the group, and say what is wrong and how to mend it.",
    "config": "Show settings, and where each came from.",
    "services": "Run Kafka and etcd for development.",
    "completion": "Print what makes a shell complete our commands and options.",
    "demo": "Watch a failover: a cluster on this machine, and processes to kill.",
}


ALIASES = {"list": "status"}


class Commands(PlainGroup):
    """Imports a command's module only when it is used, so that --help and workers start quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"partition_supervisor.commands.{cmd_name}"), cmd_name
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        import confluent_kafka

        click.echo(
            f"partition-supervisor {__version__}"
            f" (confluent-kafka {confluent_kafka.version()}, librdkafka {confluent_kafka.libversion()[0]})"
        )
        ctx.exit()


@click.group(cls=Commands, context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Show the version, and those of the Kafka libraries.")  # fmt: skip
def cli(**_: Any) -> None:
    """One process per Kafka partition, owned by a lock in etcd; state and offset stored in one fenced
    transaction. When a process or a host dies, a warm standby goes on at exactly the next record.

    \b
    Exit codes: 0 fine, 1 unexpected, 2 usage, 3 condition not met (status --check, --wait),
    69 Kafka or etcd unreachable, 78 bad configuration.

    \b
    See it work:
      $ partition-supervisor demo
    """
