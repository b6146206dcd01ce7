"""How a partition changes hands, on etcd and on the fake of the tests."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest

from partition_workers.commits import Commits
from partition_workers.errors import LeaseGone, Lost
from partition_workers.etcd.store import Change, Delete, Operation, Put, Txn, TxnResult
from partition_workers.layout.documents import Cause, History, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.lock import PartitionLock
from partition_workers.ownership.transactions import Loaded, Verdict
from tests.contract.conftest import AnyStore

P = Partition("events", 3)


class Group:
    """A group in a store: whatever is done to one partition, in the words of the design."""

    def __init__(self, store: AnyStore, prefix: str) -> None:
        self.store, self.keys = store, Keys(prefix.rstrip("/"))
        self.since = store.list(prefix).revision

    def standby(self, name: str) -> Standby:
        grant = self.store.grant(60, uuid.uuid4().int & 0x7FFF_FFFF_FFFF_FFFF)
        made = Standby(name, f"host-of-{name}", 1, f"{grant.lease:x}", now())
        self.store.transact(Txn((), (Put(self.keys.standby(P, name), made.encode(), grant.lease),)))
        return made

    def lock_of(self, who: Standby) -> PartitionLock:
        return PartitionLock(self.store, self.keys, P, who, lambda: False)

    def acquire(self, who: Standby) -> Loaded | None:
        return self.lock_of(who).acquire()

    def own(self, who: Standby) -> Loaded:
        loaded = self.acquire(who)
        assert loaded is not None
        return loaded

    def confirm(self, who: Standby, token: int) -> Loaded | None:
        return self.lock_of(who).confirm(token)

    def enter(self, who: Standby, token: int) -> Loaded | None:
        """What an owner that was named does: confirm, and a first commit that says so."""
        loaded = self.confirm(who, token)
        if loaded is not None:
            begun = History(token, who.worker, who.host, who.pid, loaded.lock.cause, now())
            commits = self.commits(loaded)
            commits.attach(*transactions.enter(self.keys, P, begun))
            assert commits.drain(soon())
        return loaded

    def commits(self, loaded: Loaded) -> Commits:
        offset = loaded.offset.offset if loaded.offset else 0
        return Commits(
            self.store, self.keys, P, loaded.token, "topic-id", offset, loaded.offset_revision, time.monotonic
        )

    def commit(self, token: int, seen: int, number: int, sequence: int, **changes: bytes | None) -> TxnResult:
        offset = StoredOffset(number, token, sequence, "topic-id", now())
        return self.store.transact(transactions.commit(self.keys, P, seen, offset, changes))

    def take_over(self, token: int, successor: Standby | None) -> TxnResult:
        lock = Lock.naming(successor, Cause.TAKEN_OVER) if successor else None
        return self.store.transact(transactions.take_over(self.keys, P, token, lock))

    def pass_on(self, token: int, successor: Standby | None) -> TxnResult:
        lock = Lock.naming(successor, Cause.TAKEN_OVER) if successor else None
        return self.store.transact(transactions.pass_on(self.keys, P, token, lock))

    def give_to(self, successor: Standby) -> tuple[Operation, ...]:
        return transactions.give_to(self.keys, P, Lock.naming(successor, Cause.HANDED_OVER))

    def owner(self) -> tuple[str, int] | None:
        found = self.store.get(self.keys.lock(P))
        return (Lock.decode(found.value).worker, found.mod_revision) if found else None

    def offset(self) -> tuple[int, int, int] | None:
        found = self.store.get(self.keys.offset(P))
        if found is None:
            return None
        stored = StoredOffset.decode(found.value)
        return stored.offset, stored.token, stored.sequence

    def state(self) -> dict[str, bytes]:
        prefix = self.keys.state(P)
        return {each.key.removeprefix(prefix): each.value for each in self.store.list(prefix).items}

    def history_of_the_lock(self) -> list[Change]:
        """All that ever happened to the lock, up to now."""
        end = self.store.transact(Txn((), (Put(f"{self.keys.locks}end", b""),))).revision
        watch = self.store.watch((self.keys.locks,), self.since + 1)
        guard = threading.Timer(10, watch.cancel)
        guard.start()
        changes = []
        for change in watch:
            if change.item.mod_revision >= end:
                break
            changes.append(change)
        guard.cancel()
        watch.cancel()
        return changes


def soon() -> float:
    return time.monotonic() + 10.0


@pytest.fixture
def group(store: AnyStore, prefix: str) -> Group:
    return Group(store, prefix)


class TestAcquire:
    def test_one_of_two_gets_a_free_lock(self, group: Group) -> None:
        """The first one has it, with the revision of its transaction as token; the second is told no."""
        first, second = group.standby("first"), group.standby("second")
        loaded = group.own(first)
        assert group.acquire(second) is None
        assert group.owner() == ("first", loaded.token)

    def test_an_owner_is_no_standby_any_more(self, group: Group) -> None:
        """Its standby key goes in the transaction that makes it the owner; those of others stay."""
        me = group.standby("me")
        group.standby("other")
        group.own(me)
        left = [each.key for each in group.store.list(group.keys.standbys).items]
        assert left == [group.keys.standby(P, "other")]

    def test_the_lock_goes_with_the_lease(self, group: Group) -> None:
        """Revoking the owner's lease frees the lock."""
        me = group.standby("me")
        group.own(me)
        group.store.revoke(me.lease_id)
        assert group.owner() is None

    def test_nobody_acquires_with_a_lease_that_is_gone(self, group: Group) -> None:
        """The whole transaction is undone."""
        me = group.standby("me")
        group.store.revoke(me.lease_id)
        with pytest.raises(LeaseGone):
            group.acquire(me)
        assert group.owner() is None

    def test_a_parked_partition_cannot_be_acquired_until_it_is_resumed(self, group: Group) -> None:
        """Parking is in the way of every acquisition, and of nothing once its key is deleted."""
        me, other = group.standby("me"), group.standby("other")
        commits = group.commits(group.own(me))
        commits.add(5, {"a": b"1"})
        parked = Parked(5, "the handler gave up", "here", now())
        assert commits.drain(soon(), transactions.park(group.keys, P, parked))
        assert group.owner() is None
        assert group.acquire(other) is None
        group.store.transact(Txn((), (Delete(group.keys.parked(P)),)))
        loaded = group.own(other)
        assert loaded.offset is not None
        assert (loaded.offset.offset, loaded.state) == (5, {"a": b"1"})

    def test_acquiring_again_finds_that_it_was_done_already(self, group: Group) -> None:
        """An answer that got lost is asked for again: the lock is ours under the token of the first time."""
        me = group.standby("me")
        assert group.own(me).token == group.own(me).token

    def test_a_successor_goes_on_where_the_last_commit_ended(self, group: Group) -> None:
        """State and offset come with the lock, and a release leaves nothing behind."""
        first, second = group.standby("first"), group.standby("second")
        commits = group.commits(group.own(first))
        commits.add(7, {"a": b"1", "b": b"2"})
        assert commits.drain(soon())
        commits.add(9, {"a": None, "c": b"3"})
        assert commits.drain(soon(), transactions.let_go(group.keys, P))
        loaded = group.own(second)
        assert loaded.offset is not None
        assert (loaded.offset.offset, loaded.offset.sequence, loaded.offset.token) == (9, 2, commits.token)
        assert loaded.state == {"b": b"2", "c": b"3"}
        assert loaded.token > commits.token


