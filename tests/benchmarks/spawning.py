"""`run` with one difference: each worker is a fresh interpreter (spawn) instead of a fork of the fork server.

Everything else is the same program: the same supervisor, the same clients, the same handler in each worker. At the
top nothing is imported, because each spawned process imports this module again.
"""


def main() -> None:
    import multiprocessing

    from partition_supervisor.cli import cli
    from partition_supervisor.commands import run as command

    class Spawn:
        def __init__(self, _handler: str) -> None:
            multiprocessing.set_start_method("spawn")
            self.context = multiprocessing.get_context("spawn")

        def renew(self) -> None:
            """A spawned process loads its code anew anyway."""

    vars(command)["ForkServer"] = Spawn
    cli(prog_name="partition-supervisor")  # not by its main(), after which nothing is found in the current folder


if __name__ == "__main__":
    main()
