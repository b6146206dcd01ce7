"""What every `Store` does, whether it is etcd or the fake of the tests."""

from __future__ import annotations

import dataclasses
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import pytest

from partition_workers.errors import Compacted, LeaseGone, Refused, Unavailable
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.status import SilentServer
from partition_workers.etcd.store import (
    Change,
    Compare,
    Delete,
    Get,
    KeyValue,
    Put,
    Renewal,
    Store,
    Target,
    Txn,
    TxnResult,
    WatchStream,
)
from tests.contract.conftest import AnyStore
from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd

_Item = TypeVar("_Item")


def put(store: Store, key: str, value: bytes = b"", lease: int = 0) -> int:
    """Write one key. Returns the revision."""
    return store.transact(Txn((), (Put(key, value, lease),))).revision


def delete(store: Store, key: str, *, prefix: bool = False) -> int:
    return store.transact(Txn((), (Delete(key, prefix),))).revision


def is_answered(store: Store, key: str) -> bool:
    try:
        store.get(key)
    except Unavailable:
        return False
    return True


def connected(options: EtcdOptions, key: str) -> tuple[Etcd, int]:
    """A client whose first call, which wrote `key`, its first endpoint has answered in time; and the revision."""

    def attempt() -> tuple[Etcd, int] | None:
        etcd = Etcd(options)
        try:
            return etcd, put(etcd, key)
        except Unavailable:
            etcd.close()
            return None

    found = eventually("the first endpoint answers in time", attempt)
    assert found is not None
    return found


def new_lease() -> int:
    return uuid.uuid4().int & 0x7FFF_FFFF_FFFF_FFFF


def names(items: Iterable[KeyValue], prefix: str) -> list[str]:
    return [item.key.removeprefix(prefix) for item in items]


