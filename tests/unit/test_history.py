"""Who owned a partition: closing the records of those that could not, and forgetting the oldest."""

from __future__ import annotations

from partition_workers.etcd.store import Delete, KeyValue, Put, PutMany, Txn
from partition_workers.layout.documents import Ending, History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import history
from partition_workers.ownership.transactions import MAX_STATE_KEYS
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)


def record(token: int, closed: bool = True) -> KeyValue:
    begun = History(token, f"w{token}", "h", 1, "acquired", "then", token)
    made = begun.closed(Ending.STOPPED, token + 1, at="later") if closed else begun
    return KeyValue(KEYS.history(P, token), made.encode(), 1, token, token)


OWN = History(1000, "me", "h", 1, "taken-over", "now", 77)


def test_an_orderly_history_needs_nothing() -> None:
    """Closed records, and our own that is still open, stay as they are."""
    assert history.tidy([record(1), record(2), record(1000, closed=False)], 1000, OWN) == []


def test_the_record_of_a_dead_predecessor_is_closed() -> None:
    """It died, at the offset and at the time at which we began."""
    (operation,) = history.tidy([record(1), record(2, closed=False), record(1000, closed=False)], 1000, OWN)
    assert isinstance(operation, Put)
    assert operation.key == KEYS.history(P, 2)
    closed = History.decode(operation.value)
    assert (closed.ending, closed.to_offset, closed.until) == (Ending.DIED, 77, "now")
    assert (closed.worker, closed.from_offset) == ("w2", 2)


def test_who_died_ended_where_the_next_began() -> None:
    """Not where we did, if somebody was owner in between."""
    found = [record(1, closed=False), record(2, closed=False), record(3), record(1000, closed=False)]
    ends = [History.decode(put.value) for put in history.tidy(found, 1000, OWN) if isinstance(put, Put)]
    assert [(each.token, each.to_offset, each.until) for each in ends] == [(1, 2, "then"), (2, 3, "then")]


def test_the_record_of_a_successor_is_left_alone() -> None:
    """Whoever has a larger token is no predecessor."""
    assert history.tidy([record(1001, closed=False)], 1000, OWN) == []


def test_the_newest_hundred_are_kept() -> None:
    """The oldest go, no more at once than a transaction has room for."""
    found = [record(token) for token in range(1, history.KEPT + 4)]
    assert history.tidy(found, 1000, OWN) == [Delete(KEYS.history(P, token)) for token in (1, 2, 3)]
    found = [record(token) for token in range(1, history.KEPT + 90)]
    assert 0 < len(history.tidy(found, 1000, OWN)) <= history.SURPLUS_AT_ONCE


def test_no_key_is_both_closed_and_deleted() -> None:
    """etcd refuses a transaction that writes a key twice."""
    found = [record(token, closed=False) for token in range(1, history.KEPT + 60)]
    keys = [each.key for each in history.tidy(found, 1000, OWN)]
    assert len(set(keys)) == len(keys)


def test_a_long_history_fits_beside_the_fullest_commit() -> None:
    """As many state keys as may be, offset, own record, an attempt and a last word on the lock, all at once."""
    found = [record(token, closed=False) for token in range(1, history.KEPT + 60)]
    others = [Put(f"k{number}", b"1") for number in range(5)]
    state = PutMany("/state/", {f"k{number}": b"1" for number in range(MAX_STATE_KEYS)})
    tidying = history.tidy(found, 1000, OWN)
    assert FakeEtcd().transact(Txn((), (*others, *tidying), many=state)).succeeded


def test_a_value_that_is_no_record_is_left_alone() -> None:
    """Something foreign under our root must not end an owner."""
    foreign = KeyValue(KEYS.history(P, 1), b"not ours", 1, 1, 1)
    (operation,) = history.tidy([foreign, record(2, closed=False)], 1000, OWN)
    assert operation.key == KEYS.history(P, 2)


def test_who_did_not_take_the_lock_was_no_owner() -> None:
    """The one before it ended where we began; and what is told of it is left as it is."""
    begun = History(5, "w5", "h", 1, "handed-over", "then", None)
    not_taken = KeyValue(KEYS.history(P, 5), begun.closed(Ending.NOT_TAKEN, None, "late", "later").encode(), 1, 5, 5)
    (operation,) = history.tidy([record(2, closed=False), not_taken, record(1000, closed=False)], 1000, OWN)
    assert isinstance(operation, Put)
    closed = History.decode(operation.value)
    assert (closed.token, closed.to_offset, closed.until) == (2, 77, "now")
