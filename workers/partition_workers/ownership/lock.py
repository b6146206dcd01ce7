"""How a standby becomes the owner: it takes a lock that is free, or confirms one that it was given.

Both end with etcd's own word and everything that an owner needs, in one answer. Nothing is believed for having been
told. Both may be repeated: an unknown outcome is asked again, and the answer shows what had happened.

Holding this lock does not stop a paused process from acting; the token in its commits does.
"""

from __future__ import annotations

from collections.abc import Callable

from partition_workers.errors import Lost, Retry
from partition_workers.etcd.store import Store, Txn, TxnResult
from partition_workers.layout.documents import Cause, History, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token
from partition_workers.ownership import transactions
from partition_workers.ownership.transactions import Loaded
from partition_workers.retry import delays, until_answered

#: No key was ever written at this revision; and a key that is not there counts as written at 0.
NEVER = -1


class PartitionLock:
    """One worker's way to the lock of its partition. `hopeless()`: the lease is gone, stop asking."""

    def __init__(
        self, store: Store, keys: Keys, partition: Partition, me: Standby, hopeless: Callable[[], bool]
    ) -> None:
        self._store, self._keys, self._partition, self._me = store, keys, partition, me
        self._hopeless = hopeless

    def acquire(self, deaths: int = 0) -> Loaded | None:
        """Take the lock if nobody has it and the partition is not parked. Raises Lost when our lease is gone."""
        result = self._ask(
            transactions.acquire(self._keys, self._partition, Lock.naming(self._me, Cause.ACQUIRED, deaths=deaths))
        )
        if result.succeeded:
            return transactions.loaded(self._keys, self._partition, result)
        lock = result.answers[0]
        if lock and Lock.decode(lock[0].value).worker == self._me.worker:
            return self.confirm(lock[0].mod_revision)  # an earlier try had landed, or we were named meanwhile
        return None

    def confirm(self, token: Token) -> Loaded | None:
        """Make sure that the lock is ours under `token`; None when it is not."""
        result = self._ask(transactions.confirm(self._keys, self._partition, token))
        if not result.succeeded:  # the one member that was asked may be behind: all are asked
            result = self._ask(transactions.confirm(self._keys, self._partition, token, serializable=False))
        return transactions.loaded(self._keys, self._partition, result) if result.succeeded else None

    def rehearse(self) -> None:
        """Confirm, and enter, under a token that cannot be ours. The first time costs more than the second: pages of
        memory that are still shared, code that never ran. A standby has time for that, a successor has not."""
        self._store.transact(transactions.confirm(self._keys, self._partition, NEVER))
        begun = History(NEVER, self._me.worker, self._me.host, self._me.pid, "", now())
        extra = transactions.enter(self._keys, self._partition, begun)
        refused = transactions.commit(self._keys, self._partition, 0, StoredOffset(0, NEVER, 0, "", now()), {}, extra)
        self._store.transact_soon(refused).result()

    def _ask(self, txn: Txn) -> TxnResult:
        try:
            return until_answered(lambda: self._store.transact(txn), delays(0.02, 0.5), self._hopeless)
        except Retry:
            raise Lost(f"{self._partition}: the lease ran out before etcd answered") from None
