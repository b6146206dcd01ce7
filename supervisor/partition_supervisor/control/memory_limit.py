"""A limit for what each worker uses for itself alone, not counting what it shares with the fork server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

import psutil

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.processes.child import Child

#: One heavy record is no leak: so many samples in a row must be too much.
SAMPLES = 3


class MemoryLimit:
    """`limit` in MB of memory of its own (USS) for each worker; 0: none. `replace(child, reason)` is called for those
    that were over it at each of the last samples."""

    def __init__(
        self,
        limit: int,
        children: Iterable[Child],
        background: BackgroundCalls,
        replace: Callable[[Child, str], None],
    ) -> None:
        self.every = 5.0 if limit else 3600.0
        self._limit, self._children, self._background, self._replace = limit, children, background, replace
        self._is_measuring = False
        #: How many samples in a row were over the limit, by worker.
        self._over: dict[str, int] = {}

    def check(self) -> None:
        """Take a sample. Call it at its pace. The kernel looks at each page of each worker for it, a millisecond for
        each 100 MB: not on the loop, and never twice at once."""
        if not self._limit or self._is_measuring:
            return
        self._is_measuring = True
        pids = {child.worker: child.pid for child in self._children if child.pid}
        self._background.run(lambda: _measure(pids), self._judge, failed=self._measured)

    def _judge(self, used: Mapping[str, int]) -> None:
        self._measured()
        before, self._over = self._over, {}
        for child in self._children:
            if used.get(child.worker, 0) > self._limit * 1_000_000:
                self._over[child.worker] = before.get(child.worker, 0) + 1
            if self._over.get(child.worker, 0) >= SAMPLES:
                self._replace(child, f"it uses more than {self._limit} MB")

    def _measured(self) -> None:
        self._is_measuring = False


def _measure(pids: Mapping[str, int]) -> dict[str, int]:
    """Bytes that each worker has for itself."""
    used = {}
    for worker, pid in pids.items():
        with contextlib.suppress(psutil.Error, OSError):
            used[worker] = int(psutil.Process(pid).memory_full_info().uss)
    return used
