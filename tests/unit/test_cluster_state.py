"""A host's picture of the group: however listings and changes arrive, it is what etcd has, and never goes back."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.cluster_state import ClusterState, Held
from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_workers.etcd.store import Change, Delete, KeyValue, Operation, Put, Txn
from partition_workers.layout.documents import Cause, Host, Lock, Parked, Standby
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P, Q = Partition("events", 3), Partition("events", 4)


def standby(worker: str, since: str = "1") -> Standby:
    return Standby(worker, f"host-of-{worker}", 1, "1", since)


def lock(worker: str) -> Lock:
    return Lock(worker, f"host-of-{worker}", 1, "1", Cause.ACQUIRED, "then")


def parked() -> Parked:
    return Parked(7, "why", "here", "then")


def host(version: str = "1") -> Host:
    return Host(4, version, 1, "", "then")


def read(store: FakeEtcd) -> Snapshot:
    result = store.transact(read_all(KEYS))
    return Snapshot(result.revision, tuple(item for found in result.answers for item in found))


def picture(cluster: ClusterState) -> object:
    standbys = {p: each for p, each in cluster.standbys.items() if each}
    return cluster.locks, standbys, cluster.hosts, cluster.parked


def listed(store: FakeEtcd) -> ClusterState:
    cluster = ClusterState(KEYS)
    assert cluster.list_anew(read(store))
    return cluster


def put(key: str, value: bytes, revision: int) -> Change:
    return Change(KeyValue(key, value, 1, revision, revision), deleted=False)


def deleted(key: str, revision: int) -> Change:
    return Change(KeyValue(key, b"", 0, 0, revision), deleted=True)


WRITES: list[tuple[str, bytes]] = [
    (KEYS.lock(P), lock("a").encode()),
    (KEYS.lock(P), lock("b").encode()),
    (KEYS.lock(Q), lock("c").encode()),
    (KEYS.standby(P, "a"), standby("a").encode()),
    (KEYS.standby(P, "b"), standby("b").encode()),
    (KEYS.parked(Q), parked().encode()),
    (KEYS.host("h"), host().encode()),
    (KEYS.host("h"), host("2").encode()),
    (f"{KEYS.control}else", b"{}"),
    (f"{KEYS.locks}foreign", b"{}"),
    (f"{KEYS.standbys}events/x/y", b"{}"),
    (KEYS.standby(Q, "garbage"), b"garbage"),
]
STEPS = st.lists(st.tuples(st.sampled_from(WRITES), st.booleans()), max_size=20)


@given(STEPS, st.integers(0, 20), st.randoms(use_true_random=False))
def test_any_mix_of_listings_and_changes_ends_with_what_etcd_has(
    steps: list[tuple[tuple[str, bytes], bool]], first: int, rng: random.Random
) -> None:
    """Changes come in order, listings at any time, also late ones; whatever came last is known."""
    store, cluster = FakeEtcd(), ClusterState(KEYS)
    snapshots = [read(store)]
    for number, ((key, value), is_put) in enumerate(steps):
        operation: Operation = Put(key, value) if is_put else Delete(key)
        store.transact(Txn((), (operation,)))
        snapshots.append(read(store))
        if number == first:
            cluster.list_anew(snapshots[-1])
        if rng.random() < 0.3:
            cluster.list_anew(rng.choice(snapshots))
        for change in store._history:
            if change.item.mod_revision == store.revision:
                cluster.change(change)
    cluster.list_anew(rng.choice(snapshots))
    for change in store._history:  # a watch that begins anew tells them again
        cluster.change(change)
    assert picture(cluster) == picture(listed(store))


class TestChanges:
    def test_a_change_tells_which_partition_it_speaks_of(self) -> None:
        """Hosts, and what is not ours, speak of none."""
        cluster = ClusterState(KEYS)
        told = [
            cluster.change(put(KEYS.lock(P), lock("a").encode(), 1)),
            cluster.change(put(KEYS.standby(Q, "b"), standby("b").encode(), 2)),
            cluster.change(put(KEYS.parked(P), parked().encode(), 3)),
            cluster.change(put(KEYS.host("h"), host().encode(), 4)),
            cluster.change(put(f"{KEYS.locks}nonsense", b"{}", 5)),
            cluster.change(deleted(KEYS.lock(P), 6)),
            cluster.change(deleted(KEYS.host("h"), 7)),
            cluster.change(deleted(f"{KEYS.locks}nonsense", 8)),
        ]
        assert told == [P, Q, P, None, None, P, None, None]
        assert (cluster.locks, cluster.hosts) == ({}, {})

    def test_a_lock_is_known_with_its_token(self) -> None:
        """The token is the revision of the change."""
        cluster = ClusterState(KEYS)
        cluster.change(put(KEYS.lock(P), lock("a").encode(), 17))
        assert cluster.locks == {P: Held(lock("a"), 17, backed=False)}

    def test_what_is_deleted_is_forgotten(self) -> None:
        """Each kind of key."""
        cluster = ClusterState(KEYS)
        cluster.change(put(KEYS.standby(P, "a"), standby("a").encode(), 1))
        cluster.change(put(KEYS.standby(P, "b"), standby("b").encode(), 1))
        cluster.change(put(KEYS.parked(P), parked().encode(), 1))
        cluster.change(deleted(KEYS.standby(P, "a"), 2))
        cluster.change(deleted(KEYS.parked(P), 3))
        assert cluster.standbys == {P: {"b": standby("b")}}
        assert cluster.parked == {}

    def test_what_was_never_known_can_be_deleted(self) -> None:
        """A watch may tell of the end of something that began before it."""
        cluster = ClusterState(KEYS)
        for revision, key in enumerate([KEYS.lock(P), KEYS.standby(P, "a"), KEYS.parked(P), KEYS.host("h")]):
            cluster.change(deleted(key, revision))
        assert picture(cluster) == ({}, {}, {}, {})

    def test_several_changes_of_one_revision_all_count(self) -> None:
        """A transaction may write the lock and delete a standby at once."""
        cluster = ClusterState(KEYS)
        cluster.change(put(KEYS.standby(P, "a"), standby("a").encode(), 1))
        cluster.change(put(KEYS.lock(P), lock("a").encode(), 2))
        cluster.change(deleted(KEYS.standby(P, "a"), 2))
        assert (set(cluster.locks), cluster.standbys[P]) == ({P}, {})


class TestNeverBack:
    def test_an_older_listing_undoes_nothing(self) -> None:
        """It is told as such."""
        store, cluster = FakeEtcd(), ClusterState(KEYS)
        old = read(store)
        cluster.change(put(KEYS.lock(P), lock("a").encode(), old.revision + 1))
        assert not cluster.list_anew(old)
        assert set(cluster.locks) == {P}

    def test_an_older_change_undoes_nothing(self) -> None:
        """A watch that lags behind a listing is not believed."""
        store = FakeEtcd()
        store.transact(Txn((), (Put(KEYS.lock(P), lock("a").encode()),)))
        cluster = listed(store)
        assert cluster.change(deleted(KEYS.lock(P), cluster.revision - 1)) is None
        assert set(cluster.locks) == {P}

    def test_a_newer_listing_replaces_everything(self) -> None:
        """What a watch had missed is found, and what is gone is forgotten."""
        store = FakeEtcd()
        cluster = ClusterState(KEYS)
        cluster.change(put(KEYS.lock(Q), lock("gone").encode(), 1))
        for number in range(3):
            store.transact(Txn((), (Put(KEYS.lock(P), lock(f"a{number}").encode()),)))
        assert cluster.list_anew(read(store))
        assert {p: held.lock.worker for p, held in cluster.locks.items()} == {P: "a2"}


class TestReady:
    def test_those_that_have_waited_longest_come_first(self) -> None:
        """Neither the owner, nor whom the asker leaves out."""
        cluster = ClusterState(KEYS)
        for revision, (worker, since) in enumerate([("a", "3"), ("b", "1"), ("c", "2"), ("owner", "0")], start=1):
            cluster.change(put(KEYS.standby(P, worker), standby(worker, since).encode(), revision))
        cluster.change(put(KEYS.lock(P), lock("owner").encode(), 9))
        assert [each.worker for each in cluster.ready_standbys(P)] == ["b", "c", "a"]
        assert [each.worker for each in cluster.ready_standbys(P, besides=("c",))] == ["b", "a"]
        assert cluster.ready_standbys(Q) == []


def test_commits_are_not_watched() -> None:
    """Locks, standbys, hosts and orders are."""
    watched = prefixes(KEYS)
    assert not KEYS.offset(P).startswith(watched)
    assert not KEYS.state(P).startswith(watched)
    for key in (KEYS.lock(P), KEYS.standby(P, "w"), KEYS.host("h"), KEYS.parked(P)):
        assert key.startswith(watched)


def test_a_host_that_is_back_within_its_ttl_has_only_the_standbys_of_its_new_life() -> None:
    """The keys of the workers that ended with the former life are still there."""
    cluster = ClusterState(KEYS)
    old, new = Standby("old", "h", 1, "1", "1"), Standby("new", "h", 2, "2", "2")

    def starts(link: str, revision: int) -> None:
        cluster.change(put(KEYS.host("h"), Host(4, "1", 1, "", "then", link=link).encode(), revision))

    starts("first", 1)
    cluster.change(put(KEYS.standby(P, "old"), old.encode(), 2))
    assert cluster.ready_standbys(P) == [old]

    assert cluster.presume_dead("h", "first")
    assert cluster.ready_standbys(P) == []
    starts("second", 3)
    assert cluster.ready_standbys(P) == []
    cluster.change(put(KEYS.standby(P, "new"), new.encode(), 4))
    assert cluster.ready_standbys(P) == [new]


def test_a_host_that_was_taken_for_dead_by_mistake_has_its_standbys_again() -> None:
    cluster = ClusterState(KEYS)
    cluster.change(put(KEYS.host("h"), Host(4, "1", 1, "", "then", link="first").encode(), 1))
    cluster.change(put(KEYS.standby(P, "w"), Standby("w", "h", 1, "1", "1").encode(), 2))
    assert cluster.presume_dead("h", "first")
    assert cluster.presume_alive("h", "first")
    assert [each.worker for each in cluster.ready_standbys(P)] == ["w"]
