"""One system at a time handles the records of a topic, in processes of its own, and is timed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.services.processes import Processes
from tests.benchmarks.counting import FOLDER, KEYS, OUTPUT, PROCESSES, RECORDS
from tests.benchmarks.surroundings import ROOT

#: Seconds until all are ready, and until all have handled their last record.
PATIENCE = 60.0

Pids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Processor times are in microseconds for each record."""

    rate: float
    """Records a second, of all processes together."""
    seconds: float
    records: int
    cpu: float
    """Of the processes that handle records, in all their threads."""
    beside: dict[str, float]
    """Of others meanwhile, by name."""


class Race:
    """The processes of one trial, and the folder in which they say how far they are. All of it ends with it."""

    def __init__(self, processes: int, records: int, keys: int = 1, output: str = "") -> None:
        """`records`: how many each process handles; `keys`: how many state keys they change, where they do; `output`:
        the topic to which they send records on, where they do."""
        self.processes, self.records = processes, records
        self._processes = Processes()
        self.folder = self._processes.folder
        self._environment = {
            FOLDER: str(self.folder), PROCESSES: str(processes), RECORDS: str(records), KEYS: str(keys),
            OUTPUT: output,
        }  # fmt: skip
        self._started: dict[str, int] = {}
        self._host: Host | None = None

    def start_ours(self, arguments: Sequence[str]) -> None:
        """A supervisor with its workers; `arguments` are those of `run`."""
        self._host = Host(self._processes, "bench", arguments, self._environment)
        self._host.start()

    def start(self, python: str | Path, *arguments: str) -> None:
        """One process: `python -m` these arguments."""
        name = f"racer-{len(self._started)}"
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | self._environment
        self._started[name] = self._processes.start(name, [str(python), "-m", *arguments], environment)

    def run(self, others: Mapping[str, Pids]) -> Outcome:
        """To the end. `others`: those whose processor time is told beside it.

        Raises TimeoutError or RuntimeError, with what the processes said last, when it does not come to that.
        """
        pids = dict(others) | ({"supervisor": (self._host.pid,)} if self._host else {})
        self.wait_for("ready")
        before = {name: _processor_seconds(each) for name, each in pids.items()}
        self.wait_for("marks")
        used = {name: _processor_seconds(each) - before[name] for name, each in pids.items()}
        return judge((json.loads(path.read_text()) for path in self.folder.glob("*.marks")), used)

    def wait_for(self, what: str) -> None:
        """Until each process has made its file of that kind."""
        until = time.monotonic() + PATIENCE
        while len(list(self.folder.glob(f"*.{what}"))) < self.processes:
            if not self._all_run():
                raise RuntimeError(f"a process has ended before it was {what}: {self._said()}")
            if time.monotonic() > until:
                raise TimeoutError(f"not within {PATIENCE:g} s: {self.processes} files *.{what}: {self._said()}")
            time.sleep(0.02)  # those who race have the processor meanwhile

    def kill(self) -> None:
        """All of them, in one step where that can be."""
        running = self._processes.running()
        for pid in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        wait_for("those who raced have ended", lambda: not self._processes.running(), 10.0)

    def handled(self) -> int:
        """By the one process whose handler can be watched; also after it was killed."""
        (page,) = self.folder.glob("*.handled")
        return int.from_bytes(page.read_bytes(), sys.byteorder)

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._host is not None:
            self._host.end()
        self._processes.stop()

    def _all_run(self) -> bool:
        return len(self._processes.running()) == len(self._started) + (self._host is not None)

    def _said(self) -> str:
        logs = sorted(self.folder.glob("[rb]*.log"))
        return "\n".join(each.read_text(errors="replace")[-2000:].strip() for each in logs) or "nothing was said"


def judge(marks: Iterable[list[tuple[int, float, float]]], used: Mapping[str, float]) -> Outcome:
    """From the marks of each process: its first record, the end of its warm-up, and its last record.

    `used` is processor time, in seconds, from the first record of all to the last.
    """
    races = list(marks)
    records = sum(last[0] - warm[0] for _first, warm, last in races)
    seconds = max(last[1] for *_, last in races) - min(warm[1] for _, warm, _ in races)
    every = sum(last[0] for *_, last in races)
    return Outcome(
        rate=records / seconds,
        seconds=seconds,
        records=records,
        cpu=sum(last[2] - warm[2] for _, warm, last in races) / records * 1e6,
        beside={name: each / every * 1e6 for name, each in used.items()},
    )


def listening(addresses: str) -> Pids:
    """Who serves these addresses; those who cannot be seen from here, as in a container, are left out."""
    ports = {int(each.rpartition(":")[2]) for each in addresses.split(",")}
    listeners = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    serving = {each.pid for each in listeners if getattr(each.laddr, "port", None) in ports}
    return tuple(pid for pid in serving if pid and psutil.Process(pid).name() in ("java", "etcd"))


def _processor_seconds(pids: Pids) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total