class TestTokens:
    def test_the_token_grows_with_every_owner(self, group: Group) -> None:
        """Acquired, handed over, taken over, passed on, released and acquired again: always larger."""
        a, b, c, d = (group.standby(name) for name in "abcd")
        tokens = [group.own(a).token]
        commits = group.commits(group.own(a))
        assert commits.drain(soon(), group.give_to(b))
        for successor, change in ((c, group.take_over), (d, group.pass_on)):
            held = group.owner()
            assert held is not None
            tokens.append(held[1])
            assert change(held[1], successor).succeeded
        held = group.owner()
        assert held is not None
        tokens.append(held[1])
        group.take_over(held[1], None)
        tokens.append(group.own(group.standby("e")).token)
        assert tokens == sorted(set(tokens))
        assert len(tokens) == 5

    def test_a_renewed_claim_of_the_same_worker_is_another_token(self, group: Group) -> None:
        """Any write to the lock ends the ownership it wrote over, even one by its own holder."""
        me = group.standby("me")
        token = group.own(me).token
        group.take_over(token, me)
        assert not group.store.transact(transactions.still_mine(group.keys, P, token)).succeeded

    def test_still_mine_is_true_until_somebody_writes_the_lock(self, group: Group) -> None:
        """Commits of our own do not count as such."""
        token = group.own(group.standby("me")).token
        group.commit(token, 0, 5, 1, a=b"1")
        assert group.store.transact(transactions.still_mine(group.keys, P, token)).succeeded
        group.take_over(token, None)
        assert not group.store.transact(transactions.still_mine(group.keys, P, token)).succeeded


