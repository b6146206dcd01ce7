"""When a partition must not go on where it stands, and when it may be forgotten."""

from __future__ import annotations

import pytest

from partition_supervisor.admin.forget import forget, refuse_existing
from partition_supervisor.admin.offsets import Offsets, ResetRefused, Standing, Stored, why_not_to_resume
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.kafka.end_offsets import Ends, Extent
from partition_workers.etcd.store import Put, Txn
from partition_workers.kafka.topics import Topic
from partition_workers.layout.document import Document
from partition_workers.layout.documents import FirstStart, Lock, Move, Parked, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("prefix", "group")
E0, E1 = Partition("events", 0), Partition("events", 1)


def standing(offset: int, topic_id: str) -> Standing:
    return Standing(E0, Stored(StoredOffset(offset, 7, 3, topic_id, now()), 5))


@pytest.mark.parametrize(
    ("at", "extent", "why"),
    [
        (standing(50, "a"), Extent(10, 100, "a"), None),
        (standing(10, "a"), Extent(10, 100, "a"), None),
        (standing(100, "a"), Extent(10, 100, "a"), None),
        (standing(50, ""), Extent(10, 100, "a"), None),
        (standing(50, "a"), Extent(10, 100, ""), None),
        (standing(50, "a"), None, None),
        (Standing(E0), Extent(10, 100, "a"), None),
        (standing(50, "a"), Extent(10, 100, "b"), "created anew"),
        (standing(9, "a"), Extent(10, 100, "a"), "10 to 100, and not 9"),
        (standing(101, "a"), Extent(10, 100, "a"), "10 to 100, and not 101"),
    ],
)
def test_who_would_pass_over_records_is_not_resumed(at: Standing, extent: Extent | None, why: str | None) -> None:
    """And is told what helps. What is not known is no reason: the owner will see."""
    refusal = why_not_to_resume(at, extent)
    if why is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert why in refusal
        assert "offsets reset events[0] --to-earliest --execute" in refusal


@pytest.mark.parametrize(
    ("topics", "lacks"),
    [
        ({"events": None}, True),
        ({"events": Topic("", (1,))}, True),
        ({"events": Topic("", (0,))}, False),
        ({}, False),
    ],
)
def test_only_what_kafka_says_is_gone_is_forgotten(topics: dict[str, Topic | None], lacks: bool) -> None:
    """Not what it is silent about."""
    ends = Ends({}, topics)
    if lacks:
        refuse_existing([E0], ends, "kafka:9092")
    else:
        with pytest.raises(ResetRefused, match=r"events\[0\].*offsets reset"):
            refuse_existing([E0], ends, "kafka:9092")


def put(store: FakeEtcd, key: str, value: Document | bytes) -> None:
    store.transact(Txn((), (Put(key, value if isinstance(value, bytes) else value.encode()),)))


def fill(store: FakeEtcd) -> None:
    for each in (E0, E1):
        put(store, KEYS.offset(each), StoredOffset(50, 7, 3, "old", now()))
        put(store, KEYS.state(each) + "count", b"50")
        put(store, KEYS.history(each, 7), b"{}")
        put(store, KEYS.attempt(each), b"{}")
        put(store, KEYS.parked(each), Parked(50, "why", "host-a", now()))
        put(store, KEYS.move(each), Move("host-a", now()))
    put(store, KEYS.topic("events"), FirstStart("old", [0, 0], now()))


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("whole_topic", [False, True])
def test_nothing_is_left_of_what_was_forgotten_and_everything_of_the_others(lost: bool, whole_topic: bool) -> None:
    """An answer that is lost is asked for again."""
    store = FakeEtcd()
    fill(store)
    patient = RetryingStore(store, 1.0, "the fake")
    found = Offsets(patient, KEYS).look()[E0]
    if lost:
        store.fail_next(applied=True)
    forget(patient, KEYS, [found], Ends({}, {"events": None if whole_topic else Topic("", (1,))}))
    left = [each.key for each in store.list(KEYS.root).items]
    assert not [key for key in left if "/events/00000" in key]
    assert len([key for key in left if "/events/00001" in key]) == 6
    assert (KEYS.topic("events") in left) != whole_topic


def test_what_has_an_owner_is_not_forgotten() -> None:
    store = FakeEtcd()
    fill(store)
    patient = RetryingStore(store, 1.0, "the fake")
    found = Offsets(patient, KEYS).look()[E0]
    put(store, KEYS.lock(E0), Lock("worker-1", "host-a", 101, "1f", "acquired", now()))
    with pytest.raises(ResetRefused, match="has an owner"):
        forget(patient, KEYS, [found], Ends({}, {"events": None}))
    assert store.get(KEYS.offset(E0)) is not None
