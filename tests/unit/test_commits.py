"""Commits under lost answers, late copies and competing owners: never twice, never lost, never of an old owner."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from partition_workers.errors import Lost
from partition_workers.etcd.store import Target, Txn
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import Cause, Lock, Parked, StoredOffset, now
from partition_workers.ownership import transactions
from tests.fakes.bad_line import FATES, KEYS, P, Stage, time_flies

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
