"""Marks on one clock, set from outside at the steps of a takeover: the program itself knows nothing of them.

As a program it is `run` with marks in the supervisor; its `handle` is the handler of the probe, with marks in the
workers, for the fork server imports it before any of them. A mark is a line in a file of its process: CLOCK_MONOTONIC
in nanoseconds, and what happens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.benchmarks.handling import FOLDER
from tests.benchmarks.handling import handle as handle

#: Who calls what, and what that means: before the call, and after it; with a ? only if it returned something.
_IN_WORKERS = (
    ("partition_workers.owner", "Owner._leave", "the owner was told to leave", ""),
    ("partition_workers.last_commit", "LastCommit._say", "its last commit begins", "its last commit is stored"),
    ("partition_workers.supervisor_pipe", "SupervisorPipe.next_order", "", "?an order is heard"),
    ("partition_workers.ownership.lock", "PartitionLock.confirm", "it asks etcd", "etcd has answered"),
    ("partition_workers.owner", "Owner._begin", "it begins", ""),
    ("partition_workers.kafka.reader", "Reader.assign", "it asks Kafka", ""),
    ("partition_workers.ownership.transactions", "enter", "it writes its entrance", ""),
    ("partition_workers.commits", "Commits._launch", "it sends a commit", "the commit is on its way"),
    ("partition_workers.handler", "Handler.open", "it opens the handler", "the handler is open"),
    ("partition_workers.lease_watchdog", "LeaseWatchdog.watch_over", "", "it begins to read"),
    ("partition_workers.kafka.reader", "Reader.read", "", "?it has records"),
)
_IN_SUPERVISORS = (
    ("partition_supervisor.control.lock_offers", "LockOffers.leave", "a supervisor tells a worker to leave", ""),
    ("partition_supervisor.control.failover", "Failover.on_exit", "a supervisor sees an exit", ""),
    (
        "partition_supervisor.cluster.takeover",
        "take_over",
        "it writes the successor into the lock",
        "the successor is in the lock",
    ),
    ("partition_supervisor.cluster_state", "ClusterState.change", "a supervisor hears of a change", ""),
    ("partition_supervisor.control.lock_offers", "LockOffers.name", "it tells the standby", ""),
)

_file: int | None = None
_pid = 0


def mark(name: str) -> None:
    global _file, _pid
    if _file is None or _pid != os.getpid():
        _pid = os.getpid()
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        _file = os.open(f"{os.environ[FOLDER]}/{_pid}.marks", flags, 0o600)
    os.write(_file, f"{time.monotonic_ns()} {name}\n".encode())


def set_marks(steps: tuple[tuple[str, str, str, str], ...]) -> None:
    for module, path, before, after in steps:
        *owners, name = path.split(".")
        place: Any = __import__(module, fromlist=["_"])
        for each in owners:
            place = getattr(place, each)
        setattr(place, name, _marked(getattr(place, name), before, after))


def _marked(call: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    @wraps(call)
    def marked(*arguments: Any, **named: Any) -> Any:
        if before:
            mark(before)
        result = call(*arguments, **named)
        if after and (result or not after.startswith("?")):
            mark(after.removeprefix("?"))
        return result

    return marked


def main() -> None:
    from partition_supervisor.__main__ import main as supervisor_main

    set_marks(_IN_SUPERVISORS)
    supervisor_main()


if __name__ == "__main__":
    main()
elif __name__ == "tests.benchmarks.marking" and FOLDER in os.environ:
    # Not as the main module of a forked worker, which would mark twice; nor where somebody only wants its name.
    set_marks(_IN_WORKERS)
