"""The entry point. It holds one import, inside a function: a console script is run again in every forked worker."""

from __future__ import annotations


def main() -> None:
    from partition_supervisor.cli import cli

    cli(prog_name="partition-supervisor")


if __name__ == "__main__":
    main()
