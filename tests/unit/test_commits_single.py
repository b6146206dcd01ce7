"""Commits, one thing at a time: unknown outcomes, limits, what is attached, and the end of an ownership."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from partition_workers.commits import Commits
from partition_workers.errors import (
    Bug,
    LeaseGone,
    Lost,
    NoSpace,
    Refused,
    RequestTooLarge,
    StateTooLarge,
    Unavailable,
)
from partition_workers.etcd.store import Delete, Get, KeyValue, Put, Store, Txn
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import Cause, Lock, Standby, StoredOffset, now
from partition_workers.ownership import transactions
from tests.fakes.bad_line import KEYS, P, Stage, time_flies
from tests.fakes.etcd import FakeEtcd


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.store.auto = True
    with time_flies(made.clock):
        yield made


class TestUnknownOutcome:
    @pytest.mark.parametrize("applied", [True, False])
    @pytest.mark.parametrize("error", [Unavailable("?"), NoSpace("full")])
    def test_a_commit_whose_answer_is_lost_is_sent_again_as_it_was(
        self, stage: Stage, applied: bool, error: Exception
    ) -> None:
        """Done or not, it lands once, under the sequence it had."""
        store = FakeEtcd(stage.clock)
        me = Standby("me", "here", 1, f"{store.grant(3600).lease:x}", now())
        token = store.transact(transactions.acquire(KEYS, P, Lock.naming(me, Cause.ACQUIRED))).revision
        commits = Commits(store, KEYS, P, token, "topic-id", 0, 0, stage.clock)
        commits.add(5, {"a": b"1"})
        store.fail_next(cast(Any, error), applied=applied)
        store.fail_next(applied=False)
        assert commits.drain(stage.until())
        commits.add(6, {"a": b"2"})
        assert commits.drain(stage.until())
        found = store.get(KEYS.offset(P))
        assert found is not None
        assert (found.version, StoredOffset.decode(found.value).sequence, commits.times.count) == (2, 2, 2)

    def test_it_is_not_sent_again_before_its_delay(self, stage: Stage) -> None:
        """A store in trouble is not beaten by every turn of the loop."""
        stage.store.auto = False
        stage.commits.add(1, {})
        stage.commits.send()
        stage.store.deliver("lost before")
        stage.commits.pump()
        stage.commits.pump()
        assert not stage.store.waiting
        stage.clock.advance(1.0)
        stage.commits.pump()
        assert len(stage.store.waiting) == 1

    def test_a_wait_ends_at_its_time(self, stage: Stage) -> None:
        """False is told when etcd has not answered by then, and nothing is forgotten."""
        stage.store.fates.extend(["lost before"] * 50)
        stage.commits.add(1, {"a": b"1"})
        assert not stage.commits.drain(stage.clock() + 2.0)
        assert stage.commits.in_flight
        stage.store.fates.clear()
        assert stage.commits.drain(stage.until())
        assert stage.state() == {"a": b"1"}


class TestOneInFlight:
    def test_cuts_that_are_made_meanwhile_go_together(self, stage: Stage) -> None:
        """The second transaction holds all that was cut while the first was under way, the later value of each."""
        stage.store.auto = False
        stage.commits.add(1, {"a": b"1"})
        stage.commits.send()
        for number in (2, 3):
            stage.commits.add(number, {"a": b"%d" % number, f"k{number}": b"x"})
            stage.commits.send()
        assert len(stage.store.waiting) == 1
        stage.store.deliver("answered")
        stage.commits.pump()
        assert stage.commits.committed == 1
        stage.commits.send()
        stage.store.deliver("answered")
        stage.commits.pump()
        assert stage.commits.committed == 3
        assert stage.state() == {"a": b"3", "k2": b"x", "k3": b"x"}
        assert stage.commits.times.count == 2

    def test_nothing_is_sent_when_there_is_nothing_to_say(self, stage: Stage) -> None:
        """An idle partition costs no transaction."""
        stage.commits.send()
        assert stage.commits.drain(stage.until())
        assert stage.offset() is None
        assert stage.commits.idle

    def test_a_key_deleted_after_it_was_put_is_gone(self, stage: Stage) -> None:
        """Of two changes to one key in one transaction the later counts."""
        stage.commits.add(1, {"a": b"1", "b": b"1"})
        stage.commits.add(2, {"a": None})
        assert stage.commits.drain(stage.until())
        assert stage.state() == {"b": b"1"}


class TestLimits:
    def test_more_keys_than_a_transaction_holds_are_refused(self, stage: Stage) -> None:
        """The error says how many there were; what was cut before is still committed."""
        stage.commits.add(1, {"a": b"1"})
        assert stage.commits.drain(stage.until())
        many: Changes = {f"k{n}": b"1" for n in range(transactions.MAX_CHANGED_KEYS + 1)}
        with pytest.raises(StateTooLarge, match="40001 state keys"):
            stage.commits.add(2, many)
        assert stage.commits.drain(stage.until())
        assert (stage.commits.committed, stage.state()) == (1, {"a": b"1"})

    def test_more_bytes_than_a_transaction_holds_are_refused(self, stage: Stage) -> None:
        """One mebibyte of state at most."""
        with pytest.raises(StateTooLarge):
            stage.commits.add(1, {"a": b"x" * transactions.MAX_STATE_BYTES})

    def test_a_cut_without_room_beside_those_that_wait_is_not_taken(self, stage: Stage) -> None:
        """Whoever cuts sends first what waits. Several records get half of what one may change."""
        stage.store.auto = False
        some: Changes = {f"k{n}": b"1" for n in range(12_000)}
        more: Changes = {f"m{n}": b"1" for n in range(12_000)}
        assert stage.commits.add(1, some)
        assert not stage.commits.add(2, more)
        assert stage.commits.offset == 1
        assert stage.commits.add(2, some)
        stage.commits.send()
        assert stage.commits.add(3, more)

    def test_a_value_that_changes_again_and_again_takes_room_once(self, stage: Stage) -> None:
        """What counts is what the next transaction holds."""
        stage.store.auto = False
        for number in range(1, 50):
            assert stage.commits.add(number, {"a": b"%d" % number * 50_000})

    def test_what_is_refused_as_too_large_lowers_the_limits(self, stage: Stage) -> None:
        """Everything since the last commit is dropped; what was attached is not."""
        stage.commits.add(1, {"a": b"1"})
        assert stage.commits.drain(stage.until())
        stage.store.max_request_bytes = 100_000
        stage.commits.attach(Put(KEYS.attempt(P), b"attached"))
        stage.commits.add(2, {"a": b"x" * 200_000})
        with pytest.raises(RequestTooLarge):
            stage.commits.drain(stage.until())
        assert (stage.commits.offset, stage.commits.committed, stage.commits.in_flight) == (1, 1, False)
        assert stage.commits.stored_state() == {"a": b"1"}
        with pytest.raises(StateTooLarge, match=r"request is too large"):
            stage.commits.add(2, {"a": b"x" * 200_000})
        stage.commits.add(2, {"a": b"x" * 70_000})
        assert stage.commits.drain(stage.until())
        assert stage.store.get(KEYS.attempt(P)) is not None

    def test_a_refusal_of_nothing_but_the_offset_ends_it(self, stage: Stage) -> None:
        """There is nothing that could be made smaller."""
        stage.store.max_request_bytes = 10
        stage.commits.add(1, {})
        with pytest.raises(Refused, match="too large") as caught:
            stage.commits.drain(stage.until())
        assert not isinstance(caught.value, RequestTooLarge)

    def test_what_has_room_is_taken_by_etcd(self, stage: Stage) -> None:
        """Long keys count with their bytes, not with their characters."""
        changes: Changes = {f"{n}-" + "ü" * 9_000: b"1" for n in range(57)}
        assert stage.commits.add(1, changes)
        assert stage.commits.drain(stage.until())
        assert stage.commits.committed == 1
        with pytest.raises(StateTooLarge):
            stage.commits.add(2, {f"{n}-" + "ü" * 9_000: b"1" for n in range(59)})


class TestLeaseGone:
    def test_everything_is_undone_and_can_be_released(self, stage: Stage) -> None:
        """State and offset of the refused hand-over go with the release."""
        gone = stage.standby("gone")
        stage.store.revoke(gone.lease_id)
        stage.commits.add(5, {"a": b"5"})
        with pytest.raises(LeaseGone):
            stage.commits.drain(stage.until(), stage.give_to(gone))
        assert (stage.owner(), stage.offset(), stage.state()) == ("me", None, {})
        assert stage.commits.drain(stage.until(), transactions.let_go(KEYS, P))
        assert (stage.owner(), stage.state(), stage.commits.committed) == (None, {"a": b"5"}, 5)

    def test_a_hand_over_whose_answer_was_lost_before_the_lease_went_is_still_done(self, stage: Stage) -> None:
        """It is asked again, and the offset in the answer shows that it had landed."""
        successor = stage.standby("heir")
        stage.commits.add(5, {"a": b"5"})
        stage.store.auto = False
        stage.commits._launch(stage.commits._next(stage.give_to(successor)))
        stage.store.deliver("lost after")
        stage.store.revoke(successor.lease_id)
        stage.store.auto = True
        assert stage.commits.drain(stage.until())
        assert (stage.owner(), stage.state()) == (None, {"a": b"5"})

    def test_what_was_attached_before_is_not_forgotten(self, stage: Stage) -> None:
        """Operations that were to go with the refused transaction go with the next; the last word does not."""
        gone = stage.standby("gone")
        stage.store.revoke(gone.lease_id)
        stage.commits.attach(Put(KEYS.attempt(P), b"attached"))
        with pytest.raises(LeaseGone):
            stage.commits.drain(stage.until(), stage.give_to(gone))
        assert stage.commits.drain(stage.until(), transactions.let_go(KEYS, P))
        found = stage.store.get(KEYS.attempt(P))
        assert found is not None
        assert found.value == b"attached"
        assert stage.owner() is None


class TestAttached:
    def test_what_is_attached_goes_with_the_next_commit_once(self, stage: Stage) -> None:
        """Of two operations on one key the later counts, and nothing is written twice."""
        key = KEYS.history(P, stage.token)
        stage.commits.attach(Put(key, b"1"))
        stage.commits.attach(Put(key, b"2"))
        assert stage.commits.drain(stage.until())
        stage.commits.add(1, {})
        assert stage.commits.drain(stage.until())
        found = stage.store.get(key)
        assert found is not None
        assert (found.value, found.version) == (b"2", 1)

    def test_what_a_read_finds_is_told(self, stage: Stage) -> None:
        """A Get that was attached is answered to on_found, and what that attaches goes with the commit after."""
        told: list[tuple[KeyValue, ...]] = []
        key = KEYS.history(P, 1)
        stage.store.transact(Txn((), (Put(key, b"old"),)))

        def found(items: tuple[KeyValue, ...]) -> None:
            told.append(items)
            stage.commits.attach(Delete(key))

        stage.commits.on_found = found
        stage.commits.attach(Get(KEYS.histories(P), prefix=True))
        stage.commits.send()
        stage.commits.pump()
        assert [[each.value for each in items] for items in told] == [[b"old"]]
        assert stage.commits.drain(stage.until())
        assert stage.store.get(key) is None


class TestLost:
    def test_a_commit_after_a_takeover_is_lost_for_good(self, stage: Stage) -> None:
        """Asked again, the answer is the same, and never another transaction."""
        stage.store.transact(transactions.take_over(KEYS, P, stage.token, None))
        stage.commits.add(1, {"a": b"1"})
        with pytest.raises(Lost, match=str(stage.token)):
            stage.commits.drain(stage.until())
        with pytest.raises(Lost):
            stage.commits.drain(stage.until())
        assert (stage.offset(), stage.state()) == (None, {})

    def test_a_store_that_contradicts_itself_is_a_bug(self, stage: Stage) -> None:
        """The lock is ours, and the offset was written by somebody else: stop loudly."""
        store = cast(Store, stage.store)
        alien = StoredOffset(99, 1, 1, "topic-id", now())
        store.transact(Txn((), (Put(KEYS.offset(P), alien.encode()),)))
        stage.commits.add(1, {})
        with pytest.raises(Bug):
            stage.commits.drain(stage.until())

    def test_a_second_owner_goes_on_from_what_it_has_loaded(self, stage: Stage) -> None:
        """Its first commit compares the revision of the offset that it found."""
        stage.commits.add(5, {"a": b"1"})
        assert stage.commits.drain(stage.until(), stage.give_to(stage.standby("heir")))
        held, found = stage.lock(), stage.store.get(KEYS.offset(P))
        assert held is not None
        assert found is not None
        successor = stage.commits_under(held.mod_revision, 5, found.mod_revision)
        successor.add(6, {"a": b"2"})
        assert successor.drain(stage.until())
        offset = stage.offset()
        assert offset is not None
        assert (offset.offset, offset.token, offset.sequence) == (6, held.mod_revision, 1)
