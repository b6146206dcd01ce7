"""The transactions as values, what becomes of their answers, and what etcd's limits leave room for."""

from __future__ import annotations

import pytest

from partition_workers.etcd.store import Compare, Get, Put, PutMany, Target, Txn
from partition_workers.layout.documents import Attempt, Cause, History, Lock, Parked, Size, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import Loaded, acquired, confirmed
from partition_workers.ownership.transactions import MAX_STATE_KEYS, Verdict
from tests.fakes.etcd import FakeEtcd
from tests.fakes.etcd_limits import MAX_OPERATIONS, MAX_REQUEST_BYTES, check

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)


def standby(store: FakeEtcd, name: str) -> Standby:
    return Standby(name, f"host-of-{name}", 1, f"{store.grant(60).lease:x}", now())


def history(token: int, who: Standby) -> History:
    return History(token, who.worker, who.host, who.pid, Cause.ACQUIRED, now(), 0)


def offset(number: int, token: int, sequence: int) -> StoredOffset:
    return StoredOffset(number, token, sequence, "topic-id", now())


def acquire(store: FakeEtcd, who: Standby) -> Loaded:
    result = store.transact(transactions.acquire(KEYS, P, Lock.naming(who, Cause.ACQUIRED)))
    assert result.succeeded
    return acquired(KEYS, P, result)


def confirm(store: FakeEtcd, token: int, whole: bool = True) -> Loaded | None:
    return confirmed(KEYS, P, token, store.transact(transactions.confirm(KEYS, P, token, whole=whole)))


