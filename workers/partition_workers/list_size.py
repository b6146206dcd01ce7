"""How many records a batch handler gets at once: as many as there are, unless they change too much state together."""

from __future__ import annotations

from collections.abc import Callable

from partition_workers.commit_limits import CommitLimits
from partition_workers.kafka.reader import BATCH


class ListSize:
    """Halved when a list changed more than a transaction holds, doubled again when that would fit."""

    def __init__(self, limits: CommitLimits) -> None:
        self.records = BATCH
        self._limits = limits

    def handled(self, count: int, before: tuple[int, int], weigh: Callable[[], tuple[int, int]]) -> None:
        """`count` records changed the weight of the state, keys and bytes, from `before` to what `weigh` says."""
        if self.records < BATCH:
            keys, size = (after - earlier for after, earlier in zip(weigh(), before, strict=True))
            if self._limits.allow_list(keys, size, 2 * self.records / count):
                self.records = min(BATCH, 2 * self.records)

    def can_shrink(self, records: int) -> bool:
        return records > 1 and self.records > 1

    def shrink(self, records: int) -> None:
        """So many were too many."""
        self.records = max(1, min(self.records, records) // 2)
