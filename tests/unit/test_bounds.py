"""Every number that can be set has two ends, wherever it is set: by a flag, in the environment, in a file."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from partition_supervisor.bounds import OF_RUN, WEEK, Bounds
from partition_supervisor.cli import cli
from partition_supervisor.commands.options import Within
from partition_supervisor.commands.order_options import seconds_given
from partition_supervisor.config import Config
from partition_supervisor.web.listening import listen
from partition_workers.errors import Misconfigured
from tests.commands import config_of_run
from tests.reference import commands
from tests.unit.test_config import config

#: What a person or a template may write, and nothing can be done with.
SENSELESS = ["nan", "NaN", "inf", "Infinity", "-inf", "1e400", "-1e400", "1" + "0" * 30, "9" * 5000]
#: Longer than what the kernel can wait for, which is 24 days.
TOO_LONG = str(2_147_484)

NUMBERS = [
    (name, option)
    for name, command in commands().items()
    for option in command.params
    if isinstance(option.type, click.types.FloatParamType | click.types.IntParamType)
    or getattr(option.type, "func", None) is seconds_given
]


def refused(name: str, arguments: list[str], env: dict[str, str | None]) -> bool:
    """Whether the command does not begin with these; with the code for it, and not with an error of ours."""
    needed = {"drain": ["host-a"], "move": ["events[0]"]}.get(name, [])
    try:
        if name == "run":
            config_of_run(*arguments, env=env)
        else:
            with CliRunner().isolation(env=env):
                commands()[name].make_context(name, [*needed, *arguments], parent=click.Context(cli))
    except (click.ClickException, Misconfigured) as error:
        return error.exit_code in (2, 78)
    return False


@pytest.mark.parametrize(("name", "option"), NUMBERS, ids=lambda each: getattr(each, "name", each))
def test_no_number_is_taken_that_nothing_can_be_done_with(name: str, option: click.Option, tmp_path: Path) -> None:
    """By a flag; by its variable and its key where it has them."""
    if name == "check":
        return  # it says so of what `run` would refuse
    flag = max(option.opts, key=len)
    for number in SENSELESS:
        assert refused(name, [f"{flag}={number}"], {}), number
        if isinstance(option.envvar, list):
            assert refused(name, [], {option.envvar[0]: number}), number
            file = tmp_path / "settings.toml"
            file.write_text(f"{flag.removeprefix('--')} = '{number}'\n")
            assert refused(name, ["--config", str(file)], {}), number
    assert not refused(name, [f"{flag}=2"], {})


@pytest.mark.parametrize(("name", "option"), NUMBERS, ids=lambda each: getattr(each, "name", each))
def test_nothing_is_waited_for_longer_than_a_kernel_can(name: str, option: click.Option) -> None:
    if name == "check" or "SECONDS" not in str(option.metavar):
        return
    flag = max(option.opts, key=len)
    for seconds in (TOO_LONG, "-1"):
        assert refused(name, [f"{flag}={seconds}"], {}), seconds
    assert not refused(name, [f"{flag}={2 if 'ttl' in flag else 1}"], {})


@pytest.mark.parametrize("written", ["nan", "inf", "-inf", "1e400", "99999999999999999999", "0xffffffffffffffffffff"])
def test_numbers_of_a_file_are_no_other(written: str, tmp_path: Path) -> None:
    """TOML has nan and inf of its own, and numbers without end."""
    file = tmp_path / "settings.toml"
    for key in ("timeout", "graceful-timeout", "lease-ttl", "max-records", "connect-timeout"):
        file.write_text(f"{key} = {written}\n")
        name = "status" if key == "timeout" else "run"
        assert refused(name, ["--config", str(file)], {}), key


@pytest.mark.parametrize("name", OF_RUN)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 10**400])
def test_a_supervisor_is_not_made_with_a_number_without_end(name: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=f"--{name.replace('_', '-')} .*must be from") as said:
        config(**{name: value})
    assert len(str(said.value)) < 250


def test_every_number_of_a_supervisor_has_bounds() -> None:
    """One that is added has to say its own."""
    assert {each.name for each in fields(Config) if each.type in ("int", "float")} - {"log_level"} == set(OF_RUN)


@pytest.mark.parametrize("name", OF_RUN)
def test_both_ends_are_taken(name: str) -> None:
    bounds = OF_RUN[name]
    for end in (bounds.least, bounds.most):
        changes: dict[str, Any] = {name: end}
        assert getattr(config(**changes), name) == end


def test_a_stop_is_never_longer_than_what_is_waited_for_at_once() -> None:
    """In milliseconds, with what is added to it, as a C int."""
    assert (OF_RUN["graceful_timeout"].most + 10) * 1000 < 2**31
    assert (WEEK + 10) * 1000 < 2**31


def test_what_is_wrong_is_said_with_both_ends() -> None:
    done = CliRunner().invoke(cli, ["status", "--timeout", "nan"])
    assert done.exit_code == 2
    assert "--timeout" in done.output
    assert "nan: must be from 0.001 to 604800" in done.output


def test_a_port_of_thousands_of_digits_is_none() -> None:
    """Python does not even read it."""
    with pytest.raises(Misconfigured, match="write it as HOST:PORT"):
        listen(f"127.0.0.1:{'9' * 5000}", "--http")


def test_a_number_between_its_ends_is_that_number() -> None:
    assert Within(Bounds(0, 5)).convert("2.5", None, None) == 2.5
    assert Bounds(0, 5).complaint(5) is None
    assert Bounds(0, 5, "it is small").complaint(6) == "must be from 0 to 5; it is small"
