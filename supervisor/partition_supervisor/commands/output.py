"""How a command prints what it has found: for people, or for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType

from partition_supervisor.printable import printable, printable_json

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("pretty", "wide", "json", "tsv", "yaml")
#: What only programs read.
DOCUMENTS = ("json", "yaml")
#: Columns of what is not written to a terminal, unless COLUMNS says otherwise.
PIPE_WIDTH = 120
#: Columns for what may be as wide as it is.
WIDE_ENOUGH = 400


def output_option(command: F) -> F:
    """Neither from the environment nor from a file: there, `output` is a topic that `run` may produce to."""
    return named_output_option("-o", "--output")(command)


def named_output_option(*names: str) -> Callable[[F], F]:
    return click.option(*names, "output", type=click.Choice(OUTPUTS), default="pretty", show_default=True,
                        help="For people, wide with all there is to say; for programs JSON, YAML or columns with"
                        " tabs.")  # fmt: skip


def say(line: str) -> None:
    """On standard output, to people. Of what others wrote in it, nothing but text arrives there."""
    click.echo(printable(line))


def print_document(document: Mapping[str, Any], output: str, indent: int | None = 2) -> None:
    """`output` is one of DOCUMENTS. Without `indent`, JSON is one line; YAML begins each document with `---`."""
    if output == "json":
        click.echo(printable_json(json.dumps(document, indent=indent, ensure_ascii=False)))
    else:
        import yaml

        # libyaml's, where there is one: a tenth of the time
        class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
            def ignore_aliases(self, _value: object) -> bool:
                """What comes twice is written twice: no reader has to know of anchors, and it is a fifth faster."""
                return True

        click.echo(yaml.dump(_encodable(document), Dumper=Dumper, sort_keys=False, explicit_start=True), nl=False)


def _encodable(value: Any) -> Any:
    """A key of etcd need not be text; YAML has no escape for such bytes, as JSON has: here they are told in ASCII."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def print_tsv(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    click.echo("\n".join(tsv(headings, rows)))


def tsv(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """A line of headings and one for each row. What is not known is empty; nothing breaks a line or a column, or does
    anything to a terminal."""
    yield "\t".join(headings)
    yield from map(tsv_line, rows)


def tsv_line(cells: Iterable[object]) -> str:
    return "\t".join("" if cell is None else printable(" ".join(str(cell).split())) for cell in cells)


def print_records(records: Iterable[Mapping[str, Any]], headings: Iterable[str]) -> None:
    """Flat records, such as documents have them, as tab-separated values."""
    names = list(headings)
    print_tsv(names, ([each.get(name) for name in names] for each in records))


def print_pretty(drawn: Callable[[int], RenderableType], wide: bool = False) -> None:
    """`drawn` is given the width that there is; `wide`: as much as it likes."""
    console = to_stdout()
    if wide:
        console.width = max(console.width, WIDE_ENOUGH)
    with console.capture() as lines:
        console.print(drawn(console.width), crop=False)
    click.echo("\n".join(line.rstrip() for line in lines.get().splitlines()), color=True)


def to_stdout() -> Console:
    """Colours and the terminal's width for a terminal; plain text for anything else."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
