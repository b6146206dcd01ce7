"""Asking etcd on behalf of a person at a terminal: for so many seconds, then it is said to be unreachable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from partition_workers.errors import Retry, Unreachable
from partition_workers.etcd.store import Listing, Store, Txn, TxnResult

T = TypeVar("T")

#: Seconds between two tries; the store turns to the next endpoint by itself.
PAUSE = 0.05


class RetryingStore:
    """A store that is asked again when it was silent. `where`: its endpoints, for the message."""

    def __init__(self, store: Store, seconds: float, where: str) -> None:
        self._store, self._seconds, self._where = store, seconds, where

    def transact(self, txn: Txn) -> TxnResult:
        """Raises Unreachable.

        A transaction may be sent again after its answer was lost, so a refusal can be the work of its own first
        copy: whoever writes must look for what he wrote before he believes that somebody else did.
        """
        return self._until_answered(lambda: self._store.transact(txn))

    def list(self, prefix: str) -> Listing:
        """Raises Unreachable."""
        return self._until_answered(lambda: self._store.list(prefix))

    def _until_answered(self, ask: Callable[[], T]) -> T:
        until = time.monotonic() + self._seconds
        while True:
            try:
                return ask()
            except Retry as error:
                if time.monotonic() > until:
                    raise Unreachable(
                        f"etcd does not answer at {self._where} ({error}):"
                        " is it running, and is --etcd-endpoints right?"
                    ) from None
                time.sleep(PAUSE)  # nothing to wait upon but etcd itself
