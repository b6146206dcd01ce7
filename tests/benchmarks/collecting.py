"""The handler of the benchmarks of processes and of growth.

It counts. It tells over a named pipe when a process was forked with it, and of the first record that each process
handles. At SIGUSR2 it collects garbage and makes a file named by its pid: memory is compared after that, because a
collection is what spoils memory that was shared by a fork, and it comes sooner or later.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from tests.benchmarks import first_line

#: Names the folder of those files.
COLLECTED = "PARTITION_SUPERVISOR_BENCH_COLLECTED"


def collect(_number: int, _frame: object) -> None:
    gc.collect()
    Path(os.environ[COLLECTED], str(os.getpid())).touch()


if COLLECTED in os.environ:
    signal.signal(signal.SIGUSR2, collect)
    if multiprocessing.parent_process() is None:
        os.register_at_fork(after_in_child=lambda: first_line.tell("born"))  # this is the fork server
    else:
        first_line.tell("born")  # a spawned worker, which imports its handler itself


class Count:
    def open(self, context: Any) -> None:
        self._partition: int | None = context.partition.number

    def handle(self, record: Any, state: Any) -> None:
        if self._partition is not None:
            first_line.tell(f"record-{self._partition}")
            self._partition = None
        state["count"] = state.get("count", 0) + 1
        state["bytes"] = state.get("bytes", 0) + len(record.value())
