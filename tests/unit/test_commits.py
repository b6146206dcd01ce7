"""Commits under lost answers, late copies and competing owners: never twice, never lost, never of an old owner."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from partition_workers import commits as commits_module
from partition_workers.commits import Changes, Commits
from partition_workers.errors import Bug, LeaseGone, Lost, NoSpace, Refused, StateTooLarge, Unavailable
from partition_workers.etcd.store import Delete, Get, KeyValue, Operation, Put, Store, Target, Txn, TxnResult
from partition_workers.layout.documents import Cause, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
FATES = ["answered", "lost before", "lost after", "late copy"]


class Wire(FakeEtcd):
    """An etcd at the far end of a bad line. Requests wait until they are delivered, and each has a fate:

    answered; lost before it got there; done, and its answer lost; or reported as lost, and done much later.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.waiting: deque[tuple[Txn, Future[TxnResult]]] = deque()
        self.late: deque[Txn] = deque()
        self.fates: deque[str] = deque()
        self.auto = False
        self.landed: list[StoredOffset] = []

    def transact(self, txn: Txn) -> TxnResult:
        result = super().transact(txn)
        if result.succeeded:
            self.landed += [
                StoredOffset.decode(each.value)
                for each in txn.success
                if isinstance(each, Put) and each.key == KEYS.offset(P)
            ]
        return result

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()
        self.waiting.append((txn, promise))
        if self.auto:
            self.deliver(self.fates.popleft() if self.fates else "answered")
        return promise

    def deliver(self, fate: str) -> None:
        if not self.waiting:
            return
        txn, promise = self.waiting.popleft()
        if fate == "lost before":
            promise.set_exception(Unavailable("lost before"))
        elif fate == "late copy":
            self.late.append(txn)
            promise.set_exception(Unavailable("it is late"))
        else:
            try:
                result = self.transact(txn)
            except (LeaseGone, Refused) as error:
                promise.set_exception(error)
                return
            if fate == "lost after":
                promise.set_exception(Unavailable("lost after"))
            else:
                promise.set_result(result)

    def land(self) -> None:
        """The oldest late copy arrives."""
        if self.late:
            self.transact(self.late.popleft())


