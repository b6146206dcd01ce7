"""The way to a lock: what one member of etcd does not know yet, the others are asked for."""

from __future__ import annotations

import pytest

from partition_workers.etcd.store import Put, Txn, TxnResult
from partition_workers.layout.documents import Cause, Lock, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.lock import PartitionLock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 0)
ME = Standby("me", "here", 1, "2a", now())


class Behind(FakeEtcd):
    """The member that is asked has not heard of anything written lately."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = self.together = 0

    def transact(self, txn: Txn) -> TxnResult:
        if txn.serializable:
            self.alone += 1
            return TxnResult(False, 1, ((),))
        self.together += 1
        return super().transact(txn)


@pytest.mark.parametrize("store", [FakeEtcd(), Behind()], ids=["it knows", "it is behind"])
def test_a_lock_that_is_ours_is_found_to_be_ours(store: FakeEtcd) -> None:
    """With the last commit of who was before, whichever member answers."""
    before = Standby("before", "there", 2, "2b", now())
    for each in (ME, before):
        store.grant(5, int(each.lease, 16))
    first = store.transact(transactions.acquire(KEYS, P, Lock.naming(before, Cause.ACQUIRED))).revision
    store.transact(Txn((), (Put(f"{KEYS.state(P)}count", b"7"),)))
    named = store.transact(transactions.take_over(KEYS, P, first, Lock.naming(ME, Cause.TAKEN_OVER))).revision

    loaded = PartitionLock(store, KEYS, P, ME, lambda: False).confirm(named)

    assert loaded is not None
    assert (loaded.token, loaded.state) == (named, {"count": b"7"})


def test_a_lock_that_is_not_ours_is_asked_for_once_more_and_no_more() -> None:
    """A member that is behind looks the same, so the second question is to all."""
    store = Behind()
    assert PartitionLock(store, KEYS, P, ME, lambda: False).confirm(17) is None
    assert store.alone == 1
    assert store.together == 1
