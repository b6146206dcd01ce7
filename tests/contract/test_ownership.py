"""How a partition is acquired and confirmed, on etcd and on the fake of the tests."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

import pytest

from partition_workers.errors import Compacted, LeaseGone
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Cause, History, Parked, Size, now
from partition_workers.ownership import transactions
from tests.contract.group import Group, P, soon


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


class TestLoading:
    """A state that is noted to be large comes in pages."""

    KEPT: ClassVar = {
        **{f"k{number:04d}": b"%d" % number for number in range(300)},
        **dict.fromkeys(("", " ", "\x00", "\x00\x00", "a/b", "a/", "k0000\x00", "ä", "😀", "￮"), b'"odd"'),
    }

    def fill(self, group: Group) -> None:
        prefix = group.keys.state(P)
        for key, value in self.KEPT.items():
            group.store.transact(Txn((), (Put(prefix + key, value), Put(f"{prefix[:-1]}0/other", b"not ours"))))
        group.store.transact(Txn((), (Put(group.keys.size(P), Size(310, 5_000_000, now()).encode()),)))

    @pytest.mark.parametrize("how", ["acquired", "confirmed"])
    def test_all_of_it_is_read_whatever_the_keys_are(self, group: Group, how: str) -> None:
        """In the order of the keys' bytes."""
        self.fill(group)
        me, dead = group.standby("me"), group.standby("dead")
        if how == "acquired":
            loaded = group.acquire(me)
        else:
            loaded = group.confirm(me, group.take_over(group.own(dead).token, me).revision)
        assert loaded is not None
        assert (loaded.state, loaded.complete) == ({}, False)
        read = group.lock_of(me).read_rest(loaded, lambda: False)
        assert (read.state, read.complete) == (self.KEPT, True)
        assert list(read.state) == sorted(self.KEPT, key=str.encode)

    def test_compactions_while_it_is_read_cost_nothing_but_time(self, group: Group) -> None:
        """As another program may order them at any moment; and we ourselves commit meanwhile."""
        self.fill(group)
        me = group.standby("me")
        loaded = group.own(me)
        revisions: list[int] = []

        def compact() -> bool:
            later = group.store.transact(Txn((), (Put(f"{group.keys.locks}elsewhere", b""),))).revision
            with suppress(Compacted):  # two tests at one etcd
                group.store.compact(later)
            revisions.append(later)
            return False

        read = group.lock_of(me).read_rest(loaded, compact)
        assert (read.state, read.complete) == (self.KEPT, True)
        assert len(revisions) >= 3

    def test_the_first_commit_fits_on_what_was_read(self, group: Group) -> None:
        """The entrance before loading has not moved the offset, nor the token."""
        self.fill(group)
        me = group.standby("me")
        loaded = group.own(me)
        group.lock_of(me).enter(History(loaded.token, "me", "h", 1, Cause.ACQUIRED, now()))
        read = group.lock_of(me).read_rest(loaded, lambda: False)
        commits = group.commits(read)
        commits.attach(*transactions.enter(group.keys, P, History(read.token, "me", "h", 1, Cause.ACQUIRED, now())))
        commits.add(5, {"": None, "k0000": b"7"})
        assert commits.drain(soon())
        expected = {**self.KEPT, "k0000": b"7"}
        del expected[""]
        assert group.state() == expected


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
