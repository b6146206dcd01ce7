"""What an owner counts, for metrics: plain numbers that only grow, read once a second by whoever reports them.

Counting costs nothing for each record: whole lists are added, and the clock is read twice for each list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from partition_workers.clock import Clock

#: Upper ends of the buckets of commits and transactions, in seconds; what takes longer is in one more.
COMMIT_BOUNDS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one ownership. `records`: handled, those that were handled again included; times in seconds.

    `commit_buckets`: how many commits took so long, for each of COMMIT_BOUNDS and beyond. `commit_retries`: commits
    that were sent again, because nobody knew what had become of them. `commits_refused`: etcd did not take them, or
    the lock was another's. `outputs`: records that Kafka has taken, by `transactions` of them that it has committed,
    or without any. `transactions_aborted`: they never happened, and were sent again; `transactions_given_up`: nobody
    answered in time, so it was asked what had become of them.
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
    outputs: int = 0
    transactions: int = 0
    transaction_seconds: float = 0.0
    transaction_buckets: tuple[int, ...] = (0,) * (len(COMMIT_BOUNDS) + 1)
    transactions_aborted: int = 0
    transactions_given_up: int = 0


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
class Durations:
    """How long each took, one at a time, in seconds."""

    clock: Clock
    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS) + 1))
    _begun_at: float = 0.0

    def begin(self) -> None:
        self._begun_at = self.clock()

    def end(self) -> None:
        took = self.clock() - self._begun_at
        self.count += 1
        self.seconds += took
        self.buckets[bisect_left(COMMIT_BOUNDS, took)] += 1


@dataclass(slots=True)
class TransactionTimes(Durations):
    """Of the transactions in Kafka of one ownership, from etcd's word that the step is prepared to Kafka's that it is
    committed."""

    outputs: int = 0
    aborted: int = 0
    given_up: int = 0
    #: When the step was prepared that is not applied yet, on the clock, and for the first time if it failed; None:
    #: there is none.
    prepared_at: float | None = None


@dataclass(slots=True)
class CommitTimes(Durations):
    """Of the commits of one ownership, from sending to etcd's answer; however often one had to be sent."""

    retries: int = 0
    refused: int = 0

    @contextmanager
    def refused_if_raised(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.refused += 1
            raise
