"""Weighing workers: what each uses for itself alone, not what it shares with the fork server."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

import psutil

from partition_supervisor.processes.children import Child

#: One heavy record is no leak: so many samples in a row must be too much.
SAMPLES = 3


class MemoryLimit:
    """`limit` in MB of memory of its own (USS) for each worker; 0: none."""

    def __init__(self, limit: int) -> None:
        self.every = 5.0 if limit else 3600.0
        self._limit = limit
        self._heavy: dict[str, int] = defaultdict(int)

    def too_heavy(self, children: Iterable[Child]) -> list[Child]:
        """Those that were over the limit at each of the last samples. Call it at its pace."""
        if not self._limit:
            return []
        found = []
        for child in children:
            heavy = False
            with contextlib.suppress(psutil.Error):
                heavy = psutil.Process(child.pid).memory_full_info().uss > self._limit * 1_000_000
            self._heavy[child.worker] = self._heavy[child.worker] + 1 if heavy else 0
            if self._heavy[child.worker] >= SAMPLES:
                found.append(child)
        return found
