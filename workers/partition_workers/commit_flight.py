"""A commit under way to etcd."""

from __future__ import annotations

from dataclasses import dataclass

from partition_workers.etcd.store import Operation, Txn
from partition_workers.layout.documents import StoredOffset

Changes = dict[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Flight:
    """`changes` and `extra`: what goes back if it cannot be done."""

    txn: Txn
    offset: StoredOffset
    changes: Changes
    extra: dict[str, Operation]
