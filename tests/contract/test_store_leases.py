"""Leases of a store, whether it is etcd or the fake of the tests."""

from __future__ import annotations

import queue
from collections.abc import Callable

import pytest

from partition_workers.errors import LeaseGone
from partition_workers.etcd.store import (
    Put,
    Renewal,
    Txn,
)
from tests.contract.calls import ended_after, names, new_lease, put, take, told
from tests.contract.group import AnyStore
from tests.eventually import eventually


class TestLeases:
    def test_the_id_can_be_chosen(self, store: AnyStore) -> None:
        """A lease gets the id its owner chose, and asking again for the same id is no error."""
        lease = new_lease()
        assert store.grant(60, lease).lease == lease
        again = store.grant(60, lease)
        assert again.lease == lease
        assert 0 < again.ttl <= 60
        store.revoke(lease)

    def test_the_id_can_be_left_to_the_store(self, store: AnyStore) -> None:
        """Without an id each grant is another lease."""
        first, second = store.grant(60), store.grant(60)
        assert first.lease != second.lease
        assert first.lease > 0
        for grant in (first, second):
            store.revoke(grant.lease)

    def test_the_ttl_may_be_more_than_asked(self, store: AnyStore) -> None:
        """A TTL below the server's minimum is raised to it."""
        grant = store.grant(1)
        assert grant.ttl >= 2
        store.revoke(grant.lease)

    def test_a_key_says_its_lease(self, store: AnyStore, prefix: str) -> None:
        """The lease of a put is read back with the key, and a put without a lease detaches it."""
        lease = store.grant(60).lease
        for number in (lease, 0):
            put(store, f"{prefix}a", b"", number)
            found = store.get(f"{prefix}a")
            assert found is not None
            assert found.lease == number
        store.revoke(lease)
        assert store.get(f"{prefix}a") is not None

    def test_revoking_deletes_the_keys_at_one_revision(self, store: AnyStore, prefix: str) -> None:
        """All keys of a revoked lease go at once, and a watch sees it."""
        lease = store.grant(60).lease
        for name in "ab":
            start = put(store, f"{prefix}{name}", b"", lease)
        put(store, f"{prefix}c")
        watch = store.watch((f"{prefix}a", f"{prefix}b"), start + 1)
        store.revoke(lease)
        changes = take(watch, 2)
        watch.cancel()
        assert sorted(told(changes, prefix)) == [("deleted", "a", b""), ("deleted", "b", b"")]
        assert len({each.item.mod_revision for each in changes}) == 1
        assert names(store.list(prefix).items, prefix) == ["c"]

    def test_a_key_moved_to_another_lease_lives_with_that(self, store: AnyStore, prefix: str) -> None:
        """After a put with another lease the first one's end means nothing to the key."""
        old, new = store.grant(60).lease, store.grant(60).lease
        put(store, f"{prefix}lock", b"old", old)
        put(store, f"{prefix}lock", b"new", new)
        store.revoke(old)
        assert store.get(f"{prefix}lock") is not None
        store.revoke(new)
        assert store.get(f"{prefix}lock") is None

    def test_revoking_twice_is_fine(self, store: AnyStore) -> None:
        """A lease that is gone need not be revoked: no error, since an answer may have been lost."""
        lease = store.grant(60).lease
        store.revoke(lease)
        store.revoke(lease)

    def test_a_put_with_an_unknown_lease_is_refused_whole(self, store: AnyStore, prefix: str) -> None:
        """LeaseGone, and none of the transaction's writes are done."""
        with pytest.raises(LeaseGone):
            store.transact(Txn((), (Put(f"{prefix}a", b""), Put(f"{prefix}b", b"", new_lease()))))
        assert store.list(prefix).items == ()

    def test_a_lease_is_only_asked_for_in_the_branch_that_runs(self, store: AnyStore, prefix: str) -> None:
        """An unknown lease in the branch that is not done does no harm."""
        txn = Txn((), (Put(f"{prefix}a", b""),), (Put(f"{prefix}a", b"", new_lease()),))
        assert store.transact(txn).succeeded

    def test_what_is_left_of_a_lease_tells_when_it_was_renewed(
        self, store: AnyStore, elapse: Callable[[float], None]
    ) -> None:
        """Whole seconds, rounded down; a renewal begins anew."""
        lease = store.grant(60).lease
        elapse(2.5)
        eventually("two seconds are gone", lambda: store.time_to_live(lease).left in (57, 58))
        assert store.time_to_live(lease).granted == 60
        assert list(store.keepalive(iter([[lease]]))) == [Renewal(lease, 60)]
        assert store.time_to_live(lease).left in (59, 60)

    def test_of_a_lease_that_is_gone_nothing_is_left(self, store: AnyStore) -> None:
        """And that is no error; nor is a lease that never was."""
        lease = store.grant(60).lease
        store.revoke(lease)
        assert store.time_to_live(lease).left == store.time_to_live(new_lease()).left == 0

    def test_a_lease_runs_out(self, store: AnyStore, prefix: str, elapse: Callable[[float], None]) -> None:
        """A lease nobody renews ends after its TTL: its keys are deleted and it is not known any more."""
        grant = store.grant(2)
        revision = put(store, f"{prefix}a", b"", grant.lease)
        watch = store.watch((prefix,), revision + 1)
        elapse(grant.ttl)
        assert told(take(watch, 1), prefix) == [("deleted", "a", b"")]
        watch.cancel()
        assert list(store.keepalive(iter([[grant.lease]]))) == [Renewal(grant.lease, 0)]

    def test_keepalives_are_answered_in_order(self, store: AnyStore) -> None:
        """One stream renews several leases, in lists; one that is not known is answered with a TTL of 0."""
        first, second, unknown = store.grant(60).lease, store.grant(30).lease, new_lease()
        stream = store.keepalive(iter([[first, unknown], [second], [], [first]]))
        with ended_after(10, stream.cancel):
            answers = list(stream)
        assert answers == [Renewal(first, 60), Renewal(unknown, 0), Renewal(second, 30), Renewal(first, 60)]
        for lease in (first, second):
            store.revoke(lease)

    def test_many_keepalives_are_all_answered(self, store: AnyStore) -> None:
        """Hundreds at once, and then as many again."""
        lease = store.grant(60).lease
        stream = store.keepalive(iter([[lease] * 300] * 2))
        with ended_after(10, stream.cancel):
            assert list(stream) == [Renewal(lease, 60)] * 600
        store.revoke(lease)

    def test_a_keepalive_stream_is_fed_while_it_is_read(self, store: AnyStore) -> None:
        """Requests may come whenever their iterator likes, and cancelling ends a stream that waits."""
        lease = store.grant(60).lease
        asked: queue.Queue[list[int]] = queue.Queue()
        stream = store.keepalive(iter(asked.get, [-1]))
        answers = iter(stream)
        with ended_after(10, stream.cancel):
            for _ in range(3):
                asked.put([lease])
                assert next(answers) == Renewal(lease, 60)
        with ended_after(0.05, stream.cancel):
            assert list(answers) == []
        asked.put([-1])
        store.revoke(lease)
