"""Our command as people run it: in a process of its own, with the environment as it was given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import click
from click.testing import CliRunner

from partition_supervisor.commands.run import config_from, run
from partition_supervisor.config import Config
from partition_supervisor.dev.demo.hosts import without_settings

COMMAND = (sys.executable, "-m", "partition_supervisor")

#: What a shell may have set beside settings, and what would change what is printed.
_FOREIGN = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_")


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what the shell or a file of this machine says to the command, and with `env`."""
    kept = {name: value for name, value in without_settings().items() if not name.startswith(_FOREIGN)}
    return kept | dict(env or {})


def config_of_run(*arguments: str, env: Mapping[str, str | None] | None = None) -> Config:
    """What `run` would be started with; raises what ends it."""
    with (
        CliRunner().isolation(env=env or {}),
        run.make_context("run", ["app:handle", "-t", "events", *arguments], parent=click.Context(run)) as context,
    ):
        return config_from({name: value for name, value in context.params.items() if name != "log_format"})


def cli(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environment(env), timeout=timeout, check=False
    )


def start_cli(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command; use it in a `with`, and end it there."""
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(env)
    )
