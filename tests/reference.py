"""The parts of docs/ that are written from the code: `make reference`, or `python -m tests.reference`.

A page has `<!-- from the code: NAME -->` where the part NAME begins and `<!-- /from the code -->` where it ends; what
is between is written anew. A unit test says when that was forgotten.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click

from partition_supervisor.cli import ALIASES, COMMANDS, cli
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options, kafka_options
from partition_supervisor.commands.settings import key_of
from partition_supervisor.web.catalogue import METRICS
from partition_workers.errors import ExitCode
from partition_workers.layout import documents
from partition_workers.layout.document import Document
from partition_workers.log_events import EventName

DOCS = Path(__file__).parents[1] / "docs"
PROGRAM = "partition-supervisor"
_PART = re.compile(r"(<!-- from the code: ([a-z-]+) -->\n).*?(<!-- /from the code -->)", re.DOTALL)

#: What most commands share is shown once.
SHARED: dict[str, Callable[[Any], Any]] = {"Options of Kafka": kafka_options, "Options of etcd": etcd_options}


def commands() -> dict[str, click.Command]:
    """Every command by its full name, as in `offsets reset`, groups left out."""
    found: dict[str, click.Command] = {}
    context = click.Context(cli, info_name=PROGRAM)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            found |= {f"{name} {each}": command.commands[each] for each in command.commands}
        else:
            found[name] = command
    return found


# --- options


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """An option as the tables show it."""

    flags: str
    variables: tuple[str, ...]
    key: str | None
    default: str
    meaning: str

    @classmethod
    def of(cls, option: click.Option, context: click.Context) -> Row:
        names = sorted(option.opts, key=len)
        value = "" if option.is_flag else f" {option.make_metavar(context)}"
        flags = ", ".join(f"`{name}`" for name in names[:-1]) + (", " if names[1:] else "") + f"`{names[-1]}{value}`"
        flags += "".join(f", `{name}`" for name in option.secondary_opts)
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
        return cls(flags, tuple(variables), key_of(option), default_of(option), option.help or "")

    def line(self) -> str:
        variables = " ".join(f"`{each}`" for each in self.variables)
        cells = (self.flags, variables, f"`{self.key}`" if self.key else "", self.default, self.meaning)
        return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def default_of(option: click.Option) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.required:
        return "(must be given)"
    if option.is_flag and not option.secondary_opts:
        return ""
    if option.default is None or option.default == "" or option.multiple or not option.show_default:
        return ""
    return f"`{option.default}`" if not isinstance(option.default, bool) else "yes" if option.default else "no"


def rows(command: click.Command) -> list[Row]:
    context = click.Context(command, info_name=PROGRAM)
    return [Row.of(each, context) for each in command.params if isinstance(each, click.Option)]


def table(found: Iterable[Row]) -> Iterator[str]:
    yield "| option | variable | key in the file | default | |"
    yield "|---|---|---|---|---|"
    yield from (each.line() for each in found)


def shared() -> dict[str, list[Row]]:
    """What each of our commands with options of that kind has; the file of settings is told of beside etcd's."""
    found = {}
    for title, made in SHARED.items():
        bare = made(lambda **_: None)
        command = PlainCommand("none", params=list(reversed(bare.__click_params__)))
        found[title] = [each for each in rows(command) if "--config" not in each.flags or title.endswith("etcd")]
    return found


# --- the parts


def part_commands() -> Iterator[str]:
    common = shared()
    for name, command in commands().items():
        yield f"### `{name}`"
        yield ""
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
        yield f"`{PROGRAM} {name} {usage}`"
        yield ""
        yield from description(command)
        if aliases := [alias for alias, meant in ALIASES.items() if meant == name]:
            yield f"Also `{'`, `'.join(aliases)}`."
            yield ""
        own = rows(command)
        links = []
        for title, theirs in common.items():
            if all(each in own for each in theirs):
                own = [each for each in own if each not in theirs]
                links.append(f"[{title.replace('O', 'o', 1)}](#{title.lower().replace(' ', '-')})")
        if own:
            yield from table(own)
            yield ""
        if links:
            yield f"{'And the' if own else 'The'} {' and the '.join(links)}."
            yield ""


