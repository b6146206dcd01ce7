"""What a host tells of itself to whoever measures: plain values, as of one moment of its loop.

Counters of partitions and causes live here and grow for as long as the supervisor runs, whatever becomes of workers:
a worker's own counts are added to them. So there are as many as there are partitions, and no more after many kills.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from partition_workers.model import Partition, Token

#: Upper ends of buckets in seconds: of gaps, and of what was left of a lease when it was renewed.
GAP_BOUNDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
LEASE_BOUNDS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0)


@dataclass
class Histogram:
    """`buckets` are counts of each bucket alone, with one more for what lies beyond the last bound."""

    bounds: tuple[float, ...]
    buckets: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = self.buckets or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, buckets: Sequence[int], total: float) -> None:
        """Values that somebody else has sorted into the same buckets."""
        self.buckets = [mine + more for mine, more in zip(self.buckets, buckets, strict=True)]
        self.sum += total

    def copy(self) -> Histogram:
        return Histogram(self.bounds, list(self.buckets), self.sum)


@dataclass(slots=True)
class PartitionTotals:
    """Of one partition, by all workers that this host has had for it. Times in seconds."""

    records: int = 0
    handler_seconds: float = 0.0
    retries: int = 0
    skipped: int = 0
    dead_letters: int = 0
    commits: int = 0
    commit_retries: int = 0
    commits_refused: int = 0
    suspended_seconds: float = 0.0
    outputs: int = 0
    transactions: int = 0
    transactions_aborted: int = 0
    transactions_given_up: int = 0

    def copy(self) -> PartitionTotals:
        return dataclasses.replace(self)


@dataclass(frozen=True, slots=True)
class Owned:
    """A partition that this host owns. `state`: keys and bytes, once they were measured. `step_age`: in seconds, of a
    step with outputs that is open for longer than usual."""

    token: Token
    offset: int | None
    state: tuple[int, int] | None
    lease_left: float | None
    step_age: float | None = None


@dataclass(frozen=True, slots=True)
class HostMetrics:
    """As of `at` (time.monotonic). `workers`: how many are in each state; `pids`: of each living worker. `unowned`:
    None while it is not known, because etcd does not answer this host."""

    at: float = 0.0
    is_ready: bool = False
    is_stopping: bool = False
    reason: str = "it has not entered the group yet"
    hosts: int = 0
    partitions: int = 0
    uncovered: int = 0
    parked: int = 0
    wanted: int = 0
    workers: Mapping[str, int] = field(default_factory=dict)
    pids: Mapping[Partition, tuple[int, ...]] = field(default_factory=dict)
    owned: Mapping[Partition, Owned] = field(default_factory=dict)
    totals: Mapping[Partition, PartitionTotals] = field(default_factory=dict)
    unowned: Mapping[Partition, float] | None = None
    unowned_seconds: float = 0.0
    ownerships: Mapping[str, int] = field(default_factory=dict)
    exits: Mapping[str, int] = field(default_factory=dict)
    gap: Mapping[str, Histogram] = field(default_factory=dict)
    commit_seconds: Histogram | None = None
    transaction_seconds: Histogram | None = None
    lease_left: Histogram | None = None
    least_lease_left: float | None = None
    kafka_answers: bool = True
    log_lines_dropped: int = 0

    @property
    def offsets(self) -> dict[Partition, int]:
        """Of the partitions that this host owns, as far as they are known."""
        return {partition: each.offset for partition, each in self.owned.items() if each.offset is not None}
