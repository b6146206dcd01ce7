"""A commit under way to etcd."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass

from partition_workers.change_log import Step
from partition_workers.etcd.store import Operation, Txn, TxnResult
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import StoredOffset

#: Seconds between two looks whether a request is on its way.
LOOK = 0.0001


@dataclass(frozen=True, slots=True)
class Flight:
    """`changes` and `extra`: what goes back if it cannot be done. `logged`: how its changes are stored."""

    txn: Txn
    offset: StoredOffset
    changes: Changes
    extra: dict[str, Operation]
    logged: Step


def wait_until_sent(answer: Future[TxnResult]) -> None:
    """Until the request is on its way: it is soon, unless the thread that sends it does not get the interpreter."""
    while not answer.running() and not answer.done():
        time.sleep(LOOK)
