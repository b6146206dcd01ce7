"""Commits that etcd does not take for a while: said seldom, with the reason."""

from __future__ import annotations

from collections.abc import Callable

from partition_workers.clock import Clock
from partition_workers.errors import NoSpace, Retry

#: Seconds without an answer after which it is said, and again, that nothing is committed.
TROUBLE_AFTER, TROUBLE_EVERY = 5.0, 30.0


class CommitTrouble:
    """`tell(why)` is called when it lasts, and again while it does."""

    def __init__(self, clock: Clock) -> None:
        self.tell: Callable[[str], object] = lambda _why: None
        self._clock = clock
        self._since: float | None = None
        self._told_at = float("-inf")

    def failed(self, error: Retry) -> None:
        """Told at once when etcd is full, for that takes a person; of anything else when it lasts."""
        now = self._clock()
        if self._since is None:
            self._since = now
        lasts = isinstance(error, NoSpace) or now - self._since >= TROUBLE_AFTER
        if lasts and now - self._told_at >= TROUBLE_EVERY:
            self._told_at = now
            self.tell(str(error))

    def over(self) -> None:
        self._since = None