class TestConfirm:
    def test_a_named_standby_confirms_and_says_so_in_its_first_commit(self, group: Group) -> None:
        """It gets everything an owner needs; its record is there under its token, its standby key is not."""
        dead, successor = group.standby("dead"), group.standby("heir")
        token = group.own(dead).token
        group.commit(token, 0, 5, 1, a=b"1")
        named = group.take_over(token, successor).revision
        loaded = group.enter(successor, named)
        assert loaded is not None
        assert (loaded.token, loaded.lock.worker, loaded.lock.cause) == (named, "heir", Cause.TAKEN_OVER)
        assert loaded.offset is not None
        assert (loaded.offset.offset, loaded.state) == (5, {"a": b"1"})
        record = group.store.get(group.keys.history(P, named))
        assert record is not None
        assert History.decode(record.value).worker == "heir"
        assert group.store.get(group.keys.standby(P, "heir")) is None

    def test_a_confirmation_under_an_old_token_is_refused(self, group: Group) -> None:
        """Nothing is believed for having been told."""
        dead, successor, next_heir = (group.standby(name) for name in ("dead", "heir", "next"))
        named = group.take_over(group.own(dead).token, successor).revision
        group.pass_on(named, next_heir)
        assert group.confirm(successor, named) is None
        assert group.store.get(group.keys.history(P, named)) is None
        assert group.store.get(group.keys.standby(P, "heir")) is not None

    def test_a_confirmation_can_be_repeated(self, group: Group) -> None:
        """The answer to the second is that of the first, and nothing was written."""
        dead, successor = group.standby("dead"), group.standby("heir")
        named = group.take_over(group.own(dead).token, successor).revision
        assert group.confirm(successor, named) == group.confirm(successor, named)
        assert group.store.get(group.keys.history(P, named)) is None

    def test_a_confirmation_sees_the_last_commit_that_the_takeover_let_through(self, group: Group) -> None:
        """Whatever landed before the lock was written over is in it, though one member alone was asked."""
        dead, successor = group.standby("dead"), group.standby("heir")
        token = group.own(dead).token
        for number in range(1, 20):
            seen = group.store.get(group.keys.offset(P))
            group.commit(token, seen.mod_revision if seen else 0, number, number, n=b"%d" % number)
        named = group.take_over(token, successor).revision
        loaded = group.confirm(successor, named)
        assert loaded is not None
        assert loaded.offset is not None
        assert (loaded.offset.offset, loaded.state) == (19, {"n": b"19"})

    def test_impatience_comes_too_late_for_a_successor_that_has_entered(self, group: Group) -> None:
        """pass_on names another only while the history of the one that was named is absent."""
        dead, successor, next_heir = (group.standby(name) for name in ("dead", "heir", "next"))
        named = group.take_over(group.own(dead).token, successor).revision
        assert group.enter(successor, named)
        assert not group.pass_on(named, next_heir).succeeded
        assert group.owner() == ("heir", named)


