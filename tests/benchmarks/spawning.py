"""`run` with one difference: each worker is a fresh interpreter (spawn) instead of a fork of the fork server.

Everything else is the same program: the same supervisor, the same clients, the same handler in each worker. At the
top nothing is imported, because each spawned process imports this module again.
"""

from __future__ import annotations


def main() -> None:
    import multiprocessing
    import os
    import struct
    import threading
    from collections.abc import Callable
    from typing import Any

    from partition_supervisor.cli import cli
    from partition_supervisor.processes import forkserver
    from partition_supervisor.processes.launch import Launched

    class Spawn:
        """Makes processes as `ForkServer` does, without one."""

        def __init__(self, _handler: str) -> None:
            multiprocessing.set_start_method("spawn")
            self.context = multiprocessing.get_context("spawn")
            self._starting = threading.Lock()

        def start(self) -> None:
            """There is nothing to be prepared."""

        def kill(self) -> None:
            """Nor anything left."""

        def launch(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> Launched:
            process = self.context.Process(target=target, args=args, name=name)
            status, told = os.pipe()
            with self._starting:
                process.start()
            vars(multiprocessing.process)["_children"].discard(process)  # or the interpreter's exit waits for it
            pid = process.pid or 0

            def tell() -> None:
                os.write(told, struct.pack("@q", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                os.close(told)

            threading.Thread(target=tell, daemon=True).start()
            return Launched(pid, status, os.open(os.devnull, os.O_RDONLY), lambda: None)

    vars(forkserver)["ForkServer"] = Spawn  # before `run` asks for it
    cli(prog_name="partition-supervisor")  # not by its main(), after which nothing is found in the current folder


if __name__ == "__main__":
    main()
