"""Where the target of a handler stands: a database that keeps the position beside the results.

It counts more than the stored offset, because it moves in one transaction with what it is the position of. But not
more than a person: who has set an offset since must not be told hours later that nobody looked at it. And the token
that a target shows is worth as much as etcd's: where the two contradict each other, a person has to look, for each
owner would fare as the one before.
"""

from __future__ import annotations

import logging
import time

from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.errors import HandlerFailed, Lost, PartitionRefused, Retry, Stale
from partition_workers.etcd.store import Store
from partition_workers.kafka.reader import Reader
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.model import Offset, Reset, Token
from partition_workers.ownership import transactions
from partition_workers.progress import LOOK_UP
from partition_workers.protocol import WorkerSettings
from partition_workers.record_loop import RecordLoop
from partition_workers.supervisor_pipe import SupervisorPipe

log = logging.getLogger(__name__)

#: Seconds between two questions.
AGAIN = 0.5


class TargetPosition:
    """For one ownership, before its first record."""

    def __init__(
        self,
        settings: WorkerSettings,
        token: Token,
        store: Store,
        reader: Reader,
        lease: LeaseWatchdog,
        pipe: SupervisorPipe,
        commits: Commits,
        loop: RecordLoop,
        clock: Clock,
    ) -> None:
        self._settings, self._partition, self._token = settings, settings.partition, token
        self._store, self._reader, self._lease, self._pipe = store, reader, lease, pipe
        self._commits, self._loop, self._clock = commits, loop, clock

    @property
    def reset(self) -> Reset | None:
        """What a person has set, and no owner has followed yet."""
        return Reset(self._loop.offset, self._commits.reset) if self._commits.reset else None

    def follow(self, position: Offset | None) -> None:
        """Begin there; None: the handler has no such target. Raises PartitionRefused, HandlerFailed and Lost."""
        if position is None:
            if self._commits.reset:
                self._commits.follow_reset()
            return
        self._refuse(position)
        with self._loop.off_the_clock():
            self._settle()
            if position != self._loop.offset:
                self._refuse_absent(position)
                log.info("%s: from offset %d on, where the handler's target stands; stored is %d",
                         self._partition, position, self._loop.offset)  # fmt: skip
                self._loop.start_at(position)
            if self._commits.reset:  # the target must not be sent there once more, after its first record
                self._commits.follow_reset()
                self._commits.send()
                self._settle()

    def refused(self, error: Stale) -> HandlerFailed:
        """What becomes of an owner whose target has seen a newer token, though etcd knows of none. Raises `error`
        when there is a newer owner, or etcd does not say."""
        still_mine = transactions.still_mine(self._settings.keys, self._partition, self._token)
        try:
            is_ours = self._store.transact(still_mine).succeeded
        except Retry:
            raise error from None
        if not is_ours:
            raise error
        return HandlerFailed(
            f"{error}; but by etcd {self._token} is the newest: two groups write there under one name, or etcd was"
            " built anew, or the target is a copy of another one. Correct the token there, then:"
            f" partition-supervisor resume {self._partition}"
        )

    def _refuse(self, position: Offset) -> None:
        """What `open` must not return."""
        offset = self._loop.offset
        if self._commits.outputs.topics:
            raise HandlerFailed(
                "open() returned a position, and there is --output: what a record produced would be lost when the"
                " worker dies between the target's commit and that of Kafka. Use one of them, or two groups"
            )
        if self._commits.reset and position != offset:
            raise PartitionRefused(
                f"{self._partition}: somebody has set the offset to {offset}, and open() says that its target stands"
                f" at {position}; nothing was skipped. Set the target's position to that offset, or the offset to"
                f" that position (offsets reset --to-offset {position}); then resume"
            )

    def _refuse_absent(self, position: Offset) -> None:
        """What Kafka does not have."""
        first, end = extent(self._settings, self._reader, self._lease, self._pipe)
        if not first <= position <= end:
            raise PartitionRefused(
                f"{self._partition}: open() says that its target stands at offset {position}, and Kafka has {first}"
                f" to {end}; nothing was skipped. If the target misses nothing of what is gone: partition-supervisor"
                f" offsets reset {self._partition} --to-offset {min(max(first, self._loop.offset), end)} --execute,"
                " which a SqlSink follows; else correct the target's position"
            )

    def _settle(self) -> None:
        """Until nothing is in flight."""
        while not self._commits.settle(self._clock() + LOOK_UP):
            if self._pipe.orphaned or self._lease.gone:
                raise Lost(f"{self._partition}: etcd did not answer")


def extent(settings: WorkerSettings, reader: Reader, lease: LeaseWatchdog, pipe: SupervisorPipe) -> tuple[int, int]:
    """The first and the next offset that Kafka has of the partition. Kafka is asked until it answers.

    Raises Lost when the lease is over, or it is told to leave, before that.
    """
    while True:
        try:
            return reader.warm_up(timeout=1.0)
        except Retry as error:
            log.warning("%s", error)
            if lease.is_over() or pipe.told_to_leave:
                raise Lost(f"{settings.partition}: Kafka did not answer") from error
            time.sleep(AGAIN)  # nothing to wait upon but Kafka itself
