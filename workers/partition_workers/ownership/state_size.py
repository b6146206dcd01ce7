"""How large a partition's state is: noted in etcd once it is large, and warned of before it hurts.

Whoever takes a partition over asks for its whole state in one answer unless it is noted to be large; then in pages.
So the note need not be exact, nor there at once: without it, a state that has just grown is asked for in one answer
that may not arrive in time, and then in pages all the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from partition_workers.etcd.store import Delete, Operation, Put
from partition_workers.layout.documents import Size, now
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: A state of more bytes than this is read in pages.
LARGE = 1 << 20
#: From so many bytes on it is warned of, and again each time it has doubled.
HEAVY = 10_000_000
#: A note is written anew when it is wrong by more than this.
TOLERANCE = 1.25
#: Looking at the size takes time of the record loop, at most this part of it.
COST = 1 / 200


class StateSize:
    """Of one owner. `key` is that of the note, `noted` what it says. `measure()`: the keys and bytes of the state."""

    def __init__(
        self, partition: Partition, key: str, noted: Size | None, measure: Callable[[], tuple[int, int]]
    ) -> None:
        self._partition, self._key, self._measure = partition, key, measure
        self._noted = noted.bytes if noted else 0
        #: As measured last: keys and bytes.
        self.measured: tuple[int, int] | None = None
        self._warned = HEAVY // 2
        self._next_look = 0.0

    def look(self) -> tuple[Operation, ...]:
        """What is to be written with the next commit; mostly nothing."""
        begun = time.monotonic()
        if begun < self._next_look:
            return ()
        keys, size = self.measured = self._measure()
        ended = time.monotonic()
        self._next_look = ended + (ended - begun) / COST
        if size >= max(HEAVY, 2 * self._warned):
            self._warned = size
            log.warning(
                "%s: the state has %.0f MB in %d keys. Who takes the partition over reads all of it before the next"
                " record, which takes a second for 60 to 100 MB, and longer on a slow way to etcd: keep less state,"
                " or spread it over more partitions",
                self._partition, size / 1e6, keys,
                extra=event("state-large"),
            )  # fmt: skip
        if size <= LARGE:
            if not self._noted or size > LARGE / 2:
                return ()
            self._noted = 0
            return (Delete(self._key),)
        if self._noted and 1 / TOLERANCE < size / self._noted < TOLERANCE:
            return ()
        self._noted = size
        return (Put(self._key, Size(keys, size, now()).encode()),)
