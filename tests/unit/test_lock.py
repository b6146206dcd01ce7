"""The way to a lock: what one member of etcd does not know yet, the others are asked for; and who is believed."""

from __future__ import annotations

from unittest import mock

import pytest

from partition_workers import retry
from partition_workers.errors import LeaseGone, Lost, Unavailable
from partition_workers.etcd.store import Get, Put, Txn, TxnResult
from partition_workers.layout.documents import Cause, Ending, History, Lock, Size, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.lock import PartitionLock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 0)
ME = Standby("me", "here", 1, "2a", now())
OTHER = Standby("other", "there", 2, "2b", now())


class Behind(FakeEtcd):
    """The member that is asked has not heard of anything written lately."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = self.together = 0

    def transact(self, txn: Txn) -> TxnResult:
        if txn.serializable:
            self.alone += 1
            return TxnResult(False, 1, ((), (), (), (), ()))
        self.together += 1
        return super().transact(txn)


class Counting(FakeEtcd):
    """Notes what it is asked, and fails where a whole state is asked for, if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.slow = False

    def transact(self, txn: Txn) -> TxnResult:
        whole = any(isinstance(each, Get) and each.limit and not each.names for each in txn.success)
        self.asked.append("whole" if whole else "transaction")
        if whole and self.slow:
            raise Unavailable("it did not arrive in time")
        return super().transact(txn)

    def page(self, *arguments, **more):  # type: ignore[no-untyped-def]
        self.asked.append("page")
        return super().page(*arguments, **more)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "time", mock.Mock())


def named(store: FakeEtcd, *state: tuple[str, bytes], size: Size | None = None) -> int:
    """A partition whose lock has just been given to us. Its token."""
    for each in (ME, OTHER):
        store.grant(5, each.lease_id)
    first = store.transact(transactions.acquire(KEYS, P, Lock.naming(OTHER, Cause.ACQUIRED))).revision
    for key, value in state:
        store.transact(Txn((), (Put(KEYS.state(P) + key, value),)))
    if size:
        store.transact(Txn((), (Put(KEYS.size(P), size.encode()),)))
    return store.transact(transactions.take_over(KEYS, P, first, Lock.naming(ME, Cause.TAKEN_OVER))).revision


def lock_on(store: FakeEtcd, hopeless: bool = False) -> PartitionLock:
    return PartitionLock(store, KEYS, P, ME, lambda: hopeless)


@pytest.mark.parametrize("store", [FakeEtcd(), Behind()], ids=["it knows", "it is behind"])
def test_a_lock_that_is_ours_is_found_to_be_ours(store: FakeEtcd) -> None:
    """With the last commit of who was before, whichever member answers."""
    token = named(store, ("count", b"7"))
    loaded = lock_on(store).confirm(token)
    assert loaded is not None
    assert (loaded.token, loaded.state, loaded.complete) == (token, {"count": b"7"}, True)


def test_a_lock_that_is_not_ours_is_asked_for_once_more_and_no_more() -> None:
    """A member that is behind looks the same, so the second question is to all."""
    store = Behind()
    assert lock_on(store).confirm(17) is None
    assert store.alone == 1
    assert store.together == 1


@pytest.mark.parametrize("store", [FakeEtcd(), Behind()], ids=["it knows", "it is behind"])
def test_a_lock_under_the_very_token_is_not_ours_if_another_worker_is_in_it(store: FakeEtcd) -> None:
    """Nothing is believed for having been told: two workers under one token would take each other's commits for
    their own."""
    token = named(store)
    assert PartitionLock(store, KEYS, P, OTHER, lambda: False).confirm(token) is None
    assert lock_on(store).confirm(token) is not None


