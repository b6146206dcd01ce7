"""Outputs of the next step that Kafka has already: they went while the handler was at work.

They are not kept. The memory that thousands of them take is out of the processor's cache when they are thrown away,
and that costs a third of what it takes to send them. So when their transaction comes to nothing, their records are
handled again.
"""

from __future__ import annotations

import math

from partition_workers.outputs.buffer import Waiting
from partition_workers.outputs.exchange import Exchange

#: So many, or bytes, are worth a transaction that is begun before its step is prepared: of an owner that dies with
#: one open, the next has to wait for the broker to end it. 2,000 and 12,000 at once are 7 % slower.
MANY = (5_000, 1_600_000)
#: But not where commits are rarer than one in so many seconds, or a list of records takes longer: readers of the
#: topics wait as long, and a transaction that is open for a minute is aborted.
LONGEST = 1.0
#: Where one list takes so many seconds, another may take longer than Kafka lets a transaction be open (60 s, as a
#: rule): what was sent ahead of it would be lost, and all handled again. So nothing is, for so many seconds then.
SLOW, REST = 10.0, 600.0
#: For more than so many, or bytes, a second cut has no room in one transaction.
MOST = (200_000, 64 * 1024 * 1024)


class Ahead:
    """`many`: from how many outputs, or bytes, on; None: never."""

    def __init__(self, exchange: Exchange, many: tuple[int, int] | None) -> None:
        self._exchange, self._many = exchange, many
        self.count = self._size = 0
        self._turned_at, self._rests_until = math.inf, -math.inf

    def turn(self, now: float) -> None:
        """The record loop has come round, with a list of records handled or not."""
        if now - self._turned_at > SLOW:
            self._rests_until = now + REST
        self._turned_at = now

    def is_worth_it(self, count: int, size: int, now: float) -> bool:
        if self._many is None or (count < self._many[0] and size < self._many[1]):
            return False
        return now - self._turned_at <= LONGEST and now >= self._rests_until

    def has_room(self, count: int, size: int) -> bool:
        """For so many more, or bytes, in the next step."""
        return not self.count or (self.count + count <= MOST[0] and self._size + size <= MOST[1])

    def send(self, records: list[Waiting], size: int) -> bool:
        """While no step is under way. False: Kafka's client takes nothing now."""
        if not self._exchange.send_ahead(records):
            return False
        self.count += len(records)
        self._size += size
        return True

    def forget(self) -> None:
        """They are of a step that is prepared, or were taken back."""
        self.count = self._size = 0
