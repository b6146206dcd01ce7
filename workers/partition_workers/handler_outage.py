"""What a handler needs is away: its database, say. It is waited for, and no record is to blame.

A handler says so by raising `Unavailable`. As an error of the record it would be tried a few times, and then skipped,
sent to the dead letters or parked, and so would the next one, and all of them until the database is back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from partition_workers.errors import Unavailable
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.log_events import event
from partition_workers.model import Offset
from partition_workers.progress import Progress
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds between two attempts: at first, and at the most.
SOON, LONGEST_PAUSE = 0.1, 5.0
#: It is said at the first attempt that failed, and at each so many-th after that: every two minutes in the end.
SAY_EVERY = 25


class HandlerOutage:
    """Of one ownership; `place` is named in the log."""

    def __init__(self, progress: Progress, interrupt: InterruptFlag, place: str) -> None:
        self._progress, self._interrupt, self._place = progress, interrupt, place
        self._at: Offset | None = None
        self._attempts = 0
        self._pauses: Iterator[float] = iter(())

    def wait(self, error: Unavailable) -> None:
        """A while, or until somebody wants something. Longer and longer, until a record was handled in between."""
        self._progress.commits.send()  # whoever dies meanwhile dies of no record
        if self._at != self._progress.offset:
            self._at, self._attempts, self._pauses = self._progress.offset, 0, delays(SOON, LONGEST_PAUSE)
        if self._attempts % SAY_EVERY == 0:
            log.warning("%s: at offset %d the handler waits for what it needs: %s", self._place, self._at, error,
                        extra=event("handler-waits"))  # fmt: skip
        self._attempts += 1
        with self._progress.off_the_clock():
            self._interrupt.wait(next(self._pauses))
