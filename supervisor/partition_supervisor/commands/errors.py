"""How a command fails: one message for the person who has to act, and the exit code of the error."""

from __future__ import annotations

from typing import IO, Any

import click

from partition_supervisor.commands.settings import settings_options
from partition_supervisor.printable import printable
from partition_workers.errors import PartitionSupervisorError


class Failure(click.ClickException):
    def __init__(self, error: PartitionSupervisorError) -> None:
        super().__init__(str(error))
        self.exit_code = int(error.exit_code)  # type: ignore[misc, unused-ignore]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {printable(self.message)}", file=file, err=True)


class PlainCommand(click.Command):
    """A command whose foreseen errors end it without a traceback: `@click.command(cls=PlainCommand)`.

    One that talks to Kafka or etcd takes its settings from files, too.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        settings_options(self)

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **settings)
        except PartitionSupervisorError as error:  # of a file that is read with the options
            raise Failure(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PartitionSupervisorError as error:
            raise Failure(error) from error


class PlainGroup(click.Group):
    """The same for all commands of a group at once."""

    command_class = PlainCommand