class TestFencing:
    @pytest.mark.parametrize("is_ready", [True, False])
    def test_a_paused_owners_commit_is_refused_after_a_takeover(self, group: Group, is_ready: bool) -> None:
        """Neither its offset nor its state gets in, and it learns that it has lost."""
        paused, successor = group.standby("paused"), group.standby("heir")
        commits = group.commits(group.own(paused))
        commits.add(5, {"a": b"1"})
        assert commits.drain(soon())
        group.take_over(commits.token, successor if is_ready else None)
        commits.add(6, {"a": b"2", "b": b"2"})
        with pytest.raises(Lost):
            commits.drain(soon())
        assert group.offset() == (5, commits.token, 1)
        assert group.state() == {"a": b"1"}

    def test_a_paused_owner_cannot_give_away_a_lock_that_is_not_its_own(self, group: Group) -> None:
        """Hand-over, release and parking are refused like any other commit."""
        paused, successor, friend = (group.standby(name) for name in ("paused", "heir", "friend"))
        loaded = group.own(paused)
        named = group.take_over(loaded.token, successor).revision
        parked = transactions.park(group.keys, P, Parked(0, "why", "here", now()))
        for last_word in (group.give_to(friend), transactions.let_go(group.keys, P), parked):
            with pytest.raises(Lost):
                group.commits(loaded).drain(soon(), last_word)
        assert group.owner() == ("heir", named)
        assert group.store.get(group.keys.parked(P)) is None

    def test_a_takeover_of_a_lock_that_moved_on_is_refused(self, group: Group) -> None:
        """The dead worker's token is compared, so a slow supervisor cannot rob the present owner."""
        dead, successor, late = (group.standby(name) for name in ("dead", "heir", "late"))
        token = group.own(dead).token
        named = group.take_over(token, successor).revision
        refused = group.take_over(token, late)
        assert not refused.succeeded
        assert Lock.decode(refused.answers[0][0].value).worker == "heir"
        assert group.owner() == ("heir", named)

    def test_a_copy_that_arrives_late_changes_nothing(self, group: Group) -> None:
        """The same transaction again, after a later commit, meets another mod_revision of the offset."""
        token = group.own(group.standby("me")).token
        first = group.commit(token, 0, 5, 1, a=b"1")
        group.commit(token, first.revision, 6, 2, a=b"2")
        assert not group.commit(token, 0, 5, 1, a=b"1").succeeded
        assert (group.offset(), group.state()) == ((6, token, 2), {"a": b"2"})

    def test_a_copy_of_a_commit_that_landed_is_recognised(self, group: Group) -> None:
        """Token and sequence in the else branch say that it was ours."""
        token = group.own(group.standby("me")).token
        first = group.commit(token, 0, 5, 1, a=b"1")
        again = group.commit(token, 0, 5, 1, a=b"1")
        sent = StoredOffset(5, token, 1, "topic-id", now())
        assert transactions.decide(again, sent) == (Verdict.LANDED, first.revision)