def description(command: click.Command) -> Iterator[str]:
    """What stands in --help before the examples, and the exit codes behind them."""
    text = inspect.cleandoc(command.help or "")
    told = re.split(r"\n*\x08|\n\nExamples|\n\nExit code", text)[0].replace("\n\n\n", "\n\n").strip()
    yield re.sub(":$", ".", told)
    yield ""
    if codes := re.search(r"Exit codes?:? .*?(?=\n\n|\Z)", text, re.DOTALL):
        yield " ".join(codes[0].split())
        yield ""


def part_shared_options() -> Iterator[str]:
    for title, found in shared().items():
        yield f"### {title}"
        yield ""
        yield from table(found)
        yield ""


def part_settings() -> Iterator[str]:
    """Every key of the file, and which commands take it."""
    takers: dict[str, list[str]] = {}
    for name, command in commands().items():
        for each in command.params:
            if key := key_of(each):
                takers.setdefault(key, []).append(name)
    most = [key for key, names in takers.items() if len(names) > 6]
    yield "| key | taken by |"
    yield "|---|---|"
    for key, names in sorted(takers.items()):
        told = "most commands" if key in most else ", ".join(f"`{name}`" for name in names)
        yield f"| `{key}` | {told} |"


def part_exit_codes() -> Iterator[str]:
    yield "| code | name | meaning |"
    yield "|---|---|---|"
    for each in ExitCode:
        yield f"| {int(each)} | {each.name} | {each.meaning} |"


def part_metrics() -> Iterator[str]:
    yield "| name | kind | labels | |"
    yield "|---|---|---|---|"
    for each in METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)  # all have that of the group: the page says so
        yield f"| `{each.name}` | {each.kind} | {labels} | {each.help} |"


def part_events() -> Iterator[str]:
    yield ", ".join(f"[`{name}`](runbook.md#{name})" for name in sorted(get_args(EventName))) + "."


def part_keys() -> Iterator[str]:
    yield "| key | fields | |"
    yield "|---|---|---|"
    for kind in kinds():
        key, meaning = key_and_meaning(kind)
        fields = ", ".join(f"`{each.name}` {type_of(kind, each.name)}" for each in dataclasses.fields(kind))
        yield f"| `{key}` | {fields} | {meaning} |".replace("`<p>`", "`&lt;p&gt;`")


def kinds() -> list[type[Document]]:
    """In the order in which they are written down."""
    return [each for each in vars(documents).values() if isinstance(each, type) and _is_kind(each)]


def _is_kind(each: type) -> bool:
    return issubclass(each, Document) and each is not Document


def key_and_meaning(kind: type[Document]) -> tuple[str, str]:
    """The first sentence of its docstring, which begins with the key."""
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    found = re.match(r"`([^`]+)`: (.*?)(?:\.(?: |$)|$)", text)
    assert found is not None, kind
    return found[1], found[2] + "."


def type_of(kind: type[Document], name: str) -> str:
    hint = get_type_hints(kind)[name]
    return str(hint.__name__ if isinstance(hint, type) and not get_args(hint) else hint).replace(" | ", " or ")


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    name.removeprefix("part_").replace("_", "-"): made
    for name, made in list(globals().items())
    if name.startswith("part_")
}


def written_anew(page: str) -> str:
    """The text of a page with each of its parts as the code is now."""

    def made(found: re.Match[str]) -> str:
        lines = "\n".join(PARTS[found[2]]()).rstrip("\n")
        return f"{found[1]}{lines}\n{found[3]}"

    return _PART.sub(made, page)


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := written_anew(text)) != text:
            path.write_text(new, encoding="utf-8")
            click.echo(f"written anew: {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