@contextmanager
def ended_after(seconds: float, cancel: Callable[[], None]) -> Iterator[None]:
    """A deadline for iterating a stream."""
    timer = threading.Timer(seconds, cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def take(watch: WatchStream, number: int) -> list[Change]:
    """The next changes of a watch; fewer if they do not come within ten seconds."""
    with ended_after(10, watch.cancel):
        return [change for _, change in zip(range(number), watch, strict=False)]


def told(changes: Iterable[Change], prefix: str) -> list[tuple[str, str, bytes]]:
    return [
        ("deleted" if each.deleted else "put", each.item.key.removeprefix(prefix), each.item.value)
        for each in changes
    ]


class Line:
    """A way to an etcd that can be cut so that both ends go on believing in it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._connections: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Those who are connected now; who connects anew gets through."""
        for flowing in self._connections:
            flowing.clear()

    def close(self) -> None:
        for flowing in self._connections:
            flowing.set()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                flowing = threading.Event()
                flowing.set()
                self._connections.append(flowing)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(*pair, flowing), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                flowing.wait()
                sink.sendall(data)


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


def soon_beside_a_stream(etcd: Etcd, prefix: str) -> TxnResult:
    """It goes another way then."""
    etcd.watch((f"{prefix}elsewhere/",), 0)
    return etcd.transact_soon(Txn((), ())).result(timeout=10)


class TestEndpoints:
    """What only a real network can do."""

    def test_a_dead_endpoint_is_passed_over(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """With nobody at the first endpoint reads work at once, and whatever comes after them."""
        etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
        try:
            assert etcd.get(prefix) is None
            put(etcd, f"{prefix}a", b"1")
            watch = etcd.watch((prefix,), 1 + etcd.list(prefix).revision)
            put(etcd, f"{prefix}a", b"2")
            assert told(take(watch, 1), prefix) == [("put", "a", b"2")]
        finally:
            etcd.close()

    def test_a_failed_transaction_turns_to_the_next_endpoint(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """A transaction is not repeated by itself; the caller's repetition goes elsewhere, waiting or not."""
        for soon in (False, True):
            etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
            txn = Txn((), (Put(f"{prefix}{soon}", b""),))
            try:
                with pytest.raises(Unavailable, match=dead_endpoint):
                    etcd.transact_soon(txn).result(timeout=10) if soon else etcd.transact(txn)
                assert etcd.transact(txn).succeeded
            finally:
                etcd.close()

    def test_streams_turn_to_the_next_endpoint(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """A stream that cannot be opened is Unavailable; the next one is opened elsewhere."""
        etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
        try:
            with pytest.raises(Unavailable):
                list(etcd.keepalive(iter([[1]])))
            assert list(etcd.keepalive(iter([[1]]))) == [Renewal(1, 0)]
        finally:
            etcd.close()

    def test_nobody_anywhere_is_unavailable_in_time(self, dead_endpoint: str) -> None:
        """With all endpoints dead every kind of call raises Unavailable within about its deadline."""
        etcd = Etcd(EtcdOptions((dead_endpoint, dead_endpoint)))
        calls: list[Callable[[], object]] = [
            lambda: etcd.get("/a"),
            lambda: etcd.list("/a"),
            lambda: etcd.transact(Txn((), (Put("/a", b""),))),
            lambda: etcd.grant(5),
            lambda: list(etcd.watch(("/a",), 1)),
            lambda: list(etcd.keepalive(iter([[1]]))),
        ]
        try:
            for call in calls:
                begun = time.monotonic()
                with pytest.raises(Unavailable):
                    call()
                assert time.monotonic() - begun < 3
        finally:
            etcd.close()

    def test_a_server_that_says_nothing_is_noticed(self, etcd_endpoints: tuple[str, ...]) -> None:
        """An endpoint that accepts connections and is silent costs one deadline, calls and streams alike."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            frozen = f"127.0.0.1:{silent.getsockname()[1]}"
            for call in (
                lambda etcd: list(etcd.watch(("/a",), 1)),
                lambda etcd: list(etcd.keepalive(iter([[1]]))),
                lambda etcd: etcd.transact(Txn((), ())),
            ):
                etcd = Etcd(EtcdOptions((frozen, *etcd_endpoints), timeout=0.3))
                try:
                    with pytest.raises(Unavailable):
                        call(etcd)
                    eventually("another answers", lambda etcd=etcd: is_answered(etcd, "/a"))  # type: ignore[misc]
                finally:
                    etcd.close()

    def test_silence_breaks_off_the_streams_of_that_server(
        self, etcd_endpoints: tuple[str, ...], prefix: str
    ) -> None:
        """When a call runs into its deadline, watches on the same server end too instead of hanging."""
        line = Line(etcd_endpoints[0])
        etcd, revision = connected(EtcdOptions((line.endpoint, *etcd_endpoints), timeout=0.5), f"{prefix}a")
        try:
            watch = etcd.watch((prefix,), revision)
            assert len(take(watch, 1)) == 1
            line.freeze()
            with pytest.raises(Unavailable, match="in time"):
                put(etcd, f"{prefix}a")
            with ended_after(10, watch.cancel), pytest.raises(Unavailable, match="in time"):
                list(watch)
            eventually("another answers", lambda: is_answered(etcd, f"{prefix}a"))
        finally:
            etcd.close()
            line.close()

    def test_after_silence_the_same_address_is_connected_anew(
        self, etcd_endpoints: tuple[str, ...], prefix: str
    ) -> None:
        """Behind a gateway it may be another member by then. Calls that nobody waits for notice it too."""
        line = Line(etcd_endpoints[0])
        etcd = Etcd(EtcdOptions((line.endpoint,), timeout=0.5))
        ask: list[Callable[[], object]] = [
            lambda: put(etcd, f"{prefix}a"),
            lambda: etcd.transact_soon(Txn((), ())).result(timeout=10),
        ]
        try:
            for each in ask:
                eventually("it answers", lambda: is_answered(etcd, prefix))
                line.freeze()
                with pytest.raises(Unavailable, match="in time"):
                    each()
                eventually("it answers again", lambda: is_answered(etcd, prefix))
        finally:
            etcd.close()
            line.close()

    def test_another_cluster_is_refused(self, etcd_endpoints: tuple[str, ...], prefix: str) -> None:
        """An answer from a cluster other than the first is an error, not data."""
        etcd = Etcd(EtcdOptions(etcd_endpoints))
        try:
            put(etcd, f"{prefix}a")
            cluster = etcd._servers[0]._cluster
            cluster._id += 1
            with pytest.raises(Refused, match="another etcd cluster answered at"):
                etcd.get(f"{prefix}a")
            with pytest.raises(Refused, match="another etcd cluster"):
                etcd.transact_soon(Txn((), ())).result(timeout=10)
            with pytest.raises(Refused, match="another etcd cluster"):
                soon_beside_a_stream(etcd, prefix)
            with pytest.raises(Refused, match="another etcd cluster"):
                list(etcd.watch((prefix,), 0))
        finally:
            etcd.close()

    def test_status_names_who_answers_and_who_does_not(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str
    ) -> None:
        """Each endpoint has an entry: its version, size and cluster, or why it could not be asked."""
        etcd = Etcd(EtcdOptions((etcd_endpoints[0], dead_endpoint)))
        try:
            good, bad = etcd.status()
        finally:
            etcd.close()
        assert not isinstance(good, SilentServer)
        assert isinstance(bad, SilentServer)
        assert (good.endpoint, bad.endpoint) == (etcd_endpoints[0], dead_endpoint)
        assert good.version.count(".") == 2
        assert good.db_bytes > 0
        assert dead_endpoint in bad.error


class TestFaults:
    """What only the fake can be told to do."""

    @pytest.mark.parametrize("applied", [False, True])
    def test_an_unknown_outcome(self, applied: bool, prefix: str) -> None:
        """The next transaction raises, done or not; the one after it is answered again."""
        fake = FakeEtcd()
        fake.fail_next(applied=applied)
        with pytest.raises(Unavailable):
            put(fake, f"{prefix}a", b"1")
        assert (fake.get(f"{prefix}a") is not None) is applied
        put(fake, f"{prefix}b", b"2")

    def test_a_lease_that_ends_early(self, prefix: str) -> None:
        """A lease can be ended while its owner renews it."""
        fake = FakeEtcd()
        lease = fake.grant(60).lease
        put(fake, f"{prefix}lock", b"", lease)
        fake.expire(lease)
        assert fake.get(f"{prefix}lock") is None
        assert list(fake.keepalive(iter([[lease]]))) == [Renewal(lease, 0)]

    def test_streams_that_break(self, prefix: str) -> None:
        """Open streams raise what they are told to; new ones work."""
        fake = FakeEtcd()
        watch = fake.watch((prefix,), 2)
        fake.break_streams()
        with pytest.raises(Unavailable):
            list(watch)
        put(fake, f"{prefix}a", b"1")
        eventually("the change is told", lambda: take(fake.watch((prefix,), 2), 1))
