"""`partition-supervisor completion`: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from partition_supervisor.commands.errors import PlainCommand

PROGRAM, VARIABLE = "partition-supervisor", "_PARTITION_SUPERVISOR_COMPLETE"


@click.command(cls=PlainCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the lines that make a shell complete our commands and options.

    \b
    Examples:
      $ eval "$(partition-supervisor completion bash)"      # in ~/.bashrc
      $ eval "$(partition-supervisor completion zsh)"       # in ~/.zshrc, after compinit
      $ partition-supervisor completion fish > ~/.config/fish/completions/partition-supervisor.fish
    """
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None, "click has all three"
    click.echo(kind(root, {}, PROGRAM, VARIABLE).source())
