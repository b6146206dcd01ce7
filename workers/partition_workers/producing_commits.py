"""Commits of an owner that produces, whatever is promised of its outputs: they go with the cut in which they were
made, and when that goes back, they do too."""

from __future__ import annotations

from typing import Any

from partition_workers.commit_flight import Flight
from partition_workers.commits import Commits
from partition_workers.errors import OutputsLost, OutputsTooLarge, PartitionRefused, RequestTooLarge
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.layout.changes import Changes
from partition_workers.outputs.buffer import FULL_AT, Output, Outputs, Waiting, size_of
from partition_workers.retry import delays


class ProducingCommits(Commits):
    def __init__(self, *arguments: Any, outputs: Outputs) -> None:
        """`arguments`: those of `Commits`."""
        super().__init__(*arguments)
        self.outputs = outputs
        self._records: list[Waiting] = []
        """Of the cuts that wait."""
        self._size = 0
        """Bytes that they take."""
        self._is_closed = False
        self._failures, self._not_before = delays(0.05, 2.0), 0.0

    @property
    def wants_cut(self) -> bool:
        return self.outputs.is_full

    def add(self, offset: int, changes: Changes) -> bool:
        if self._is_closed:
            return True
        if not self._has_room_for_outputs() or not super().add(offset, changes):
            return False
        self._size += self.outputs.size
        self._records += self.outputs.take()
        return True

    def abandon(self) -> None:
        super().abandon()
        self._forget_records()

    def _drop(self, flight: Flight, error: RequestTooLarge) -> None:
        super()._drop(flight, error)
        self._forget_records()

    def _has_room_for_outputs(self) -> bool:
        """Of a cut, beside those that wait."""
        if not self._records:
            return True
        count, size = len(self._records) + len(self.outputs), self._size + self.outputs.size
        return count <= FULL_AT[0] and size <= FULL_AT[1]

    def _forget_records(self) -> None:
        """They are somebody else's, or nobody's."""
        self._records, self._size = [], 0

    def _once_more(self, changes: Changes, records: list[Waiting], failed: SendingFailed, ahead: int = 0) -> None:
        """They were not sent: the same goes with the next cut, unless it would always fail. `ahead`: so many are not
        kept, and their records are handled again."""
        if failed.refusal is not None:
            raise PartitionRefused(f"{self._partition}: its outputs cannot be sent: {failed.refusal}")
        if failed.too_large is not None:
            blamed = Output.of(records[failed.too_large])
            self.outputs.learn(blamed)
            self._go_back()
            raise OutputsTooLarge(f"{blamed.topic} took no record of {blamed.size:,} bytes")
        self._not_before = self._clock() + next(self._failures)
        if ahead:
            self._go_back()
            raise OutputsLost(str(failed))
        self._changes, self._dirty = changes | self._changes, True
        self._records = records + self._records
        self._size += sum(map(size_of, records))

    def _go_back(self) -> None:
        """To the last commit."""
        self.offset, self._changes = self.committed, {}
        self._forget_records()

    def _close(self) -> None:
        """Nothing more is produced."""
        self._is_closed = True
        self._changes, self._dirty = {}, False
        self._forget_records()
        self.offset = self.committed
