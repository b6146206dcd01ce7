"""What every `Store` does with transactions and listings, whether it is etcd or the fake of the tests."""

from __future__ import annotations

import dataclasses
import queue

import pytest

from partition_workers.errors import LeaseGone, Refused
from partition_workers.etcd.store import (
    Compare,
    Delete,
    Get,
    KeyValue,
    Put,
    Target,
    Txn,
)
from tests.contract.calls import delete, names, new_lease, put, take, told
from tests.contract.group import AnyStore


class TestTransactions:
    def test_puts_are_read_back_with_the_revision_of_their_transaction(self, store: AnyStore, prefix: str) -> None:
        """A transaction's revision is the mod_revision of all it wrote."""
        done = store.transact(Txn((), (Put(f"{prefix}a", b"1"), Put(f"{prefix}b", b"2"))))
        listing = store.list(prefix)
        assert [(each.value, each.mod_revision) for each in listing.items] == [
            (b"1", done.revision),
            (b"2", done.revision),
        ]
        assert listing.revision >= done.revision

    def test_a_key_counts_its_versions(self, store: AnyStore, prefix: str) -> None:
        """The version grows with every put and begins anew after a deletion; create_revision goes with it."""
        key = f"{prefix}a"
        first = put(store, key)
        second = put(store, key, b"again")
        assert store.get(key) == KeyValue(key, b"again", 2, first, second)
        delete(store, key)
        assert store.get(key) is None
        third = put(store, key)
        assert store.get(key) == KeyValue(key, b"", 1, third, third)

    @pytest.mark.parametrize("target", [Target.VERSION, Target.MOD_REVISION])
    def test_a_missing_key_compares_as_zero(self, store: AnyStore, prefix: str, target: Target) -> None:
        """Only the first of two transactions that demand that a key is missing succeeds."""
        key = f"{prefix}lock"
        acquire = Txn((Compare(key, target, 0),), (Put(key, b"mine"),), (Get(key),))
        won, lost = store.transact(acquire), store.transact(acquire)
        assert (won.succeeded, won.answers) == (True, ((),))
        assert not lost.succeeded
        assert [item.value for item in lost.answers[0]] == [b"mine"]
        assert lost.answers[0][0].mod_revision == won.revision

    def test_a_missing_key_has_no_value(self, store: AnyStore, prefix: str) -> None:
        """A comparison of a missing key's value never holds, not even with the empty value."""
        assert not store.transact(Txn((Compare(f"{prefix}a", Target.VALUE, b""),), ())).succeeded

    def test_each_target_is_compared(self, store: AnyStore, prefix: str) -> None:
        """Version, mod_revision and value hold when equal and fail when not."""
        key = f"{prefix}a"
        put(store, key)
        revision = put(store, key, b"v")
        for target, right, wrong in (
            (Target.VERSION, 2, 1),
            (Target.MOD_REVISION, revision, revision - 1),
            (Target.VALUE, b"v", b"w"),
        ):
            assert store.transact(Txn((Compare(key, target, right),), ())).succeeded, target
            assert not store.transact(Txn((Compare(key, target, wrong),), ())).succeeded, target

    def test_one_failed_comparison_fails_the_transaction(self, store: AnyStore, prefix: str) -> None:
        """The success branch is done only if all comparisons hold."""
        good, bad = (Compare(f"{prefix}a", Target.VERSION, number) for number in (0, 1))
        result = store.transact(Txn((good, bad), (Put(f"{prefix}a", b""),), (Put(f"{prefix}b", b""),)))
        assert not result.succeeded
        assert names(store.list(prefix).items, prefix) == ["b"]

    def test_a_transaction_without_writes_makes_no_revision(self, store: AnyStore, prefix: str) -> None:
        """Reading, or deleting what is not there, leaves the revision of a key's last write in place."""
        key = f"{prefix}a"
        revision = put(store, key)
        result = store.transact(Txn((), (Get(key), Delete(f"{prefix}none"))))
        assert result.revision >= revision
        assert result.answers[0][0].mod_revision == revision

    def test_reads_see_what_the_transaction_has_written(self, store: AnyStore, prefix: str) -> None:
        """Operations are done in order: a Get after a Put finds the new value, one before finds the old."""
        key = f"{prefix}a"
        put(store, key, b"old")
        result = store.transact(Txn((), (Get(key), Put(key, b"new"), Get(key))))
        before, written, after = result.answers
        assert (before[0].value, written, after[0].value) == (b"old", (), b"new")
        assert after[0].mod_revision == result.revision

    def test_one_member_alone_may_compare_and_read(self, store: AnyStore, prefix: str) -> None:
        """The member that has answered a writing knows it, so it answers here as all of them would."""
        written = store.transact(Txn((), (Put(f"{prefix}a", b"1"),))).revision
        for revision in (written, written + 1):
            is_it = (Compare(f"{prefix}a", Target.MOD_REVISION, revision),)
            reading = Txn(is_it, (Get(prefix, prefix=True),), (Get(f"{prefix}b"),))
            alone = store.transact(dataclasses.replace(reading, serializable=True))
            together = store.transact(reading)
            assert (alone.succeeded, alone.answers) == (together.succeeded, together.answers)
            assert alone.succeeded == (revision == written)

    def test_prefix_reads_and_deletes(self, store: AnyStore, prefix: str) -> None:
        """A prefix means every key that begins with it, in key order, and no other."""
        for name in ("state/b", "state/a", "state", "stateless", "states/x", "state/a/1"):
            put(store, f"{prefix}{name}", b"")
        found = store.transact(Txn((), (Get(f"{prefix}state/", prefix=True),))).answers[0]
        assert names(found, prefix) == ["state/a", "state/a/1", "state/b"]
        delete(store, f"{prefix}state/", prefix=True)
        assert names(store.list(prefix).items, prefix) == ["state", "stateless", "states/x"]

    def test_a_put_key_must_not_be_written_twice(self, store: AnyStore, prefix: str) -> None:
        """Putting a key twice, or putting and deleting it, in one branch is refused and changes nothing."""
        key = f"{prefix}a"
        for branch in ((Put(key, b"1"), Put(key, b"2")), (Put(key, b"1"), Delete(prefix, prefix=True))):
            with pytest.raises(Refused, match="duplicate key"):
                store.transact(Txn((), branch))
        assert store.get(key) is None

    def test_128_operations_fit_and_129_do_not(self, store: AnyStore, prefix: str) -> None:
        """A branch and the comparisons may have 128 entries each."""
        puts = tuple(Put(f"{prefix}{number}", b"") for number in range(129))
        compares = tuple(Compare(each.key, Target.VERSION, 0) for each in puts)
        assert store.transact(Txn(compares[:128], puts[:128])).succeeded
        for txn in (Txn((), puts), Txn(compares, ()), Txn((), (), puts)):
            with pytest.raises(Refused, match="too many operations"):
                store.transact(txn)

    def test_a_transaction_that_is_too_large_is_refused(self, store: AnyStore, prefix: str) -> None:
        """1.5 MiB is the limit: a little more is refused, 1 MiB is stored."""
        put(store, f"{prefix}fits", bytes(1 << 20))
        with pytest.raises(Refused, match="too large"):
            put(store, f"{prefix}large", bytes((3 << 19) + 1))
        assert names(store.list(prefix).items, prefix) == ["fits"]

    @pytest.mark.usefixtures("beside")
    def test_soon_means_each_once_without_waiting(self, store: AnyStore, prefix: str) -> None:
        """Transactions sent without waiting are each done exactly once, and each says its revision."""
        futures = [
            store.transact_soon(Txn((), (Put(f"{prefix}{number % 10}", b"%d" % number),))) for number in range(200)
        ]
        revisions = {future.result(timeout=30).revision for future in futures}
        assert len(revisions) == 200
        assert [each.version for each in store.list(prefix).items] == [20] * 10

    @pytest.mark.usefixtures("beside")
    def test_soon_of_contenders_has_one_winner(self, store: AnyStore, prefix: str) -> None:
        """Of many that compete for a key at the same time exactly one succeeds."""
        key = f"{prefix}lock"
        results = [
            store.transact_soon(Txn((Compare(key, Target.VERSION, 0),), (Put(key, b"%d" % number),), (Get(key),)))
            for number in range(50)
        ]
        assert sum(each.result(timeout=10).succeeded for each in results) == 1

    @pytest.mark.usefixtures("beside")
    def test_soon_fails_through_its_future(self, store: AnyStore, prefix: str) -> None:
        """Errors are those of `transact`, raised by the future."""
        twice = (Put(f"{prefix}a", b"1"), Put(f"{prefix}a", b"2"))
        with pytest.raises(Refused, match="duplicate key"):
            store.transact_soon(Txn((), twice)).result(timeout=10)
        with pytest.raises(LeaseGone):
            store.transact_soon(Txn((), (Put(f"{prefix}a", b"", new_lease()),))).result(timeout=10)

    @pytest.mark.usefixtures("beside")
    def test_soon_calls_back(self, store: AnyStore, prefix: str) -> None:
        """A callback on the future gets the result without anybody waiting."""
        heard: queue.Queue[bool] = queue.Queue()
        future = store.transact_soon(Txn((), (Put(f"{prefix}a", b""),)))
        future.add_done_callback(lambda done: heard.put(done.result().succeeded))
        assert heard.get(timeout=10)


