"""Who owned a partition, since when, why, and how long nobody did: what to write, from what is there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from partition_workers.etcd.store import Delete, KeyValue, Operation, Put
from partition_workers.layout.documents import Ending, History
from partition_workers.model import Token

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
            if record.token >= own:
                continue
            if record.until is None:
                closed = record.closed(Ending.DIED, following.from_offset, at=following.since)
                operations.insert(0, Put(each.key, closed.encode()))
            following = record
    return operations[:SURPLUS_AT_ONCE]
