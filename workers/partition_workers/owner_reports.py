"""What an owner tells its supervisor from time to time: how far it has come, and that it gets nothing to read."""

from __future__ import annotations

import time

from partition_workers import log_sender
from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.counts import Counts
from partition_workers.model import Offset
from partition_workers.ownership.state_size import StateSize
from partition_workers.protocol import MadeProgress, Starved, StepIsOpen
from partition_workers.record_loop import RecordLoop
from partition_workers.supervisor_pipe import SupervisorPipe

#: Seconds between two reports of progress.
PROGRESS_EVERY = 1.0


class OwnerReports:
    """For an ownership that began at offset `start`."""

    def __init__(
        self, pipe: SupervisorPipe, commits: Commits, loop: RecordLoop, size: StateSize, start: Offset, clock: Clock
    ) -> None:
        self._pipe, self._commits, self._loop, self._size = pipe, commits, loop, size
        self._start, self._clock = start, clock
        self._told: tuple[float, Offset] = (0.0, -1)
        self._starved_told = 0.0
        self._step_told: float | None = None
        self._gap: dict[str, float] = {}

    def first_record(self, gap: dict[str, float]) -> None:
        """The phases of the gap before it, in milliseconds: told once."""
        self._gap = gap

    def progress(self) -> None:
        """The first time as soon as it got on: it has committed more than its entrance, or all was done already."""
        self._open_step()
        at, offset = self._told
        if self._clock() - at < PROGRESS_EVERY and offset >= 0:
            return
        got_on = self._commits.committed != self._start or self._loop.has_been_idle
        if got_on and self._commits.committed != offset:
            self._told = self._clock(), self._commits.committed
            if note := self._size.look():
                self._commits.attach(*note)
            committed, handled = self._commits.committed, self._loop.handled
            if self._pipe.tell(MadeProgress(committed, handled, self.counts(), self._size.measured, self._gap)):
                self._gap = {}

    def counts(self) -> Counts:
        handled, times, sent = self._loop.counts, self._commits.times, self._commits.transactions
        return Counts(
            handled.records, handled.seconds, handled.retries, handled.skipped, handled.dead_letters,
            times.count, times.seconds, tuple(times.buckets), times.retries, times.refused,
            log_sender.lines_dropped(),
            sent.outputs, sent.count, sent.seconds, tuple(sent.buckets), sent.aborted, sent.given_up,
        )  # fmt: skip

    def _open_step(self) -> None:
        """A step that was prepared and is not applied, once it takes longer than usual; and that it is over."""
        since = self._commits.transactions.prepared_at
        if since is not None and self._clock() - since < PROGRESS_EVERY:
            since = None
        if since != self._step_told:
            self._step_told = since
            self._pipe.tell(StepIsOpen(since))

    def starvation(self, since: float | None, limit: float) -> None:
        """It has brought nothing `since` then (time.monotonic), though there is more: told after `limit` seconds, and
        again and again while it lasts, for who could follow may come later. `limit` 0: never."""
        if since is None or not limit:
            self._starved_told = 0.0
        elif (seconds := time.monotonic() - since) >= max(limit, self._starved_told + limit / 4):
            self._starved_told = seconds
            self._pipe.tell(Starved(seconds))