class TestListing:
    def test_nothing_is_an_empty_listing(self, store: AnyStore, prefix: str) -> None:
        """A prefix without keys has a revision all the same, to watch from."""
        revision = put(store, "/contract/elsewhere")
        listing = store.list(prefix)
        assert listing.items == ()
        assert listing.revision >= revision

    def test_many_keys_are_listed_in_order(self, store: AnyStore, prefix: str) -> None:
        """2,500 keys, more than one page, come complete, in key order, once each."""
        wanted = [f"{number:05d}" for number in range(2500)]
        for start in range(0, 2500, 100):
            store.transact(Txn((), tuple(Put(f"{prefix}{name}", b"x") for name in wanted[start : start + 100])))
        assert names(store.list(prefix).items, prefix) == wanted

    def test_keys_may_be_any_text(self, store: AnyStore, prefix: str) -> None:
        """Keys are not only ASCII, and their order is that of their bytes."""
        for name in ("ß", "z", "\U0001f600", "\uffee"):
            put(store, f"{prefix}{name}", name.encode())
        assert names(store.list(prefix).items, prefix) == ["z", "ß", "\uffee", "\U0001f600"]

    def test_a_watch_after_a_listing_misses_nothing(self, store: AnyStore, prefix: str) -> None:
        """What is written between the listing and the watch from its revision + 1 is seen."""
        put(store, f"{prefix}before")
        listing = store.list(prefix)
        put(store, f"{prefix}between", b"1")
        watch = store.watch((prefix,), listing.revision + 1)
        assert told(take(watch, 1), prefix) == [("put", "between", b"1")]
        watch.cancel()
