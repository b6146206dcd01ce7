"""`partition-supervisor config show`: each setting of a command, its value, and where that came from."""

from __future__ import annotations

from enum import Enum
from typing import Any

import click
from click.core import ParameterSource

from partition_supervisor.admin.settings import masked
from partition_supervisor.commands.errors import PlainCommand, PlainGroup
from partition_supervisor.commands.output import DOCUMENTS, output_option, print_document, print_records, say
from partition_supervisor.commands.settings import file_of, properties_from

SOURCES = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}


@click.group(cls=PlainGroup)
def config() -> None:
    """Show settings, and where they came from."""


@config.command(cls=PlainCommand, context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@output_option
@click.option("--of", "command_name", default="run", show_default=True, metavar="COMMAND", help="Whose settings.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def show(output: str, command_name: str, arguments: tuple[str, ...]) -> None:
    """Show what a command would be run with: its settings, and where each came from.

    Flag > environment > file > default. ARGUMENTS are those that the command would get. Secrets are masked.

    \b
    Examples:
      $ partition-supervisor config show
      $ partition-supervisor config show app.py:handle --topic events --lease-ttl 8
      $ partition-supervisor config show --of status -o json
    \b
    Exit codes: 0 fine, 2 usage, 78 a file that cannot be read or that has an unknown key.
    """
    root = click.get_current_context().find_root()
    group = root.command
    assert isinstance(group, click.Group)
    command = group.get_command(root, command_name)
    if command is None or isinstance(command, click.Group):
        raise click.UsageError(f"--of {command_name}: there is no such command")
    rows = settings_of(command, root, arguments)
    if output in DOCUMENTS:
        print_document({"schema_version": 1, "settings": rows}, output)
        return
    if output == "tsv":
        print_records(rows, ("name", "value", "from"))
        return
    widths = [max(len(row[key]) for row in rows) for key in ("name", "value")]
    for row in rows:
        say(f"{row['name']:<{widths[0]}}  {row['value']:<{widths[1]}}  {row['from']}".rstrip())


def settings_of(command: click.Command, root: click.Context, arguments: tuple[str, ...]) -> list[dict[str, str]]:
    """`name`, `value` and `from` of each setting. Nothing has to be complete, but what is there must be right."""
    with click.Context(command, info_name=command.name, parent=root) as ctx:
        given, left, order = command.make_parser(ctx).parse_args(list(arguments))
        if left:
            raise click.UsageError(f"got unexpected arguments: {' '.join(left)}", ctx)
        rows: list[dict[str, str]] = []
        pairs: tuple[str, ...] = ()
        for each in click.core.iter_params_for_processing(order, command.get_params(ctx)):
            value, source = each.consume_value(ctx, given)
            if each.name == "help":
                continue
            try:
                value = each.process_value(ctx, value)
            except click.MissingParameter:
                value = None
            value = None if isinstance(value, Enum) else value  # how click says that nothing was given
            if not each.expose_value:  # it was read, and is known by what it brought
                continue
            if each.name == "properties":
                pairs = tuple(value or ())
                continue
            rows.append(row(each, value, source, ctx))
        for key, text in sorted(properties_from(pairs).items()):
            rows.append({"name": f"kafka: {key}", "value": masked(key, text), "from": kafka_source(ctx, pairs, key)})
    return rows


def row(parameter: click.Parameter, value: Any, source: ParameterSource, ctx: click.Context) -> dict[str, str]:
    name = max(parameter.opts, key=len).removeprefix("--")
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else "" if value is None else str(value)
    where = SOURCES.get(source, "default")
    if where == "file" and (found := file_of(ctx)):
        where = str(found.path)
    return {"name": name, "value": masked(name, text) if where != "default" else text, "from": where}


def kafka_source(ctx: click.Context, pairs: tuple[str, ...], key: str) -> str:
    if any(pair.partition("=")[0].strip() == key for pair in pairs):
        return "flag or environment"
    found = file_of(ctx)
    if "partition_supervisor.properties" in ctx.meta and key in ctx.meta["partition_supervisor.properties"]:
        return "-F"
    return str(found.path) if found else "default"
