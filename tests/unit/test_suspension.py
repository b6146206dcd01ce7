"""A suspended owner goes on when the lock is its own and the lease is renewed, and ends when neither can be again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from partition_workers.errors import ClusterReplaced, Lost, PartitionSupervisorError, Unavailable
from partition_workers.etcd.store import Delete, Put, Txn, TxnResult
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.suspension import Suspension
from tests.fakes.etcd import FakeEtcd

KEYS, P = Keys("/test/g"), Partition("events", 0)


class Etcd(FakeEtcd):
    """`errors`: what the next questions are answered with."""

    errors: list[PartitionSupervisorError]

    def transact(self, txn: Txn) -> TxnResult:
        if self.errors:
            raise self.errors.pop(0)
        return super().transact(txn)


class Stage:
    def __init__(self) -> None:
        self.etcd = Etcd()
        self.etcd.errors = []
        self.token = self.etcd.transact(Txn((), (Put(KEYS.lock(P), b"me"),))).revision
        self.over = False
        self.lease = mock.Mock(gone=False, late=True, is_over=lambda: self.over)
        self.pipe = mock.Mock(orphaned=False)
        self.looks = 0
        self.at_look: Callable[[int], object] = lambda _look: None

    def wait(self) -> None:
        def look() -> None:
            self.looks += 1
            self.at_look(self.looks)
            assert self.looks < 20, "it waits for ever"

        parts: list[Any] = [self.etcd, KEYS, P, self.token, self.lease, self.pipe, mock.Mock(), mock.Mock(), look]
        Suspension(*parts).wait()


def test_it_goes_on_when_the_lease_is_renewed_and_the_lock_its_own() -> None:
    stage = Stage()
    stage.at_look = lambda look: setattr(stage.lease, "late", look < 3)
    stage.wait()
    assert stage.looks == 3


def test_it_ends_when_the_lock_is_anothers() -> None:
    stage = Stage()
    stage.etcd.transact(Txn((), (Delete(KEYS.lock(P)),)))
    stage.at_look = lambda look: setattr(stage.lease, "late", look < 3)
    with pytest.raises(Lost, match="another owner"):
        stage.wait()


@pytest.mark.parametrize("error", [ClusterReplaced("another cluster answers"), None])
def test_it_ends_when_nobody_renews_the_lease_any_more(error: PartitionSupervisorError | None) -> None:
    """Of an etcd that was replaced nobody hears that the lease is gone; nor of one that has forgotten it."""
    stage = Stage()
    stage.etcd.errors = [Unavailable("for now"), *([error] if error else [])]
    if error is None:
        stage.etcd.transact = mock.Mock(side_effect=[Unavailable("for now"), TxnResult(False, 9, ((),))])  # type: ignore[method-assign]
    stage.at_look = lambda look: setattr(stage, "over", look > 2)
    with pytest.raises(Lost):
        stage.wait()
    assert stage.looks == 4


def test_an_etcd_without_quorum_is_waited_for_however_long() -> None:
    """Leases do not end meanwhile, and it goes on with the same token."""
    stage = Stage()
    stage.over = True
    stage.etcd.errors = [Unavailable("no leader") for _ in range(9)]
    stage.at_look = lambda look: setattr(stage.lease, "late", look < 12)
    stage.wait()
    assert stage.looks == 12
