"""Each command line that is shown anywhere is one that the program understands: pages, --help, messages."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from partition_supervisor.cli import cli
from partition_supervisor.commands.config import settings_of
from tests.documented import NOT_RUN, PAGES, PROGRAM, ROOT, calls, inline, lines, options
from tests.reference import commands, rows


@pytest.fixture(autouse=True)
def _nowhere_in_particular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests, and no file of theirs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("PARTITION_SUPERVISOR_", "ETCDCTL_", "XDG_CONFIG")):
            monkeypatch.delenv(name)


def parse(arguments: list[str]) -> None:
    """As a shell would have it done, up to the point where something would happen. Raises ClickException."""
    command: click.Command = cli
    context, left = click.Context(cli, info_name=PROGRAM), arguments
    while isinstance(command, click.Group):
        if not left or left[0].startswith("-"):
            return
        name, found, left = command.resolve_command(context, left)
        assert found is not None, name
        if isinstance(found, click.Group):
            context = click.Context(found, info_name=name, parent=context)
        command = found
    try:
        made = command.make_context(command.name, list(left), parent=context)
    except click.exceptions.Exit:  # of --help
        return
    if command.name == "show" and "command_name" in made.params:
        root = made.find_root()
        of = cli.get_command(root, made.params["command_name"])
        assert of is not None
        settings_of(of, root, tuple(made.params["arguments"]))


def shown() -> Iterator[tuple[str, str]]:
    """Each line with a call of the program, with where it stands."""
    for line in lines():
        yield line.page, line.text
    for line in options():
        if not line.text.startswith("--auto-compaction"):  # etcd's
            yield line.page, f"{PROGRAM} run app.py:handle --topic events {line.text}"
    for page, text in PAGES.items():
        for each in inline(text):
            if each.startswith(f"{PROGRAM} "):
                yield page, each
    for name, command in commands().items():
        text = re.sub(r"\s*\n\s*\|", " |", inspect.cleandoc(command.help or ""))
        for each in re.findall(rf"^\s*\$ (.*{PROGRAM}.*)$", text, re.MULTILINE):
            yield f"{name} --help", each


def says_how(words: list[str]) -> bool:
    """A usage, as `status [OPTIONS]` or `COMMAND --help`, is no call."""
    return any(re.match(r"[\[{]", word) for word in words) or words[0] == "COMMAND"


CALLS = [(where, each) for where, text in shown() for each in calls(text) if each and not says_how(each)]


@pytest.mark.parametrize(("where", "arguments"), CALLS, ids=[f"{where}: {' '.join(each)}" for where, each in CALLS])
def test_each_call_that_is_shown_is_understood(where: str, arguments: list[str]) -> None:
    """Command, options and values; and nothing is missing."""
    parse(arguments)


@pytest.mark.parametrize(
    "line",
    ["stats", "status --wach", "status --watch 0", "run app:handle", "move 'events[3]' --too host-b", "move events",
     "offsets rest", "config show --topic", "config show --no-such", "history -n none", "status | run"],
)  # fmt: skip
def test_what_the_program_does_not_understand_is_found(line: str) -> None:
    """The other tests would see it."""
    with pytest.raises(click.ClickException):  # noqa: PT012
        for each in calls(f"x; {PROGRAM} {line.replace('| ', f'| {PROGRAM} ')}"):
            parse(each)


def test_enough_is_looked_at() -> None:
    """Of each kind of place."""
    places = {where for where, _ in CALLS}
    assert {"README.md", "docs/operations.md", "docs/docker.md", "docs/deployment.md", "run --help"} <= places
    assert {each[0] for _, each in CALLS} >= {"run", "status", "history", "pause", "resume", "drain", "move", "check"}


def messages() -> Iterator[tuple[str, str]]:
    """Each text in the code that tells somebody to call the program; what is filled in is an X."""
    for folder in ("supervisor/partition_supervisor", "workers/partition_workers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [each.value if isinstance(each, ast.Constant) else "X" for each in node.values]
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    parts = [node.value]
                else:
                    continue
                for told in re.findall(rf"{PROGRAM} ([a-z][^\n`;:.]*)", "".join(map(str, parts))):
                    yield path.name, told


def test_what_messages_tell_people_to_call_is_there() -> None:
    """The command, and each option behind it."""
    known = commands()
    count = 0
    for where, told in messages():
        words = told.split()
        name = next((each for each in (" ".join(words[:2]), words[0]) if each in known), None)
        if name is None:  # prose about the program
            assert not any(word.startswith("--") for word in words), (where, told)
            continue
        options = {option for each in known[name].params for option in (*each.opts, *each.secondary_opts)} | {
            "--help"
        }
        if name == "config show":
            options |= {option for each in known["run"].params for option in each.opts}
        assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= options, (where, told)
        count += 1
    assert count > 10


def test_every_line_is_run_or_says_why_not() -> None:
    """tests/system/test_documents_followed.py runs the others; no reason is left over."""
    reasons = {each.not_run for each in lines()}
    assert reasons - {None} == {NOT_RUN[begun] for begun in NOT_RUN}
    for begun in NOT_RUN:
        assert any(each.text.startswith(begun) for each in lines()), begun


def test_every_variable_that_is_named_is_one_of_ours() -> None:
    """In the pages, in manifests, images and the compose file."""
    known = {variable for command in commands().values() for row in rows(command) for variable in row.variables}
    known |= {"PARTITION_SUPERVISOR_ETCD_PASSWORD", "PARTITION_SUPERVISOR_TEST_SERVICES"}
    files = [path for path in (ROOT / "docker").rglob("*") if path.is_file()]
    texts = PAGES | {path.name: path.read_text(encoding="utf-8") for path in files}
    for where, text in texts.items():
        for name in re.findall(r"\bPARTITION_SUPERVISOR_[A-Z_]*[A-Z]\b", text):
            assert name in known, (where, name)


def test_targets_of_make_that_are_shown_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {each.text.split()[1] for each in lines() if each.text.startswith("make ")}
    for text in PAGES.values():
        named |= {each.split()[1] for each in inline(text) if re.match(r"make [a-z-]+", each)}
    assert "demo" in named
    assert named <= targets
