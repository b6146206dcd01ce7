"""What has to be measured by asking: workers' memory, etcd's members, the partitions' ends. Only while somebody asks.

A thread of its own, started by the first who asks; whatever goes wrong in it is said, and it goes on. Who asks waits
for it, but not for long: what Kafka or etcd is slow to say is told to the next.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import psutil

from partition_workers.clock import Clock
from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.status import SilentServer
from partition_workers.etcd.store import ServerStatus
from partition_workers.model import Partition
from partition_workers.outage import Outage

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two samples, at least; and those that who asks waits for one.
EVERY, PATIENCE = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class Samples:
    """As of the last sample. None, or nothing: not known. `lags`: of partitions that were owned here then."""

    memory: Mapping[Partition, int] = field(default_factory=dict)
    cpu_seconds: Mapping[Partition, float] = field(default_factory=dict)
    lags: Mapping[Partition, int] = field(default_factory=dict)
    kafka_seconds: float | None = None
    etcd_up: Mapping[str, bool] = field(default_factory=dict)
    etcd_bytes: Mapping[str, int] = field(default_factory=dict)
    etcd_quota: Mapping[str, int] = field(default_factory=dict)
    etcd_alarms: frozenset[str] = frozenset()
    etcd_seconds: float | None = None


class Processes:
    """Memory and processor time by partition. What the processor did for workers that have ended is kept."""

    def __init__(self) -> None:
        self.cpu_seconds: dict[Partition, float] = {}
        self._known: dict[int, tuple[psutil.Process, float]] = {}

    def measure(self, pids: Mapping[Partition, Sequence[int]]) -> dict[Partition, int]:
        """Bytes that each partition's workers have."""
        memory: dict[Partition, int] = {}
        living: dict[int, tuple[psutil.Process, float]] = {}
        for partition, each in pids.items():
            for pid in each:
                with contextlib.suppress(psutil.Error, OSError):
                    process, before = self._of(pid)
                    memory[partition] = memory.get(partition, 0) + process.memory_info().rss
                    times = process.cpu_times()
                    now = max(before, times.user + times.system)
                    self.cpu_seconds[partition] = self.cpu_seconds.get(partition, 0.0) + now - before
                    living[pid] = process, now
        self._known = living
        return memory

    def _of(self, pid: int) -> tuple[psutil.Process, float]:
        """Another process may have its number by now."""
        process, before = self._known.get(pid, (None, 0.0))
        if process is None or not process.is_running():
            return psutil.Process(pid), 0.0
        return process, before


class Sampler:
    """`status()` and `read()` of etcd, and `ends()` of Kafka, may block and raise PartitionSupervisorError.

    `offsets()`: of what is owned here. A lag is the difference of an end and an offset of the same moment: with an
    offset of later, it would be less by all that was handled meanwhile.
    """

    def __init__(
        self,
        pids: Callable[[], Mapping[Partition, Sequence[int]]],
        status: Callable[[], Sequence[ServerStatus | SilentServer]],
        read: Callable[[], object],
        offsets: Callable[[], Mapping[Partition, int]],
        ends: Callable[[], Mapping[Partition, int]],
        clock: Clock = time.monotonic,
    ) -> None:
        self.newest = Samples()
        self._pids, self._status, self._read, self._offsets, self._ends = pids, status, read, offsets, ends
        self._clock = clock
        self._processes = Processes()
        self._asked, self._taken = threading.Event(), threading.Event()
        self._asked_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._outage = Outage(log, "sampling for /metrics")

    def ask(self) -> Samples:
        """As of now, give or take EVERY, if that can be had within PATIENCE; else what was sampled last."""
        now = self._clock()
        if now - self._asked_at >= EVERY and self._is_running():
            self._asked_at = now
            self._taken.clear()
            self._asked.set()
        if self._thread is not None:
            self._taken.wait(PATIENCE)
        return self.newest

    def _is_running(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="sampler", daemon=True)
            with contextlib.suppress(RuntimeError):  # there is no thread to be had: perhaps for the next who asks
                thread.start()
                self._thread = thread
        return self._thread is not None

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            try:
                self.newest = self.sample()
            except Exception as error:
                self._outage.failed(f"{type(error).__name__}: {error}")
            else:
                self._outage.over()
            self._taken.set()

    def sample(self) -> Samples:
        memory = self._processes.measure(self._pids())
        servers = _or_none(self._status) or ()
        answering = [each for each in servers if isinstance(each, ServerStatus)]
        etcd_seconds = _seconds(self._read)
        offsets = self._offsets()
        begun = time.perf_counter()
        ends = _or_none(self._ends)
        return Samples(
            memory=memory,
            cpu_seconds=dict(self._processes.cpu_seconds),
            lags={p: max(0, ends[p] - offset) for p, offset in offsets.items() if p in ends} if ends else {},
            kafka_seconds=None if ends is None else time.perf_counter() - begun,
            etcd_up={each.endpoint: isinstance(each, ServerStatus) for each in servers},
            etcd_bytes={each.endpoint: each.db_bytes for each in answering},
            etcd_quota={each.endpoint: each.quota_bytes for each in answering if each.quota_bytes},
            etcd_alarms=frozenset(alarm for each in answering for alarm in each.alarms),
            etcd_seconds=etcd_seconds,
        )


def _or_none(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except PartitionSupervisorError:
        return None


def _seconds(ask: Callable[[], object]) -> float | None:
    """How long it takes; None: it fails."""
    begun = time.perf_counter()
    try:
        ask()
    except PartitionSupervisorError:
        return None
    return time.perf_counter() - begun
