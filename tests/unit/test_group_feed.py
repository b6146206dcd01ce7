"""What the page's server reads of etcd at its start, and after etcd has compacted what it wanted to see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.web import group_feed
from partition_supervisor.web.group_feed import GroupFeed
from partition_workers.etcd.store import Change, Put, Txn
from partition_workers.layout.keys import Keys
from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd

KEYS = Keys("/test/g")


class Followed:
    def __init__(self) -> None:
        self.etcd = FakeEtcd()
        self.loaded: list[int] = []
        self.changes: list[Change] = []
        self.told: list[tuple[str, str | None]] = []
        self.feed = GroupFeed(
            self.etcd,
            KEYS,
            cast("EndOffsets", None),
            loaded=lambda snapshot, _history, _watched_from: self.loaded.append(snapshot.revision),
            changed=self.changes.append,
            measured=lambda *_found: None,
            answers=lambda which, error: self.told.append((which, error)),
        )

    def write(self, times: int = 1) -> None:
        for _ in range(times):
            self.etcd.transact(Txn((), (Put(KEYS.host("a"), b"{}"),)))


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    monkeypatch.setattr(group_feed, "EVERY", 0.02)
    made = Followed()
    yield made
    made.feed.close()
    made.etcd.close()


@pytest.mark.parametrize("compacted", [0, 2, 37, 99, 100])
def test_it_begins_before_the_listing_but_not_before_what_etcd_has_kept(
    followed: Followed, compacted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write(100 - followed.etcd.revision)
    if compacted:
        followed.etcd.compact(compacted)
    assert followed.feed.begin_before(100) == max(1, compacted)
    monkeypatch.setattr(group_feed, "REVISIONS_BEFORE", 10)
    assert followed.feed.begin_before(100) == max(90, compacted)


def test_the_first_listing_is_told_once(followed: Followed) -> None:
    """A browser that comes at once from another server gets changes, not everything again."""
    followed.write(5)
    followed.feed.start(followed.feed.begin_before(followed.etcd.revision))
    eventually("what was before is told", lambda: len(followed.changes) == 5)
    followed.write()
    eventually("what comes is told", lambda: len(followed.changes) == 6)
    assert followed.loaded == []


def test_a_watch_that_ends_begins_anew_with_everything(followed: Followed) -> None:
    followed.write(5)
    followed.feed.start(followed.etcd.revision + 1)
    followed.write()
    eventually("it follows", lambda: len(followed.changes) == 1)
    followed.etcd.break_streams()
    eventually("all is listed again", lambda: followed.loaded == [followed.etcd.revision])


def test_a_reading_that_failed_is_over_with_the_next_one(followed: Followed) -> None:
    """The watch goes on all the while: nothing is opened again that could say so."""
    followed.feed.start(followed.etcd.revision + 1)
    followed.write()
    eventually("it follows", lambda: followed.changes)
    followed.etcd.fail_next(applied=False)
    eventually("it is told and over", lambda: len(followed.told) == 2)
    (which, error), over = followed.told
    assert (which, over) == ("etcd", ("etcd", None))
    assert error
    assert followed.loaded == []


def test_etcd_answers_when_both_threads_are_answered(followed: Followed) -> None:
    say = followed.feed._say
    say("etcd", "watch", "the watch broke")
    say("etcd", "readings", "no reading")
    say("etcd", "watch", None)
    say("kafka", "ends", None)
    assert followed.told == [("etcd", "the watch broke")]
    say("etcd", "readings", None)
    assert followed.told == [("etcd", "the watch broke"), ("etcd", None)]
