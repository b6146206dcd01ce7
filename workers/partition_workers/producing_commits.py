"""Commits of an owner that produces, whatever is promised of its outputs: they go with the cut in which they were
made, and when that goes back, they do too."""

from __future__ import annotations

from typing import Any

from partition_workers.commit_flight import Flight
from partition_workers.commits import Commits
from partition_workers.errors import OutputsTooLarge, PartitionRefused, RequestTooLarge
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.layout.changes import Changes
from partition_workers.outputs.buffer import FULL_AT, Output, Outputs, Waiting
from partition_workers.retry import delays


class ProducingCommits(Commits):
    def __init__(self, *arguments: Any, outputs: Outputs) -> None:
        """`arguments`: those of `Commits`."""
        super().__init__(*arguments)
        self.outputs = outputs
        self._records: list[Waiting] = []
        """Of the cuts that wait."""
        self._is_closed = False
        self._failures, self._not_before = delays(0.05, 2.0), 0.0

    def add(self, offset: int, changes: Changes) -> bool:
        if self._is_closed:
            return True
        if self._records and len(self._records) + len(self.outputs) > FULL_AT[0]:
            return False
        if not super().add(offset, changes):
            return False
        self._records += self.outputs.take()
        return True

    def abandon(self) -> None:
        super().abandon()
        self._records = []

    def _drop(self, flight: Flight, error: RequestTooLarge) -> None:
        super()._drop(flight, error)
        self._records = []

    def _once_more(self, changes: Changes, records: list[Waiting], failed: SendingFailed) -> None:
        """They were not sent: the same goes with the next cut, unless it would always fail."""
        if failed.refusal is not None:
            raise PartitionRefused(f"{self._partition}: its outputs cannot be sent: {failed.refusal}")
        if failed.too_large is not None:
            blamed = Output._make(records[failed.too_large])
            self.outputs.learn(blamed)
            self.offset, self._changes, self._records = self.committed, {}, []
            raise OutputsTooLarge(f"{blamed.topic} took no record of {blamed.size:,} bytes")
        self._changes = changes | self._changes
        self._records = records + self._records
        self._dirty = True
        self._not_before = self._clock() + next(self._failures)

    def _close(self) -> None:
        """Nothing more is produced."""
        self._is_closed = True
        self._changes, self._records, self._dirty = {}, [], False
        self.offset = self.committed