class TestLoaded:
    def test_a_partition_that_nobody_ever_had_is_empty(self) -> None:
        """No offset, no state, no attempt; the token is the lock's mod_revision."""
        store = FakeEtcd()
        me = standby(store, "me")
        loaded = acquire(store, me)
        assert (loaded.offset, loaded.offset_revision, loaded.state, loaded.attempt) == (None, 0, {}, None)
        assert (loaded.revision, loaded.complete) == (loaded.token, False)
        lock = store.get(KEYS.lock(P))
        assert lock is not None
        assert (loaded.token, loaded.lock.worker, lock.lease) == (lock.mod_revision, "me", me.lease_id)

    @pytest.mark.parametrize("whole", [True, False])
    def test_everything_that_an_owner_needs_is_in_one_answer(self, whole: bool) -> None:
        """Offset and attempt come with the lock, and with a confirmation; that has the state too, if asked for."""
        store = FakeEtcd()
        stored = StoredOffset(7, 1, 2, "topic-id", now())
        attempt = Attempt(7, 1, ["a"])
        state = {"a/b": b"1", "": b"2", "ä": b"3"}
        puts = [Put(KEYS.state(P) + key, value) for key, value in state.items()]
        neighbour = Put(KEYS.state(Partition("events", 30)) + "x", b"not ours")
        store.transact(
            Txn((), (Put(KEYS.offset(P), stored.encode()), Put(KEYS.attempt(P), attempt.encode()), neighbour, *puts))
        )
        me = standby(store, "me")
        for loaded, complete in ((acquire(store, me), False), (confirm(store, token_of(store), whole), whole)):
            assert loaded is not None
            assert (loaded.offset, loaded.attempt, loaded.size) == (stored, attempt, None)
            assert (loaded.state, loaded.complete) == (state if complete else {}, complete)
            found = store.get(KEYS.offset(P))
            assert found is not None
            assert (loaded.offset_revision, loaded.token) == (found.mod_revision, token_of(store))

    def test_of_a_state_that_is_noted_to_be_large_nothing_is_in_it(self) -> None:
        """All the rest is, and the note."""
        store = FakeEtcd()
        me = standby(store, "me")
        token = acquire(store, me).token
        size = Size(3, 5_000_000, now())
        store.transact(Txn((), (Put(KEYS.size(P), size.encode()), Put(f"{KEYS.state(P)}a", b"1"))))
        loaded = confirm(store, token)
        assert loaded is not None
        assert (loaded.token, loaded.lock.worker, loaded.size) == (token, "me", size)
        assert (loaded.state, loaded.complete, loaded.revision) == ({}, False, store.revision)

    def test_of_more_keys_than_fit_the_first_are_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And that there may be more, even where there is not."""
        monkeypatch.setattr(transactions, "WHOLE", 3)
        store = FakeEtcd()
        token = acquire(store, standby(store, "me")).token
        for number, complete in enumerate((True, True, False, False), 1):
            store.transact(Txn((), (Put(f"{KEYS.state(P)}{number}", b"1"),)))
            loaded = confirm(store, token)
            assert loaded is not None
            assert (list(loaded.state), loaded.complete) == (list("123"[:number]), complete)


def token_of(store: FakeEtcd) -> int:
    found = store.get(KEYS.lock(P))
    return found.mod_revision if found else 0


class TestDecide:
    """What a refused commit means is read from its else branch."""

    def test_our_own_sequence_means_that_an_earlier_copy_had_landed(self) -> None:
        """The number is O's mod_revision, to go on with."""
        store = FakeEtcd()
        token = acquire(store, standby(store, "me")).token
        sent = offset(5, token, 1)
        txn = transactions.commit(KEYS, P, 0, sent, {"a": b"1"})
        landed = store.transact(txn)
        again = store.transact(txn)
        assert (landed.succeeded, again.succeeded) == (True, False)
        assert transactions.decide(again, sent) == (Verdict.LANDED, landed.revision)

    @pytest.mark.parametrize("end", ["give", "release", "park"])
    def test_a_last_word_that_had_landed_is_recognised_though_the_lock_is_not_ours_any_more(self, end: str) -> None:
        """O is looked at before L."""
        store = FakeEtcd()
        token = acquire(store, standby(store, "me")).token
        last_word = {
            "give": transactions.give_to(KEYS, P, Lock.naming(standby(store, "next"), Cause.HANDED_OVER)),
            "release": transactions.let_go(KEYS, P),
            "park": transactions.park(KEYS, P, Parked(5, "why", "here", now())),
        }[end]
        sent = offset(5, token, 1)
        txn = transactions.commit(KEYS, P, 0, sent, {}, last_word)
        landed = store.transact(txn)
        assert transactions.decide(store.transact(txn), sent) == (Verdict.LANDED, landed.revision)

    @pytest.mark.parametrize("successor", [True, False])
    def test_a_lock_that_is_not_ours_means_lost(self, successor: bool) -> None:
        """Whether somebody else has it by now, or nobody."""
        store = FakeEtcd()
        token = acquire(store, standby(store, "me")).token
        lock = Lock.naming(standby(store, "next"), Cause.TAKEN_OVER) if successor else None
        store.transact(transactions.take_over(KEYS, P, token, lock))
        sent = offset(5, token, 1)
        refused = store.transact(transactions.commit(KEYS, P, 0, sent, {"a": b"1"}))
        assert transactions.decide(refused, sent) == (Verdict.LOST, 0)

    def test_a_lock_that_is_ours_and_an_offset_that_is_not_is_impossible(self) -> None:
        """No sequence of our transactions leads there, so it is not explained away."""
        store = FakeEtcd()
        token = acquire(store, standby(store, "me")).token
        store.transact(Txn((), (Put(KEYS.offset(P), offset(99, 1, 1).encode()),)))
        sent = offset(5, token, 1)
        refused = store.transact(transactions.commit(KEYS, P, 0, sent, {}))
        assert transactions.decide(refused, sent) == (Verdict.IMPOSSIBLE, store.revision)

    def test_the_same_sequence_under_another_token_is_not_ours(self) -> None:
        """Token and sequence both have to agree."""
        store = FakeEtcd()
        first = acquire(store, standby(store, "me")).token
        store.transact(transactions.commit(KEYS, P, 0, offset(5, first, 1), {}, transactions.let_go(KEYS, P)))
        second = acquire(store, standby(store, "me again")).token
        store.transact(transactions.take_over(KEYS, P, second, None))
        sent = offset(6, second, 1)
        refused = store.transact(transactions.commit(KEYS, P, 0, sent, {}))
        assert transactions.decide(refused, sent) == (Verdict.LOST, 0)


