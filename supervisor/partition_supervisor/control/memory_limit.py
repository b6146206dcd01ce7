"""A limit for what each worker uses for itself alone, not counting what it shares with the fork server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import psutil

from partition_supervisor.processes.children import Child

#: One heavy record is no leak: so many samples in a row must be too much.
SAMPLES = 3


class MemoryLimit:
    """`limit` in MB of memory of its own (USS) for each worker; 0: none. `replace(child, reason)` is called for those
    that were over it at each of the last samples."""

    def __init__(self, limit: int, children: Iterable[Child], replace: Callable[[Child, str], None]) -> None:
        self.every = 5.0 if limit else 3600.0
        self._limit, self._children, self._replace = limit, children, replace
        #: How many samples in a row were over the limit, by worker.
        self._over: dict[str, int] = {}

    def check(self) -> None:
        """Take a sample. Call it at its pace."""
        if not self._limit:
            return
        before, self._over = self._over, {}
        for child in self._children:
            with contextlib.suppress(psutil.Error):
                if psutil.Process(child.pid).memory_full_info().uss > self._limit * 1_000_000:
                    self._over[child.worker] = before.get(child.worker, 0) + 1
            if self._over.get(child.worker, 0) >= SAMPLES:
                self._replace(child, f"it uses more than {self._limit} MB")
