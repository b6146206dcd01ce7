"""Who owned a partition, since when, why, and how long nobody did: what to write, from what is there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from partition_workers.etcd.store import Delete, Get, KeyValue, Operation, Put
from partition_workers.layout.documents import Ending, History, StoredOffset, milliseconds
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition, Token

#: How many ownerships of a partition are remembered.
KEPT = 100
#: A transaction has room for so many operations beside everything else; the rest goes with the next owner.
SURPLUS_AT_ONCE = 20


def tidy(found: Sequence[KeyValue], own: Token, own_record: History) -> list[Operation]:
    """Close the records of predecessors that died before they could, and forget the oldest.

    Each ended where and when the next began, which may not be ours: that one may have died, or left, at once.
    `found` is a partition's whole history, oldest first.
    """
    operations: list[Operation] = []
    operations += [Delete(each.key) for each in found[:-KEPT]]
    following = own_record
    for each in reversed(found[-KEPT:]):
        with contextlib.suppress(ValueError):  # a foreign value is left alone
            record = History.decode(each.value)
            if record.token >= own or record.ending == Ending.NOT_TAKEN:
                continue  # who never owned the partition neither began nor ended anything
            if record.until is None:
                closed = record.closed(Ending.DIED, following.from_offset, at=following.since)
                operations.insert(0, Put(each.key, closed.encode()))
            following = record
    return operations[:SURPLUS_AT_ONCE]


class OwnHistory:
    """The record of one ownership while it lasts, as operations for its commits."""

    def __init__(self, keys: Keys, partition: Partition, begun: History) -> None:
        self.record = begun
        self._key = keys.history(partition, begun.token)
        self._all = keys.histories(partition)

    def on_first_record(self, before: StoredOffset | None, phases: dict[str, str | None]) -> tuple[Operation, ...]:
        """The phases of the gap since the last commit under the token `before`, each with its time; and a look at
        what the predecessors left."""
        if before:
            with contextlib.suppress(ValueError):  # somebody wrote that time by hand
                gap = {name: round(milliseconds(before.at, at), 1) for name, at in phases.items() if at}
                self.record = dataclasses.replace(self.record, last_commit=before.at, gap=gap)
        return Put(self._key, self.record.encode()), Get(self._all, prefix=True)

    def tidy(self, found: Sequence[KeyValue]) -> list[Operation]:
        return tidy(found, self.record.token, self.record)

    def closed(self, ending: Ending, offset: Offset, reason: str | None) -> Operation:
        return Put(self._key, self.record.closed(ending, offset, reason).encode())
