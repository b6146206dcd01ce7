"""Which etcd cluster answers: an endpoint of another one is passed over; when nothing else is left, we end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from partition_workers.errors import ClusterReplaced, Unavailable

#: Seconds without an answer of the cluster we know, after which one other endpoint that answers is enough: those of a
#: restored cluster are often started one after the other, and some perhaps never again.
PATIENCE = 30.0


class OtherCluster(Unavailable):
    """Raised when an endpoint is of another cluster than those that answered before it."""


class ClusterId:
    """Remembers which cluster answered first, for all connections of a client. Any thread may call it."""

    def __init__(self, endpoints: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._id = 0
        self._endpoints, self._clock = endpoints, clock
        self._others: set[str] = set()
        self._ours_at = 0.0
        self._lock = threading.Lock()

    def check(self, answered: int, endpoint: str) -> None:
        """Raises OtherCluster when it is not the cluster we know; ClusterReplaced when that is gone.

        Some proxies send 0 on streams.
        """
        if answered != self._id and answered:
            self._take_note(answered, endpoint)
        elif answered:
            self._ours_at = self._clock()
            if self._others:
                with self._lock:
                    self._others.discard(endpoint)

    def _take_note(self, answered: int, endpoint: str) -> None:
        with self._lock:
            if not self._id or answered == self._id:
                self._id, self._ours_at = answered, self._clock()
                return
            self._others.add(endpoint)
            known, all_others = f"{self._id:x}", len(self._others) == len(self._endpoints)
            silent_for = self._clock() - self._ours_at
        if all_others or silent_for > PATIENCE:
            raise ClusterReplaced(
                f"another etcd cluster answers at {endpoint}, {answered:x}, and the one that answered first,"
                f" {known}, nowhere any more: was it restored from a backup?"
            )
        raise OtherCluster(
            f"another etcd cluster answered at {endpoint}: {answered:x}, while the first to answer was {known};"
            " all endpoints must be of one cluster"
        )
