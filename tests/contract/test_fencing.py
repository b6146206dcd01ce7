"""How a partition changes hands, and who is refused then, on etcd and on the fake of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from partition_workers.errors import LeaseGone, Lost
from partition_workers.layout.documents import Cause, Lock, Parked, Standby, StoredOffset, now
from partition_workers.ownership import transactions
from partition_workers.ownership.transactions import Verdict
from tests.contract.group import Group, P, soon


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
