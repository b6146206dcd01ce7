"""What the events of a round have changed, for one look at all of it when they are handled."""

from __future__ import annotations

from partition_workers.model import Partition


class Dirty:
    """Whoever notices a change marks it; the loop looks once a round, however many events there were."""

    def __init__(self) -> None:
        self._workers = False
        self._locks: set[Partition] = set()

    def __bool__(self) -> bool:
        return self._workers or bool(self._locks)

    def mark_workers(self) -> None:
        """Which workers are wanted, or which are present, may be different now."""
        self._workers = True

    def mark_locks(self, *partitions: Partition) -> None:
        """Their locks may be free, or somebody may be able to take them."""
        self._locks.update(partitions)

    def take_workers(self) -> bool:
        was, self._workers = self._workers, False
        return was

    def take_locks(self) -> set[Partition]:
        was, self._locks = self._locks, set()
        return was
