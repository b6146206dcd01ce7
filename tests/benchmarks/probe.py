"""The one probe of all systems: what their handlers noted (`handling.py`), and what follows from it.

No system is asked how long it took. A gap is what a record sees: from the fault to the first record of the partition
that somebody else handles. The longest silence around the fault is told beside it: it holds what a dying owner had
not got round to before the fault, and it is what remains where nobody dies.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.handling import FOLDER, NOTE


class Note(NamedTuple):
    """One record, handled once. Times are CLOCK_MONOTONIC in nanoseconds."""

    partition: int
    pid: int
    sequence: int
    produced: int
    handled: int


@dataclass(frozen=True, slots=True)
class Takeover:
    """Times in milliseconds; `to` is the pid of the next owner."""

    gap: float
    silence: float
    replayed: int
    to: int
    first_at: int
    """When the next owner handled its first record, CLOCK_MONOTONIC in nanoseconds."""

    @property
    def facts(self) -> dict[str, float | int | str]:
        return {"longest silence": round(self.silence, 2), "replayed": self.replayed}


def takeover(notes: Sequence[Note], partition: int, at: int, before: int) -> Takeover | None:
    """What followed a fault at `at` in the process `before`; None: nobody else has handled a record since.

    Replayed: records of the old owner that the next owner handled once more.
    """
    ours = sorted((each for each in notes if each.partition == partition), key=lambda each: each.handled)
    first = next((each for each in ours if each.handled > at and each.pid != before), None)
    if first is None:
        return None
    old = {each.sequence for each in ours if each.pid == before}
    again = {each.sequence for each in ours if each.pid != before and each.handled > at}
    return Takeover(
        gap=(first.handled - at) / 1e6,
        silence=silence(ours, partition, at, first.handled),
        replayed=len(old & again),
        to=first.pid,
        first_at=first.handled,
    )


def handover(notes: Sequence[Note], partition: int, before: int) -> Takeover | None:
    """A planned move: the gap is from the last record that `before` handled to the first of somebody else."""
    last = max((each.handled for each in notes if each.partition == partition and each.pid == before), default=None)
    return None if last is None else takeover(notes, partition, last, before)


def silence(notes: Sequence[Note], partition: int, start: int, end: int) -> float:
    """The longest time, in milliseconds, between two records of a partition that overlaps `start` to `end`."""
    return max(silences(notes, partition, start, end), default=0.0)


def silences(notes: Sequence[Note], partition: int, start: int, end: int) -> list[float]:
    """The times, in milliseconds, between any two records of a partition that overlap `start` to `end`."""
    moments = sorted(each.handled for each in notes if each.partition == partition)
    return [(b - a) / 1e6 for a, b in pairwise(moments) if b > start and a < end]


def owners(notes: Iterable[Note]) -> dict[int, int]:
    """The pid that handled each partition's last record."""
    last: dict[int, Note] = {}
    for each in notes:
        if each.partition not in last or each.handled > last[each.partition].handled:
            last[each.partition] = each
    return {partition: each.pid for partition, each in last.items()}


def handled_by(notes: Iterable[Note], pid: int, after: int) -> set[tuple[int, int]]:
    """Partition and sequence of what a process handled after a moment."""
    return {(each.partition, each.sequence) for each in notes if each.pid == pid and each.handled > after}


@dataclass(slots=True)
class Account:
    """How often each record of a partition was handled, over a whole run."""

    times: bytearray

    def add(self, sequence: int) -> None:
        if sequence >= len(self.times):
            self.times.extend(bytes(sequence + 1 - len(self.times)))
        self.times[sequence] = min(255, self.times[sequence] + 1)

    def lost(self, produced: int) -> int:
        """Of so many that were produced."""
        return max(0, produced - len(self.times)) + self.times[:produced].count(0)

    @property
    def doubled(self) -> int:
        return sum(max(0, each - 1) for each in self.times)


class Probe:
    """The notes of one system: a folder, read on from where the last look ended."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="partition-supervisor-probe-"))
        self.recent: list[Note] = []
        """What was noted since the last `forget`."""
        self.accounts: defaultdict[int, Account] = defaultdict(lambda: Account(bytearray()))
        self._read: dict[Path, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {FOLDER: str(self.folder)}

    def look(self) -> list[Note]:
        """Read what is new; all that is recent, in order."""
        for path in self.folder.glob("*.notes"):
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                found = file.read()
            whole = len(found) - len(found) % NOTE.size
            self._read[path] = begin + whole
            for each in map(Note._make, NOTE.iter_unpack(found[:whole])):
                self.recent.append(each)
                self.accounts[each.partition].add(each.sequence)
        self.recent.sort(key=lambda each: each.handled)
        return self.recent

    def forget(self, seconds: float = 1.0) -> None:
        """Before a fault: only the last second may matter."""
        since = time.monotonic_ns() - int(seconds * 1e9)
        self.recent = [each for each in self.look() if each.handled >= since]

    def wait_for(self, what: str, check: Callable[[list[Note]], bool], deadline: float, every: float = 0.05) -> None:
        """Look until `check(notes)` is true. Raises TimeoutError, naming `what`, after `deadline` seconds."""
        until = time.monotonic() + deadline
        while not check(self.look()):
            if time.monotonic() > until:
                raise TimeoutError(f"not within {deadline:g} s: {what}")
            time.sleep(every)  # those who are measured have the processor meanwhile

    def await_takeover(self, who: str, partition: int, at: int, before: int, deadline: float) -> Takeover:
        """What follows a fault at `at` in the process `before`. Raises TimeoutError after `deadline` seconds."""
        self.wait_for(
            f"{who}: somebody goes on with partition {partition}",
            lambda notes: takeover(notes, partition, at, before) is not None,
            deadline,
        )
        time.sleep(0.2)  # what was replayed is handled by then
        found = takeover(self.look(), partition, at, before)
        assert found is not None
        return found

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
