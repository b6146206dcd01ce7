"""`history --follow`: one event for each thing that happened, none twice and none left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest

from partition_supervisor.admin.history_follow import HistoryNews, News, What, follow
from partition_supervisor.cluster.retry import RetryingStore
from partition_workers.errors import Unavailable
from partition_workers.etcd.store import Change, Put, Txn
from partition_workers.layout.documents import Ending, History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("p", "g")
P = Partition("t", 0)
BEGUN = History(17, "w", "host-a", 100, "taken-over", "2030-01-01T00:00:00.000000Z", 5)
ON = replace(
    BEGUN, last_commit="2030-01-01T00:00:00.000000Z", gap={"exit_seen": 3.0, "lock_taken": 5.0, "first_record": 22.0}
)
OVER = ON.closed(Ending.HANDED_OVER, 90, at="2030-01-01T01:00:00.000000Z")


class Stop(Exception):
    """The test has seen enough."""


@pytest.fixture
def store() -> Iterator[FakeEtcd]:
    made = FakeEtcd(FakeClock())
    yield made
    made.close()


def put(store: FakeEtcd, record: History, partition: Partition = P) -> None:
    store.transact(Txn((), (Put(KEYS.history(partition, record.token), record.encode()),)))


def test_each_step_of_an_ownership_is_one_event(store: FakeEtcd) -> None:
    """However often its record is written."""
    news = HistoryNews(KEYS)
    told: list[News] = []
    for record in (BEGUN, BEGUN, ON, ON, OVER, OVER):
        put(store, record)
        told += news.news(store.list(KEYS.every_history).items)
    assert [each.what for each in told] == [What.BEGAN, What.FIRST_RECORD, What.ENDED]
    lines = [each.in_words(date(2030, 1, 2)) for each in told]
    assert all("\n" not in line for line in lines)
    assert "host-a (pid 100) took over at offset 5, token 17" in lines[0]
    assert "goes on: 19 ms after the exit was seen" in lines[1]
    assert "handed over" in lines[2]
    assert [each.as_json()["event"] for each in told] == ["began", "first-record", "ended"]


def test_all_at_once_is_the_same_events(store: FakeEtcd) -> None:
    """As after a time in which etcd did not answer."""
    put(store, OVER)
    assert [each.what for each in HistoryNews(KEYS).news(store.list(KEYS.every_history).items)] == list(What)


def test_what_is_none_of_ours_is_passed_over(store: FakeEtcd) -> None:
    store.transact(Txn((), (Put(KEYS.every_history + "x", b"no"), Put(KEYS.history(P, 1), b"[]"))))
    assert list(HistoryNews(KEYS).news(store.list(KEYS.every_history).items)) == []


@pytest.mark.parametrize("key", ["x", "t/00000/x", "t/00000/²", "t/00000/", "t/0/7", "t/00000/" + "9" * 5000])
def test_what_was_none_of_ours_may_be_deleted(store: FakeEtcd, key: str) -> None:
    """As `status` says; what is known of others stays."""
    news = HistoryNews(KEYS)
    put(store, BEGUN)
    assert len(list(news.news(store.list(KEYS.every_history).items))) == 1
    news.forget(KEYS.every_history + key)
    assert list(news.news(store.list(KEYS.every_history).items)) == []


def test_it_goes_on_where_it_was_when_the_watch_breaks(store: FakeEtcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened meanwhile is told once."""
    put(store, BEGUN)
    monkeypatch.setattr("partition_supervisor.admin.history_follow.PAUSE", 0.0)
    rounds = iter([[ON], [], [OVER]])

    def watch(_places: object, start_revision: int) -> Iterator[Change]:
        """It tells what is written by then, and breaks; what is written after that nobody tells."""
        for record in next(rounds):
            put(store, record)
        yield from (change for change in store._history if change.item.mod_revision >= start_revision)
        raise Unavailable("the watch broke")

    monkeypatch.setattr(store, "watch", watch)
    told: list[News] = []

    def tell(news: News) -> None:
        told.append(news)
        if len(told) == 3:
            raise Stop

    complaints: list[str] = []
    with pytest.raises(Stop):
        follow(RetryingStore(store, 1.0, "here"), KEYS, (), 1, tell, complaints.append)
    assert [each.what for each in told] == [What.BEGAN, What.FIRST_RECORD, What.ENDED]
    assert complaints == ["etcd: the watch broke"] * 2
