"""The thread that makes processes: a fork server that does not answer holds up only those who are to be made."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from partition_supervisor.events import BackgroundCallDone
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Launched
from partition_workers.errors import PartitionSupervisorError


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to be made; then one of `made` and `failed` is called, in the loop. `given` is called before, in the
    thread, to close what the process has by then."""

    target: Callable[..., None]
    args: tuple[Any, ...]
    name: str
    given: Callable[[], None]
    made: Callable[[Launched], None]
    failed: Callable[[Exception], None]


class Launcher:
    """One after the other, in their order. Raises RuntimeError when no thread is to be had."""

    def __init__(self, fork_server: ForkServer, inbox: Inbox) -> None:
        self._fork_server, self._inbox = fork_server, inbox
        self._asked: queue.SimpleQueue[Launch] = queue.SimpleQueue()
        threading.Thread(target=self._launch_all, name="launcher", daemon=True).start()

    def ask(self, launch: Launch) -> None:
        self._asked.put(launch)

    def _launch_all(self) -> None:
        while True:
            self._launch(self._asked.get())

    def _launch(self, launch: Launch) -> None:
        then: Callable[[], None]
        try:
            launched = self._fork_server.launch(launch.target, launch.args, launch.name)
        except (OSError, EOFError, PartitionSupervisorError) as error:
            failure = error  # the name of an exception ends with its clause
            then = partial(launch.failed, failure)
        else:
            then = partial(launch.made, launched)
        finally:
            launch.given()  # before it is told: the loop closes what is left, and nothing may be closed by two
        self._inbox.post(BackgroundCallDone(then))
