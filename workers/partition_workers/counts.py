"""What an owner counts, for metrics: plain numbers that only grow, read once a second by whoever reports them.

Counting costs nothing for each record: whole lists are added, and the clock is read twice for each list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from partition_workers.clock import Clock

#: Upper ends of the buckets of commits, in seconds; what takes longer is in one more.
COMMIT_BOUNDS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one ownership. `records`: handled, those that were handled again included; times in seconds.

    `commit_buckets`: how many commits took so long, for each of COMMIT_BOUNDS and beyond. `commit_retries`: commits
    that were sent again, because nobody knew what had become of them. `commits_refused`: etcd did not take them, or
    the lock was another's.
    """

    records: int = 0
    handler_seconds: float = 0.0
    retries: int = 0
    skipped: int = 0
    dead_letters: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    commit_buckets: tuple[int, ...] = (0,) * (len(COMMIT_BOUNDS) + 1)
    commit_retries: int = 0
    commits_refused: int = 0
    log_lines_dropped: int = 0


NOTHING = Counts()


@dataclass(slots=True)
class Handled:
    """Records that went through the handler, and what became of those that failed."""

    records: int = 0
    seconds: float = 0.0
    retries: int = 0
    skipped: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class CommitTimes:
    """Of the commits of one ownership, from sending to etcd's answer; however often one had to be sent."""

    clock: Clock
    count: int = 0
    seconds: float = 0.0
    retries: int = 0
    refused: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS) + 1))
    _sent_at: float = 0.0

    def sent(self) -> None:
        self._sent_at = self.clock()

    def stored(self) -> None:
        took = self.clock() - self._sent_at
        self.count += 1
        self.seconds += took
        self.buckets[bisect_left(COMMIT_BOUNDS, took)] += 1

    @contextmanager
    def refused_if_raised(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.refused += 1
            raise
