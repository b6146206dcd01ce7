"""The handlers of the throughput benchmark, the same for all systems: each adds up how many bytes the records have.

A process notes three moments: its first record, the end of the warm-up, and its last record, each with the processor
time that it has used so far, in all its threads. Between them a record costs it a subtraction and a comparison. At
the first record the processes of a trial wait for each other, so that none has a start over the others.

Only the standard library is imported here, because rivals with dependencies of their own run it too.
"""

from __future__ import annotations

import collections
import json
import mmap
import os
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

#: Where each process says that it is ready, and then what it noted.
FOLDER = "PARTITION_SUPERVISOR_COUNTING"
#: How many processes wait for each other.
PROCESSES = "PARTITION_SUPERVISOR_PROCESSES"
#: How many records each of them handles before it says what it noted.
RECORDS = "PARTITION_SUPERVISOR_RECORDS"
#: The topic to which records go on, where they do.
OUTPUT = "PARTITION_SUPERVISOR_OUTPUT"
#: How many state keys are changed, where any are.
KEYS = "PARTITION_SUPERVISOR_KEYS"

#: This share of the records is warm-up.
WARM_UP = 0.1

State = MutableMapping[str, Any]


class Counter:
    """Who calls `mark` as soon as `left` is not positive any more has its time taken."""

    def __init__(self) -> None:
        records = int(os.environ[RECORDS])
        self.bytes = 0
        self.left = 1
        self._due = [1, max(2, int(records * WARM_UP)), records]
        self._marks: list[tuple[int, float, float]] = []

    def mark(self) -> None:
        count = self._due[0] - self.left
        if not self._marks:
            self._meet()
        self._marks.append((count, time.monotonic(), time.process_time()))
        while self._due and self._due[0] <= count:
            del self._due[0]
        if self._due:
            self.left = self._due[0] - count
        else:
            self.left = sys.maxsize
            self._tell()

    def _meet(self) -> None:
        folder, others = Path(os.environ[FOLDER]), int(os.environ[PROCESSES])
        (folder / f"{os.getpid()}.ready").touch()
        while len(list(folder.glob("*.ready"))) < others:
            time.sleep(0.005)

    def _tell(self) -> None:
        """In one step, so that nobody reads half of it."""
        partial = Path(os.environ[FOLDER]) / f"{os.getpid()}.partial"
        partial.write_text(json.dumps(self._marks))
        partial.rename(partial.with_suffix(".marks"))


class Each(Counter):
    def handle(self, record: Any, state: State) -> None:
        self.bytes += len(record.value())
        self.left -= 1
        if self.left <= 0:
            self.mark()


class List(Counter):
    def handle_batch(self, records: list[Any], state: State) -> None:
        for record in records:
            self.bytes += len(record.value())
        self.left -= len(records)
        if self.left <= 0:
            self.mark()


class EachWithState(Counter):
    def handle(self, record: Any, state: State) -> None:
        state["bytes"] = state.get("bytes", 0) + len(record.value())
        self.left -= 1
        if self.left <= 0:
            self.mark()


class ListWithState(Counter):
    def handle_batch(self, records: list[Any], state: State) -> None:
        total = 0
        for record in records:
            total += len(record.value())
        state["bytes"] = state.get("bytes", 0) + total
        self.left -= len(records)
        if self.left <= 0:
            self.mark()


class Keyed(Counter):
    """Each record changes one of so many state keys, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._keys = int(os.environ[KEYS])
        self._names = [f"key-{number}" for number in range(self._keys)]

    def handle(self, record: Any, state: State) -> None:
        state[self._names[self.left % self._keys]] = self.left
        self.left -= 1
        if self.left <= 0:
            self.mark()


class ByKey(Counter):
    """How many records each key has: the commonest handler there is that keeps a state."""

    def handle(self, record: Any, state: State) -> None:
        key = record.key().decode()
        state[key] = state.get(key, 0) + 1
        self.left -= 1
        if self.left <= 0:
            self.mark()


class ByKeyInLists(Counter):
    """The same, for a whole list of records."""

    def handle_batch(self, records: list[Any], state: State) -> None:
        for key, count in collections.Counter([record.key() for record in records]).items():
            name = key.decode()
            state[name] = state.get(name, 0) + count
        self.left -= len(records)
        if self.left <= 0:
            self.mark()


class _Forwarding(Counter):
    """Who else calls it gives it a context as ours is, with `produce` alone."""

    def open(self, context: Any) -> None:
        self._produce, self._to = context.produce, os.environ[OUTPUT]


class Forward(_Forwarding):
    """Each record goes on, with its key, to another topic."""

    def handle(self, record: Any, state: State) -> None:
        self._produce(self._to, record.value(), record.key())
        self.left -= 1
        if self.left <= 0:
            self.mark()


class ForwardLists(_Forwarding):
    """The same, for a whole list of records."""

    def handle_batch(self, records: list[Any], state: State) -> None:
        produce, to = self._produce, self._to
        for record in records:
            produce(to, record.value(), record.key())
        self.left -= len(records)
        if self.left <= 0:
            self.mark()


class Watched(Counter):
    """How many records were handled can be read from outside, even after a SIGKILL: it is in a page of a file."""

    def __init__(self) -> None:
        super().__init__()
        self._handled = 0
        path = Path(os.environ[FOLDER]) / f"{os.getpid()}.handled"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._page = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    def handle(self, record: Any, state: State) -> None:
        self.bytes += len(record.value())
        self._handled += 1
        self._page[0] = self._handled
        self.left -= 1
        if self.left <= 0:
            self.mark()