class TestShape:
    def test_every_write_compares_the_token(self) -> None:
        """No transaction of an owner, or over an owner, can succeed once the lock was written by anybody."""
        me = Standby("me", "here", 1, "1", now())
        lock = Lock.naming(me, Cause.HANDED_OVER)
        mine = Compare(KEYS.lock(P), Target.MOD_REVISION, 17)
        for txn in (
            transactions.commit(KEYS, P, 5, offset(1, 17, 1), {"a": b"1"}),
            transactions.confirm(KEYS, P, 17),
            transactions.take_over(KEYS, P, 17, lock),
            transactions.take_over(KEYS, P, 17, None),
            transactions.pass_on(KEYS, P, 17, lock),
            transactions.still_mine(KEYS, P, 17),
            transactions.enter_before_loading(KEYS, P, history(17, me)),
            transactions.leave_unread(KEYS, P, history(17, me), lock),
        ):
            assert mine in txn.compare
            assert Get(KEYS.lock(P)) in txn.failure

    @pytest.mark.parametrize("whole", [True, False])
    @pytest.mark.parametrize("serializable", [True, False])
    def test_a_confirmation_writes_nothing(self, serializable: bool, whole: bool) -> None:
        """So any member can answer it, with what it knows or with what all know."""
        txn = transactions.confirm(KEYS, P, 17, serializable, whole)
        assert txn.serializable == serializable
        assert all(isinstance(each, Get) for each in (*txn.success, *txn.failure))

    def test_nothing_that_writes_reads_a_state(self) -> None:
        """Every member would read all of it before it does anything else."""
        lock = Lock.naming(Standby("me", "here", 1, "1", now()), Cause.ACQUIRED)
        acquire = transactions.acquire(KEYS, P, lock)
        assert not [
            each
            for each in (*acquire.success, *acquire.failure)
            if isinstance(each, Get) and each.prefix and not each.names
        ]

    def test_nothing_that_writes_is_answered_by_one_member_alone(self) -> None:
        """etcd would take no notice; whoever reads the transaction might."""
        me = Standby("me", "here", 1, "1", now())
        lock = Lock.naming(me, Cause.ACQUIRED)
        assert not transactions.acquire(KEYS, P, lock).serializable
        assert not transactions.commit(KEYS, P, 5, offset(1, 17, 1), {}).serializable
        assert not transactions.pass_on(KEYS, P, 17, lock).serializable
        assert not transactions.still_mine(KEYS, P, 17).serializable

    def test_a_commit_compares_the_offset_it_has_seen(self) -> None:
        """So the same transaction can be sent twice, and lands once."""
        txn = transactions.commit(KEYS, P, 5, offset(1, 17, 1), {})
        assert Compare(KEYS.offset(P), Target.MOD_REVISION, 5) in txn.compare

    def test_none_deletes_a_state_key(self) -> None:
        """A change to None is a deletion, anything else a put."""
        txn = transactions.commit(KEYS, P, 5, offset(1, 17, 1), {"a": None, "b": b"null"})
        assert txn.many == PutMany(KEYS.state(P), {"a": None, "b": b"null"})

    def test_the_fullest_commit_has_room_for_the_history_and_a_last_word(self) -> None:
        """All state keys that may be, the offset, an attempt, the history and parking stay below etcd's limits."""
        changes: dict[str, bytes | None] = {f"k{n}": b"1" for n in range(MAX_STATE_KEYS)}
        me = Standby("me", "here", 1, "1", now())
        extra = (
            *transactions.enter(KEYS, P, history(17, me)),
            Get(KEYS.histories(P), prefix=True),
            Put(KEYS.attempt(P), b"{}"),
            *transactions.park(KEYS, P, Parked(1, "why", "here", now())),
        )
        txn = transactions.commit(KEYS, P, 0, offset(1, 17, 1), changes, extra)
        check(txn, MAX_OPERATIONS, MAX_REQUEST_BYTES)
