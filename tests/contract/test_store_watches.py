"""Watches on a store, whether it is etcd or the fake of the tests."""

from __future__ import annotations

import time

import pytest

from partition_workers.errors import Compacted, Refused, Unavailable
from partition_workers.etcd.store import (
    Change,
    Delete,
    KeyValue,
    Put,
    Txn,
)
from tests.contract.calls import delete, ended_after, put, take, told
from tests.contract.group import AnyStore


class TestWatching:
    def test_changes_come_as_they_are_made(self, store: AnyStore, prefix: str) -> None:
        """A watch from now on tells puts and deletions with their revisions, and only under its prefix."""
        watch = store.watch((f"{prefix}in/",), store.list(prefix).revision + 1)
        put(store, f"{prefix}out/a", b"no")
        first = put(store, f"{prefix}in/a", b"1")
        second = delete(store, f"{prefix}in/a")
        changes = take(watch, 2)
        watch.cancel()
        key = f"{prefix}in/a"
        assert changes == [
            Change(KeyValue(key, b"1", 1, first, first), deleted=False),
            Change(KeyValue(key, b"", 0, 0, second), deleted=True),
        ]

    def test_history_is_told_from_an_old_revision(self, store: AnyStore, prefix: str) -> None:
        """A watch from an old revision begins with all that happened since, every version of a key."""
        start = put(store, f"{prefix}a", b"1")
        put(store, f"{prefix}a", b"2")
        delete(store, f"{prefix}a")
        put(store, f"{prefix}a", b"3")
        watch = store.watch((prefix,), start)
        expected = [("put", "a", b"1"), ("put", "a", b"2"), ("deleted", "a", b""), ("put", "a", b"3")]
        assert told(take(watch, 4), prefix) == expected
        watch.cancel()

    def test_one_watch_has_several_prefixes(self, store: AnyStore, prefix: str) -> None:
        """Changes under each of the prefixes are told, in order within each."""
        prefixes = (f"{prefix}locks/", f"{prefix}standbys/", f"{prefix}hosts/")
        watch = store.watch(prefixes, store.list(prefix).revision + 1)
        for number in range(10):
            for each in prefixes:
                put(store, f"{each}x", b"%d" % number)
        changes = take(watch, 30)
        watch.cancel()
        for each in prefixes:
            seen = [change.item.value for change in changes if change.item.key.startswith(each)]
            assert seen == [b"%d" % number for number in range(10)]

    def test_a_transaction_is_told_whole(self, store: AnyStore, prefix: str) -> None:
        """All changes of one transaction carry its revision and come one after the other."""
        start = put(store, f"{prefix}c")
        watch = store.watch((prefix,), start + 1)
        txn = Txn((), (Put(f"{prefix}b", b""), Put(f"{prefix}a", b""), Delete(f"{prefix}c")))
        revision = store.transact(txn).revision
        changes = take(watch, 3)
        watch.cancel()
        assert {change.item.mod_revision for change in changes} == {revision}
        assert {kind for kind, *_ in told(changes, prefix)} == {"put", "deleted"}

    def test_cancelling_ends_the_iteration(self, store: AnyStore, prefix: str) -> None:
        """Cancelled by another thread, a watch that waits ends at once and without an error."""
        watch = store.watch((prefix,), store.list(prefix).revision + 1)
        begun = time.monotonic()
        with ended_after(0.1, watch.cancel):
            assert list(watch) == []
        assert time.monotonic() - begun < 5

    def test_closing_the_store_ends_its_watches(self, store: AnyStore, prefix: str) -> None:
        """Closing the store is cancelling all that is open in it; calls afterwards say Unavailable."""
        watch = store.watch((prefix,), store.list(prefix).revision + 1)
        with ended_after(0.1, store.close):
            assert list(watch) == []
        with pytest.raises(Unavailable):
            store.get(prefix)

    def test_compacted_history_cannot_be_watched(self, store: AnyStore, prefix: str) -> None:
        """Watching from before a compaction says up to where history is gone; listing still works."""
        start = put(store, f"{prefix}a", b"1")
        put(store, f"{prefix}a", b"2")
        last = put(store, f"{prefix}a", b"3")
        store.compact(last)
        watch = store.watch((prefix,), start)
        with ended_after(10, watch.cancel), pytest.raises(Compacted) as caught:
            list(watch)
        assert caught.value.revision >= last
        listing = store.list(prefix)
        assert [item.value for item in listing.items] == [b"3"]
        with pytest.raises(Compacted):
            store.compact(last)

    def test_a_revision_yet_to_come_cannot_be_compacted(self, store: AnyStore, prefix: str) -> None:
        """Compacting what has not happened is refused."""
        with pytest.raises(Refused):
            store.compact(put(store, f"{prefix}a") + 1_000_000)
