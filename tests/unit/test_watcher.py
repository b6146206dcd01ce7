"""How a host sees etcd: nothing that etcd says ends it, but that it is another one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from partition_supervisor.cluster import watcher
from partition_supervisor.cluster.watcher import EtcdWatcher
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.listing import Snapshot
from partition_workers.errors import ClusterReplaced, Compacted, Denied, NoSpace, Refused, Unavailable
from partition_workers.etcd.cluster_id import PATIENCE, ClusterId, OtherCluster
from partition_workers.etcd.store import Change, Put, Txn
from partition_workers.layout.documents import Host
from partition_workers.layout.keys import Keys
from partition_workers.outage import EVERY, Outage
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/x", "g")


class Seen:
    """What a watcher told."""

    def __init__(self, store: FakeEtcd, every: float) -> None:
        self.listed: list[Snapshot] = []
        self.changed: list[Change] = []
        self.replaced: list[str] = []
        self.it = EtcdWatcher(
            store, KEYS, every, self.listed.append, lambda found: self.changed.extend(found), self.replaced.append
        )


@pytest.fixture
def store() -> FakeEtcd:
    return FakeEtcd()


@pytest.fixture
def watch(store: FakeEtcd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Seen]]:
    monkeypatch.setattr(watcher, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watcher, "LONGEST_PAUSE", 0.01)
    made: list[Seen] = []

    def make(every: float = 3600.0) -> Seen:
        made.append(Seen(store, every))
        made[-1].it.open(made[-1].it.look())
        return made[-1]

    yield make
    for each in made:
        each.it.close()


def put(store: FakeEtcd, name: str) -> bool:
    store.transact(Txn((), (Put(KEYS.host(name), Host(1, "1", 1, "", "").encode()),)))
    return True


@pytest.mark.parametrize(
    "error", [Unavailable("x"), Denied("x"), Refused("x"), NoSpace("x"), Compacted(1)], ids=lambda e: type(e).__name__
)
def test_the_watch_goes_on_after_whatever_was_answered(
    store: FakeEtcd, watch: Callable[..., Seen], error: Any
) -> None:
    """Also while the reading that follows is refused, many times."""
    seen = watch()
    for _ in range(20):
        store.fail_next(error, applied=False)
    store.break_streams(error)
    eventually("all was refused", lambda: not store._faults)
    eventually("it was listed", lambda: seen.listed)
    eventually("and is watched", lambda: put(store, "b") and seen.changed)


@pytest.mark.parametrize("error", [Unavailable("x"), Denied("x"), Refused("x")], ids=lambda e: type(e).__name__)
def test_the_listing_goes_on_after_whatever_was_answered(
    store: FakeEtcd, watch: Callable[..., Seen], error: Any
) -> None:
    seen = watch(every=0.01)
    for _ in range(5):
        store.fail_next(error, applied=False)
    eventually("all was refused", lambda: not store._faults)
    seen.listed.clear()
    eventually("it is listed", lambda: seen.listed)


def test_another_cluster_ends_it_and_is_told_once(store: FakeEtcd, watch: Callable[..., Seen]) -> None:
    seen = watch(every=0.01)
    for _ in range(3):
        store.fail_next(ClusterReplaced("another"), applied=False)
    store.break_streams()
    eventually("it is told", lambda: seen.replaced)
    assert seen.replaced == ["another"]


def test_a_revision_that_goes_back_is_seen_and_watched_from_there(
    store: FakeEtcd, watch: Callable[..., Seen]
) -> None:
    """A restored etcd: the picture is made anew, and changes at small revisions are taken in."""
    put(store, "a")
    seen = watch(every=0.01)
    eventually("it was listed", lambda: seen.listed)
    newest, store.revision = store.revision, store.revision + 1000
    put(store, "b")
    eventually("that was seen", lambda: seen.changed)
    store.revision = newest
    store._history.clear()
    eventually("it went back", lambda: any(each.went_back_from > newest + 1000 for each in seen.listed))
    cluster = ClusterState(KEYS, revision=newest + 1001)
    (back,) = [each for each in seen.listed if each.went_back_from][:1]
    assert cluster.list_anew(back)
    assert cluster.revision == back.revision
    eventually("it is watched", lambda: put(store, "c") and seen.changed[-1].item.key == KEYS.host("c"))


def test_a_listing_that_was_overtaken_by_a_change_did_not_go_back(store: FakeEtcd) -> None:
    """It was asked for before."""
    seen = Seen(store, 1.0)
    ask = store.transact

    def overtaken(txn: Txn) -> Any:
        answer = ask(txn)
        seen.it._newest = answer.revision + 1
        return answer

    store.transact = overtaken  # type: ignore[method-assign]
    assert seen.it.look().went_back_from == 0
    assert seen.it.look().went_back_from == store.revision + 1


class TestOutage:
    """What goes on failing is said seldom."""

    def test_first_now_and_then_and_when_it_is_over(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = FakeClock()
        outage = Outage(logging.getLogger("x"), "the watch", clock)
        with caplog.at_level(logging.INFO):
            outage.over()
            for _ in range(int(EVERY) * 2 + 1):
                outage.failed("no")
                clock.advance(1.0)
            outage.over()
            outage.over()
        told = [each.getMessage() for each in caplog.records]
        assert len(told) == 4
        assert told[0] == "the watch: no"
        assert "times more" in told[1]
        assert "works again" in told[3]


class TestClusterId:
    def test_one_of_others_is_passed_over_all_of_others_is_the_end(self) -> None:
        cluster = ClusterId(("a", "b"))
        cluster.check(1, "a")
        with pytest.raises(OtherCluster):
            cluster.check(2, "b")
        cluster.check(1, "b")
        with pytest.raises(OtherCluster):
            cluster.check(2, "a")
        with pytest.raises(ClusterReplaced):
            cluster.check(2, "b")

    def test_one_is_enough_after_a_while(self) -> None:
        """The other members of a restored cluster may never come."""
        clock = FakeClock()
        cluster = ClusterId(("a", "b", "c"), clock)
        cluster.check(1, "a")
        clock.advance(PATIENCE - 1)
        with pytest.raises(OtherCluster):
            cluster.check(2, "b")
        clock.advance(2)
        with pytest.raises(ClusterReplaced):
            cluster.check(2, "b")

    def test_none_is_no_other(self) -> None:
        """As some proxies answer on streams."""
        cluster = ClusterId(("a",))
        cluster.check(0, "a")
        cluster.check(1, "a")
        cluster.check(0, "a")
