"""How carefully to go on after a worker died: a record that kills the process must not walk from host to host.

Nobody knows at which record a process was killed, only what it had committed. So its successor goes on *watchfully*:
in short lists, each committed before the next, so that the next death is known to within a list. If that one dies as
well, without having committed anything, the next is *careful*: before each record it writes an attempt, in etcd, and
commits after it. An attempt that is still there tells exactly at which record a worker died, and how often. At
`max_deaths` that record is the poison, and is not tried again. An attempt that ended without a death, because the
handler raised or the owner was told to leave, is written down as over, so that it is not taken for one.

Watchful costs nothing that one could notice, and people kill healthy workers all day; careful costs a transaction
for each record, and is over as soon as the place is passed. A kill between records, or of an idle worker, leaves no
attempt, so it counts nothing however often it happens.
"""

from __future__ import annotations

from partition_workers.layout.documents import Attempt
from partition_workers.model import Offset

#: Records in a list while watchful, and how many records that lasts.
SHORT_LIST = 32
WATCHFUL_FOR = 1000
#: So many deaths in a row without a commit call for care; then this many records are handled one at a time.
CAREFUL_FROM = 2
CAREFUL_FOR = 2 * SHORT_LIST


class PoisonGuard:
    """For one ownership that begins at `offset`. `deaths`: how many owners in a row died without getting on."""

    def __init__(self, offset: Offset, deaths: int, attempt: Attempt | None, max_deaths: int) -> None:
        self._start = offset
        self._watchful = deaths > 0
        self._careful = deaths >= CAREFUL_FROM
        self._max_deaths = max_deaths
        self._before: Attempt | None = None
        if attempt is not None and attempt.offset >= offset and (attempt.under_way or attempt.deaths):
            self._careful = True
            self._before = Attempt(attempt.offset, attempt.deaths + attempt.under_way, attempt.hosts)

    def list_size(self, offset: Offset) -> int | None:
        """How many records to handle before the next commit; None: as many as there are."""
        if self.is_careful(offset):
            return 1
        if self._watchful and offset < self._start + WATCHFUL_FOR:
            return SHORT_LIST
        return None

    def is_careful(self, offset: Offset) -> bool:
        """Whether the record at `offset` must not be tried without an attempt in etcd."""
        place = self._before.offset if self._before else self._start
        return self._careful and offset < max(place, self._start) + CAREFUL_FOR

    def attempt(self, offset: Offset, host: str) -> Attempt:
        """What to write before the record at `offset` is tried here."""
        if self._before is not None and self._before.offset == offset:
            return Attempt(offset, self._before.deaths, [*self._before.hosts, host])
        return Attempt(offset, 0, [host])

    def attempt_over(self, offset: Offset) -> Attempt:
        """What to write when that ended, whether well or not, without a death."""
        before = self._before if self._before is not None and self._before.offset == offset else None
        return Attempt(offset, before.deaths if before else 0, before.hosts if before else [], under_way=False)

    def is_poison(self, offset: Offset) -> bool:
        """Whether the record at `offset` has killed enough."""
        before = self._before
        return before is not None and before.offset == offset and before.deaths >= self._max_deaths