class TestHandOver:
    def test_no_revision_is_without_a_lock(self, group: Group) -> None:
        """The history of the lock key has puts only, one for each owner, and the last commit is in it."""
        a, b, c = (group.standby(name) for name in "abc")
        commits = group.commits(group.own(a))
        commits.add(5, {"n": b"5"})
        assert commits.drain(soon(), group.give_to(b))
        held = group.owner()
        assert held is not None
        loaded = group.confirm(b, held[1])
        assert loaded is not None
        assert loaded.offset_revision == loaded.token
        commits = group.commits(loaded)
        commits.add(8, {"n": b"8"})
        assert commits.drain(soon(), group.give_to(c))
        changes = group.history_of_the_lock()
        assert [change.deleted for change in changes] == [False, False, False]
        assert [Lock.decode(change.item.value).worker for change in changes] == ["a", "b", "c"]
        assert [Lock.decode(change.item.value).cause for change in changes[1:]] == [Cause.HANDED_OVER] * 2

    def test_the_lock_is_on_the_successors_lease(self, group: Group) -> None:
        """The end of the old owner's lease does not take it away, the end of the new one's does."""
        a, b = group.standby("a"), group.standby("b")
        assert group.commits(group.own(a)).drain(soon(), group.give_to(b))
        group.store.revoke(a.lease_id)
        assert group.owner() is not None
        group.store.revoke(b.lease_id)
        assert group.owner() is None

    def test_a_successor_whose_lease_is_gone_leaves_everything_undone(self, group: Group) -> None:
        """LeaseGone is raised, the lock and the offset are as before; then the next one gets all of it."""
        me, gone, alive = (group.standby(name) for name in ("me", "gone", "alive"))
        commits = group.commits(group.own(me))
        commits.add(3, {"a": b"3", "b": b"3"})
        assert commits.drain(soon())
        commits.add(5, {"a": b"5", "b": None})
        group.store.revoke(gone.lease_id)
        with pytest.raises(LeaseGone):
            commits.drain(soon(), group.give_to(gone))
        assert group.owner() == ("me", commits.token)
        assert (group.offset(), group.state()) == ((3, commits.token, 1), {"a": b"3", "b": b"3"})
        assert commits.drain(soon(), group.give_to(alive))
        held = group.owner()
        assert held is not None
        assert held[0] == "alive"
        offset = group.offset()
        assert offset is not None
        assert (offset[0], offset[1], group.state()) == (5, commits.token, {"a": b"5"})

    def test_an_owner_whose_successors_are_all_gone_releases(self, group: Group) -> None:
        """The last commit then deletes the lock, and loses nothing."""
        me, gone = group.standby("me"), group.standby("gone")
        commits = group.commits(group.own(me))
        commits.add(5, {"a": b"5"})
        group.store.revoke(gone.lease_id)
        with pytest.raises(LeaseGone):
            commits.drain(soon(), group.give_to(gone))
        assert commits.drain(soon(), transactions.let_go(group.keys, P))
        assert group.owner() is None
        assert (commits.committed, group.state()) == (5, {"a": b"5"})


class TestTakeOver:
    def test_a_takeover_with_nobody_ready_frees_the_lock(self, group: Group) -> None:
        """Whoever comes first may have it then."""
        dead, late = group.standby("dead"), group.standby("late")
        assert group.take_over(group.own(dead).token, None).succeeded
        assert group.own(late).token > 0

    def test_a_takeover_in_favour_of_a_gone_lease_is_undone(self, group: Group) -> None:
        """The dead worker's lock stays where it is, to be given to the next one."""
        dead, gone = group.standby("dead"), group.standby("gone")
        token = group.own(dead).token
        group.store.revoke(gone.lease_id)
        with pytest.raises(LeaseGone):
            group.take_over(token, gone)
        assert group.owner() == ("dead", token)

    def test_the_end_of_the_dead_workers_lease_leaves_the_successor_alone(self, group: Group) -> None:
        """The lock was detached from the old lease when it was written."""
        dead, successor = group.standby("dead"), group.standby("heir")
        named = group.take_over(group.own(dead).token, successor).revision
        group.store.revoke(dead.lease_id)
        assert group.owner() == ("heir", named)


CHANGES: list[Callable[[Group, int, Standby], object]] = [
    lambda group, token, successor: group.take_over(token, successor),
    lambda group, token, successor: group.pass_on(token, successor),
]


@pytest.mark.parametrize("change", CHANGES)
def test_state_and_offset_stay_as_they_are_when_the_lock_moves(
    group: Group, change: Callable[[Group, int, Standby], object]
) -> None:
    """Only commits write them."""
    dead, successor = group.standby("dead"), group.standby("heir")
    token = group.own(dead).token
    group.commit(token, 0, 5, 1, a=b"1")
    change(group, token, successor)
    assert (group.offset(), group.state()) == ((5, token, 1), {"a": b"1"})
