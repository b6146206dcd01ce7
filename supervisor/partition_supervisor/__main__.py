"""The entry point. It holds one import, inside a function: a console script is run again in every forked worker."""

from __future__ import annotations

import os
import sys


def main() -> None:
    _open_standard_streams()
    _do_not_look_here()
    from partition_supervisor.cli import cli

    cli(prog_name="partition-supervisor")


def _open_standard_streams() -> None:
    """Closed ones, as by `2>&-`, lead nowhere from now on. The next file that is opened would otherwise be taken for
    standard error, be it a connection to Kafka. First of all: before anything is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)  # for the fork server, which would find it closed again


def _do_not_look_here() -> None:
    """`python -m` and PYTHONPATH=. put the current folder first, where a user may have a `queue.py`."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        return
    if here != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]


if __name__ == "__main__":
    main()