class TestQuestions:
    """Somebody waits for the next record, so each of them counts."""

    @pytest.mark.parametrize("keys", [0, 1, 3000])
    def test_a_small_state_is_confirmed_with_one(self, keys: int) -> None:
        """However many keys it has."""
        store = Counting()
        token = named(store, *((f"{number}", b"1") for number in range(keys)))
        store.asked.clear()
        loaded = lock_on(store).confirm(token)
        assert loaded is not None
        assert (len(loaded.state), loaded.complete) == (keys, True)
        assert store.asked == ["whole"]

    def test_of_a_large_state_nothing_is_asked_for_with_the_lock(self) -> None:
        """It would delay the answer by which we know that we are the owner."""
        store = Counting()
        token = named(store, ("a", b"1"), size=Size(1, 5_000_000, now()))
        store.asked.clear()
        loaded = lock_on(store).confirm(token)
        assert loaded is not None
        assert (loaded.state, loaded.complete) == ({}, False)
        assert store.asked == ["whole"]

    def test_what_does_not_arrive_is_not_asked_for_again_in_one(self) -> None:
        """Whether or not somebody had noted that it is large."""
        store = Counting()
        token = named(store, ("a", b"1"))
        store.asked.clear()
        store.slow = True
        loaded = lock_on(store).confirm(token)
        assert loaded is not None
        assert (loaded.token, loaded.state, loaded.complete) == (token, {}, False)
        assert store.asked == ["whole", "transaction"]

    @pytest.mark.parametrize("large", [True, False])
    def test_a_lock_that_was_free_is_taken_first_and_the_state_read_then(self, large: bool) -> None:
        """Every member does what a transaction that writes asks for. A small state comes at once."""
        store = Counting()
        token = named(store, ("a", b"1"), size=Size(1, 5_000_000, now()) if large else None)
        store.transact(transactions.take_over(KEYS, P, token, None))
        store.asked.clear()
        loaded = lock_on(store).acquire()
        assert loaded is not None
        assert (loaded.state, loaded.complete) == (({}, False) if large else ({"a": b"1"}, True))
        assert store.asked == (["transaction"] if large else ["transaction", "page"])

    def test_a_lock_that_was_taken_is_kept_when_the_state_does_not_come(self) -> None:
        """It is read in pages then."""
        store = Counting()
        store.grant(5, ME.lease_id)
        store.fail_pages(Unavailable("silent"))
        loaded = lock_on(store).acquire()
        assert loaded is not None
        assert not loaded.complete

    def test_more_keys_than_fit_leave_a_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Confirmed or acquired."""
        monkeypatch.setattr(transactions, "WHOLE", 2)
        store = FakeEtcd()
        token = named(store, ("a", b"1"), ("b", b"2"), ("c", b"3"))
        confirmed = lock_on(store).confirm(token)
        store.transact(transactions.take_over(KEYS, P, token, None))
        for loaded in (confirmed, lock_on(store).acquire()):
            assert loaded is not None
            assert (loaded.state, loaded.complete) == ({"a": b"1", "b": b"2"}, False)
            whole = lock_on(store).read_rest(loaded, lambda: False)
            assert (whole.state, whole.complete) == ({"a": b"1", "b": b"2", "c": b"3"}, True)


class TestBeforeLoading:
    def test_who_has_entered_is_passed_over_by_nobody(self) -> None:
        """It is a standby no more, and its record is there; once more changes nothing."""
        store = FakeEtcd()
        token = named(store)
        store.transact(Txn((), (Put(KEYS.standby(P, "me"), ME.encode(), ME.lease_id),)))
        for _ in range(2):
            lock_on(store).enter(History(token, "me", "here", 1, Cause.TAKEN_OVER, now()))
            assert store.get(KEYS.history(P, token)) is not None
            assert store.get(KEYS.standby(P, "me")) is None
            passed_on = transactions.pass_on(KEYS, P, token, Lock.naming(OTHER, Cause.TAKEN_OVER))
            assert not store.transact(passed_on).succeeded

    def test_whose_lock_was_passed_on_has_lost_it(self) -> None:
        """Nothing is written for it, and it is not to read a state that is another's by now."""
        store = FakeEtcd()
        token = named(store)
        store.transact(transactions.pass_on(KEYS, P, token, Lock.naming(OTHER, Cause.TAKEN_OVER)))
        with pytest.raises(Lost):
            lock_on(store).enter(History(token, "me", "here", 1, Cause.TAKEN_OVER, now()))
        assert store.get(KEYS.history(P, token)) is None

    @pytest.mark.parametrize("applied", [None, True, False])
    def test_who_is_told_to_leave_gives_the_lock_away_unread(self, applied: bool | None) -> None:
        """Its record is closed in the same transaction; a lost answer is asked for again."""
        store = FakeEtcd()
        token = named(store, ("a", b"1"))
        if applied is not None:
            store.fail_next(applied=applied)
        closed = History(token, "me", "here", 1, Cause.TAKEN_OVER, now()).closed(Ending.HANDED_OVER, None)
        given = lock_on(store).leave_unread(closed, Lock.naming(OTHER, Cause.HANDED_OVER))
        found = store.get(KEYS.lock(P))
        assert found is not None
        assert (Lock.decode(found.value).worker, found.mod_revision) == ("other", given)
        record = store.get(KEYS.history(P, token))
        assert record is not None
        assert History.decode(record.value).ending == Ending.HANDED_OVER
        assert store.get(f"{KEYS.state(P)}a") is not None

    @pytest.mark.parametrize("applied", [None, True, False])
    def test_without_a_successor_the_lock_is_free(self, applied: bool | None) -> None:
        """And with one whose lease is gone it stays as it is."""
        store = FakeEtcd()
        token = named(store)
        closed = History(token, "me", "here", 1, Cause.TAKEN_OVER, now()).closed(Ending.STOPPED, None)
        store.expire(OTHER.lease_id)
        with pytest.raises(LeaseGone):
            lock_on(store).leave_unread(closed, Lock.naming(OTHER, Cause.HANDED_OVER))
        assert store.get(KEYS.lock(P)) is not None
        if applied is not None:
            store.fail_next(applied=applied)
        assert lock_on(store).leave_unread(closed, None) is None
        assert store.get(KEYS.lock(P)) is None


def test_when_the_lease_is_over_nobody_asks_on() -> None:
    """Somebody else is the owner by then."""
    store = FakeEtcd()
    token = named(store)
    store.fail_next(applied=False)
    with pytest.raises(Lost, match="lease ran out"):
        lock_on(store, hopeless=True).confirm(token)
