"""Where a command's settings come from: flag, environment, file, default, in this order.

The file is read before click looks at anything else, and becomes click's `default_map`: so everything that click
checks of a flag it checks of the file's values too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from partition_supervisor.admin.settings import (
    CONFIG_VARIABLE,
    VARIABLE_PREFIX,
    FileSettings,
    find_file,
    read_file,
    read_pairs,
    read_properties,
)

#: Where a context keeps what files say of Kafka.
_FILE, _PROPERTIES = "partition_supervisor.file", "partition_supervisor.properties"


def settings_options(command: click.Command) -> None:
    """Give `--config` to a command that talks to Kafka or etcd, and `-F` to one that talks to Kafka."""
    taken = {name for each in command.params for name in each.opts}
    if taken & {"--etcd-endpoints", "--bootstrap-servers"} and "--config" not in taken:
        names = ["--config"] if "-c" in taken else ["-c", "--config"]
        command.params.append(
            click.Option(
                names, metavar="FILE", is_eager=True, expose_value=False, callback=_read_file,
                envvar=CONFIG_VARIABLE, show_envvar=True,
                help="Settings in TOML; else ./partition-supervisor.toml, the user's or the system's; /dev/null for"
                " none.",
            )
        )  # fmt: skip
    if "--bootstrap-servers" in taken and "-F" not in taken:
        command.params.append(
            click.Option(
                ["-F", "--kafka-properties-file"], metavar="FILE", is_eager=True, expose_value=False,
                callback=_read_properties, envvar="PARTITION_SUPERVISOR_KAFKA_PROPERTIES_FILE", show_envvar=True,
                help="librdkafka properties in a file, in the form of Java's.",
            )
        )  # fmt: skip


def properties_from(pairs: tuple[str, ...]) -> dict[str, str]:
    """The librdkafka properties of this call: those of [kafka] in the file, of -F, of -X; the later ones win."""
    meta = click.get_current_context().meta
    found: FileSettings | None = meta.get(_FILE)
    return {**(found.kafka if found else {}), **meta.get(_PROPERTIES, {}), **read_pairs(pairs)}


def file_of(ctx: click.Context) -> FileSettings | None:
    found: FileSettings | None = ctx.meta.get(_FILE)
    return found


def key_of(parameter: click.Parameter) -> str | None:
    """Its key in the file, as in `lease-ttl`: what has a variable has a key, and `handler`, the argument of `run`.

    None for what is said of one call alone, as --execute, or the --topic of `offsets reset`: the topics in the file
    are those that are processed, and resetting one partition must not reset them all.
    """
    if parameter.name == "handler":
        return "handler"
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ()
    if not variables or variables[0] == CONFIG_VARIABLE:
        return None
    return variables[0].removeprefix(VARIABLE_PREFIX).lower().replace("_", "-")


def keys_of_all(ctx: click.Context) -> set[str]:
    """The keys that a file may have, of whichever command."""
    root = ctx.find_root()
    keys: set[str] = set()

    def collect(command: click.Command | None) -> None:
        if isinstance(command, click.Group):
            for name in command.list_commands(root):
                collect(command.get_command(root, name))
        elif command is not None:
            keys.update(key for each in command.params if (key := key_of(each)))

    collect(root.command)
    return keys


def _read_file(ctx: click.Context, _parameter: click.Parameter, named: str | None) -> None:
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed, and has no file
        here = Path()
    path = find_file(named, os.environ, here)
    if path is None:
        return
    settings = read_file(path, keys_of_all(ctx))
    ctx.meta[_FILE] = settings
    defaults = dict(ctx.default_map or {})
    for each in ctx.command.params:
        key = key_of(each)
        if key in settings.options and (fitting := _fitting(each, settings.options[key])) is not None:
            defaults[str(each.name)] = fitting
    ctx.default_map = defaults
    _take_servers(ctx, settings.kafka)


def _fitting(parameter: click.Parameter, value: Any) -> Any:
    """The same file serves commands that take one topic and those that take many.

    As text, as a shell would say it: click makes 5 of 5.5 and 1 of true, unless it has to read them.
    """
    values = [_text(each) for each in value] if isinstance(value, list) else [_text(value)]
    if parameter.multiple:
        return values
    return values[0] if len(values) == 1 else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_properties(ctx: click.Context, _parameter: click.Parameter, named: str | None) -> None:
    if named:
        ctx.meta[_PROPERTIES] = read_properties(Path(named))
        _take_servers(ctx, ctx.meta[_PROPERTIES])


def _take_servers(ctx: click.Context, properties: dict[str, str]) -> None:
    """`bootstrap.servers` is an option here."""
    if servers := properties.pop("bootstrap.servers", None):
        ctx.default_map = {**(ctx.default_map or {}), "bootstrap_servers": servers}