class Stage:
    """An owner, `me`, with its commits on such a line, and what the store holds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Wire(self.clock)
        self.me = self.standby("me")
        lock = Lock.naming(self.me, Cause.ACQUIRED)
        self.token = self.store.transact(transactions.acquire(KEYS, P, lock)).revision
        self.commits = self.commits_under(self.token, 0, 0)

    def commits_under(self, token: int, offset: int, seen: int) -> Commits:
        return Commits(self.store, KEYS, P, token, "topic-id", offset, seen, self.clock)

    def standby(self, name: str) -> Standby:
        return Standby(name, f"host-of-{name}", 1, f"{self.store.grant(3600).lease:x}", now())

    def offset(self) -> StoredOffset | None:
        found = self.store.get(KEYS.offset(P))
        return StoredOffset.decode(found.value) if found else None

    def state(self) -> dict[str, bytes]:
        prefix = KEYS.state(P)
        return {each.key.removeprefix(prefix): each.value for each in self.store.list(prefix).items}

    def lock(self) -> KeyValue | None:
        return self.store.get(KEYS.lock(P))

    def owner(self) -> str | None:
        held = self.lock()
        return Lock.decode(held.value).worker if held else None

    def give_to(self, successor: Standby) -> tuple[Operation, ...]:
        return transactions.give_to(KEYS, P, Lock.naming(successor, Cause.HANDED_OVER))

    def until(self) -> float:
        return self.clock() + 1000.0


@contextmanager
def time_flies(clock: FakeClock) -> Iterator[None]:
    """Whoever sleeps moves the clock instead."""
    with mock.patch.object(
        commits_module, "time", mock.Mock(sleep=lambda seconds: clock.advance(max(seconds, 0.001)))
    ):
        yield


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.store.auto = True
    with time_flies(made.clock):
        yield made


# --- any sequence of events --------------------------------------------------------------------------------------


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("cut"),
            st.integers(1, 3),
            st.dictionaries(st.sampled_from("abcd"), st.none() | st.binary(min_size=1, max_size=3), max_size=3),
        ),
        st.tuples(st.just("send")),
        st.tuples(st.just("pump")),
        st.tuples(st.just("deliver"), st.sampled_from(FATES)),
        st.tuples(st.just("land")),
        st.tuples(st.just("wait")),
        st.tuples(st.just("take over"), st.booleans()),
    ),
    max_size=40,
)
_send, _pump, _ok = ("send",), ("pump",), ("deliver", "answered")
AFTER_A_TAKEOVER = [
    ("cut", 1, {"a": b"1"}), _send, _ok, _pump, ("cut", 1, {"a": b"2"}), ("take over", True), _send, _ok, _pump,
]  # fmt: skip
LATE_COPY = [
    ("cut", 1, {"a": b"1"}), _send, ("deliver", "late copy"), _pump, ("wait",), _pump, _ok, _pump,
    ("cut", 1, {"a": b"2"}), _send, _ok, _pump, ("land",),
]  # fmt: skip


def play(steps: list[Any]) -> None:
    """Do the steps, and look after each of them that the store shows exactly what it should."""
    with a_stage() as stage:
        Play(stage).all_of(steps)


@contextmanager
def a_stage() -> Iterator[Stage]:
    stage = Stage()
    with time_flies(stage.clock):
        yield stage


class Play:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.model: dict[str, bytes] = {}
        self.at = 0
        self.snapshots: dict[int, dict[str, bytes]] = {0: {}}
        self.frozen: tuple[StoredOffset | None, dict[str, bytes]] | None = None
        self.lost = False

    def all_of(self, steps: list[Any]) -> None:
        for step in steps:
            try:
                self.do(*step)
            except Lost:
                assert self.frozen is not None, "lost, though nobody took it"
                self.lost = True
            self.look()
            if self.lost:
                break
        self.finish()

    def do(self, what: str, *how: Any) -> None:
        stage = self.stage
        match what:
            case "cut":
                self.cut(*how)
            case "send":
                stage.commits.send()
            case "pump":
                stage.commits.pump()
            case "deliver":
                stage.store.deliver(*how)
            case "land":
                stage.store.land()
            case "wait":
                stage.clock.advance(0.7)
            case "take over":
                self.take_over(*how)

    def cut(self, records: int, wanted: Mapping[str, bytes | None]) -> None:
        changes: Changes = {key: each for key, each in wanted.items() if each is not None or key in self.model}
        self.at += records
        self.stage.commits.add(self.at, changes)
        for key, each in changes.items():
            if each is None:
                del self.model[key]
            else:
                self.model[key] = each
        self.snapshots[self.at] = dict(self.model)

    def take_over(self, by_somebody: bool) -> None:
        if self.frozen is not None:
            return
        successor = Lock.naming(self.stage.standby("heir"), Cause.TAKEN_OVER) if by_somebody else None
        done = self.stage.store.transact(transactions.take_over(KEYS, P, self.stage.token, successor))
        assert done.succeeded
        assert done.revision > self.stage.token
        self.frozen = self.stage.offset(), self.stage.state()

    def look(self) -> None:
        offset, state = self.stage.offset(), self.stage.state()
        if self.frozen is not None:
            assert (offset, state) == self.frozen, "something of the old owner landed after the takeover"
        number = offset.offset if offset else 0
        assert number in self.snapshots, "an offset that is no cut"
        assert state == self.snapshots[number], "state and offset do not agree"
        landed = self.stage.store.landed
        assert [each.sequence for each in landed] == list(range(1, len(landed) + 1)), "twice, or out of order"
        assert all(a.offset <= b.offset for a, b in itertools.pairwise(landed)), "the offset went back"
        assert self.stage.commits.committed <= number, "told as committed what is not stored"
        assert self.stage.commits.committed in {0, *(each.offset for each in landed)}

    def finish(self) -> None:
        """Now all answers come: everything that was cut is stored, or the owner knows that it has lost."""
        stage = self.stage
        while stage.store.late:
            stage.store.land()
            self.look()
        stage.store.auto = True
        while stage.store.waiting:
            stage.store.deliver("answered")
        if self.lost:
            return
        try:
            assert stage.commits.drain(stage.until())
        except Lost:
            assert self.frozen is not None, "lost, though nobody took it"
        else:
            assert stage.commits.idle
            assert stage.commits.committed == self.at
            number = stage.offset()
            assert (number.offset if number else 0) == self.at
            assert stage.state() == self.model
        self.look()


QUICK = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(STEPS)
@example(AFTER_A_TAKEOVER)
@example(LATE_COPY)
def test_state_and_offset_are_exactly_the_cuts_whatever_gets_lost(steps: list[Any]) -> None:
    """After any sequence of cuts, sends, lost answers, late copies and a takeover the store holds one of the cuts."""
    play(steps)


@settings(max_examples=150, deadline=None)
@given(
    cuts=st.lists(st.dictionaries(st.sampled_from("ab"), st.binary(min_size=1, max_size=2)), max_size=4),
    fates=st.lists(st.sampled_from(FATES), max_size=6),
    end=st.sampled_from(["give", "release", "park", "none"]),
)
def test_the_last_commit_is_done_once_and_in_full_whatever_gets_lost(
    cuts: list[dict[str, bytes]], fates: list[str], end: str
) -> None:
    """Hand-over, release and parking come with the last state and offset, and late copies of them change nothing."""
    with a_stage() as stage:
        stage.store.auto = True
        stage.store.fates.extend(fates)
        model: dict[str, bytes] = {}
        for number, cut in enumerate(cuts, start=1):
            stage.commits.add(number, dict(cut))
            stage.commits.send()
            stage.commits.pump()
            model |= cut
        successor = stage.standby("heir")
        last_word = {
            "give": stage.give_to(successor),
            "release": transactions.let_go(KEYS, P),
            "park": transactions.park(KEYS, P, Parked(len(cuts), "why", "here", now())),
            "none": (),
        }[end]
        assert stage.commits.drain(stage.until(), last_word)
        after = stage.lock()
        while stage.store.late:
            stage.store.land()
        assert stage.lock() == after
        assert stage.owner() == {"give": "heir", "none": "me"}.get(end)
        assert (stage.store.get(KEYS.parked(P)) is not None) == (end == "park")
        assert stage.state() == model
        assert stage.commits.committed == len(cuts)
        offset = stage.offset()
        if cuts or last_word:
            assert offset is not None
            assert (offset.offset, offset.token) == (len(cuts), stage.token)
        sequences = [each.sequence for each in stage.store.landed]
        assert sequences == list(range(1, len(sequences) + 1))


class TestTheTestsThemselves:
    """A promise that is broken on purpose has to be noticed by the play above."""

    @staticmethod
    def broken(target: Target) -> Callable[..., Txn]:
        def commit(*arguments: Any) -> Txn:
            txn = transactions_commit(*arguments)
            key = KEYS.lock(P) if target is Target.VERSION else KEYS.offset(P)
            return Txn(tuple(each for each in txn.compare if each.key != key), txn.success, txn.failure)

        return commit

    @pytest.mark.parametrize(
        ("target", "steps"),
        [(Target.VERSION, AFTER_A_TAKEOVER), (Target.MOD_REVISION, LATE_COPY)],
        ids=["without the token", "without the offset"],
    )
    def test_a_commit_without_one_of_its_comparisons_is_noticed(
        self, target: Target, steps: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The play that is meant for it fails, and so does a search that knows nothing of it."""
        play(steps)
        monkeypatch.setattr(transactions, "commit", self.broken(target))
        with pytest.raises(AssertionError):
            play(steps)
        search = settings(
            max_examples=3000, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
            report_multiple_bugs=False,
        )(given(STEPS)(play))  # fmt: skip
        with pytest.raises(AssertionError):
            search()


