"""A commit under way to etcd."""

from __future__ import annotations

from dataclasses import dataclass

from partition_workers.change_log import Step
from partition_workers.etcd.store import Operation, Txn
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import StoredOffset


@dataclass(frozen=True, slots=True)
class Flight:
    """`changes` and `extra`: what goes back if it cannot be done. `logged`: how its changes are stored."""

    txn: Txn
    offset: StoredOffset
    changes: Changes
    extra: dict[str, Operation]
    logged: Step