transactions_commit = transactions.commit


# --- one thing at a time -----------------------------------------------------------------------------------------


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
        assert (found.version, StoredOffset.decode(found.value).sequence, commits.count) == (2, 2, 2)

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
        assert stage.commits.count == 2

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
        many: Changes = {f"k{n}": b"1" for n in range(transactions.MAX_STATE_KEYS + 1)}
        with pytest.raises(StateTooLarge, match="101 state keys"):
            stage.commits.add(2, many)
        assert stage.commits.drain(stage.until())
        assert (stage.commits.committed, stage.state()) == (1, {"a": b"1"})

    def test_more_bytes_than_a_transaction_holds_are_refused(self, stage: Stage) -> None:
        """One mebibyte of state at most."""
        with pytest.raises(StateTooLarge):
            stage.commits.add(1, {"a": b"x" * transactions.MAX_STATE_BYTES})

    def test_a_cut_without_room_beside_those_that_wait_is_a_bug(self, stage: Stage) -> None:
        """Whoever cuts asks for room first."""
        stage.store.auto = False
        some: Changes = {f"k{n}": b"1" for n in range(60)}
        more: Changes = {f"m{n}": b"1" for n in range(60)}
        stage.commits.add(1, some)
        assert not stage.commits.has_room_for(more)
        assert stage.commits.has_room_for(some)
        with pytest.raises(Bug):
            stage.commits.add(2, more)

    def test_what_has_room_is_taken_by_etcd(self, stage: Stage) -> None:
        """Long keys count with their bytes, not with their characters."""
        changes: Changes = {f"{n}-" + "ü" * 9_000: b"1" for n in range(100)}
        if stage.commits.has_room_for(changes):
            stage.commits.add(1, changes)
            assert stage.commits.drain(stage.until())
            assert stage.commits.committed == 1


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
