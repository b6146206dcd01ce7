"""How an ownership ends while what waits for its last commit cannot be committed: nothing is said of an offset that
is not the stored one, and whoever comes next finds the right record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_workers.errors import HandlerFailed, LeaseGone, Lost
from partition_workers.layout.documents import Ending, Standby, now
from partition_workers.model import AT_LEAST_ONCE, EXACTLY_ONCE
from tests.fakes.kafka import FakeRecord
from tests.fakes.output_broker import FATES
from tests.fakes.outputs import Owner, Stage, handle, last_commit, sent_ahead_from, time_flies
from tests.fakes.record_loop import KEYS, P

BAD = 12


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Two outputs are many."""
    with sent_ahead_from(2):
        yield


def failing(record: FakeRecord, state: Any, context: Any) -> None:
    if record.offset() == BAD:
        raise ValueError("bad")
    handle(record, state, context)


def stage_of(count: int = 20, handler: Any = failing) -> Stage:
    return Stage([FakeRecord(P, number, b"x") for number in range(count)], handler)


def work(owner: Owner) -> str:
    """Until the handler has given up. What is prepared then waits for Kafka."""
    for _ in range(1000):
        try:
            owner.turn()
        except HandlerFailed as failed:
            return str(failed)
    raise AssertionError("it has not given up")


def with_outputs_ahead(stage: Stage, fates: list[str], interval: float = 1.0) -> Owner:
    owner = stage.owner(interval=interval)
    stage.broker.fates.extend(["committed", *fates])  # the empty step first
    return owner


def judge_the_end(stage: Stage) -> None:
    stored, parked, last = stage.stored()[0], stage.parked(), stage.history()[-1]
    assert parked in (None, stored)
    assert last.to_offset == stored
    assert (last.ending == Ending.PARKED) == (parked is not None)
    assert stage.store.get(KEYS.lock(P)) is None


def test_a_partition_is_parked_right_before_the_record_that_cannot_be_handled() -> None:
    stage = stage_of()
    owner = with_outputs_ahead(stage, [])

    reason = work(owner)

    assert last_commit(owner).park(reason, stage.clock() + 60.0) == BAD
    assert stage.parked() == stage.stored()[0] == BAD
    judge_the_end(stage)


def test_where_what_came_before_is_lost_it_is_not_parked_and_the_next_owner_parks_it() -> None:
    """Parked at an earlier record, `offsets reset --shift-by 1` would pass over that one."""
    stage = stage_of()
    owner = with_outputs_ahead(stage, ["aborted"] * 3)
    reason = work(owner)
    assert stage.broker.sent_ahead

    with pytest.raises(Lost, match=r"not parked at offset 12.*bad"):
        last_commit(owner).park(reason, stage.clock() + 60.0)

    assert stage.parked() is None
    assert stage.stored()[0] == 0
    judge_the_end(stage)
    stage.broker.fates.clear()
    stage.token = None
    successor = stage.owner()
    last_commit(successor).park(work(successor), stage.clock() + 60.0)
    assert stage.parked() == stage.stored()[0] == BAD
    assert stage.seen() == [b"%d" % number for number in range(BAD)]
    judge_the_end(stage)


@pytest.mark.parametrize("guarantee", [EXACTLY_ONCE, AT_LEAST_ONCE])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_becomes_of_its_transactions_it_is_parked_where_it_says_or_not_at_all(
    guarantee: str, data: st.DataObject
) -> None:
    stage = stage_of()
    stage.broker.fates.extend(data.draw(st.lists(st.sampled_from(FATES), max_size=6), label="fates"))
    interval = data.draw(st.sampled_from([0.01, 0.1, 1.0]), label="interval")
    owner = stage.owner(interval=interval, guarantee=guarantee)
    reason = work(owner)
    try:
        with time_flies(stage.clock):
            last_commit(owner).park(reason, stage.clock() + 600.0)
    except Lost:
        assert stage.parked() is None
    else:
        assert stage.parked() == BAD
    judge_the_end(stage)


@pytest.mark.parametrize("is_named", [True, False])
def test_who_leaves_while_it_is_lost_says_the_offset_that_is_stored(is_named: bool) -> None:
    """To its successor, who reads from there, and in the history."""
    stage = stage_of(handler=handle)
    owner = with_outputs_ahead(stage, ["aborted"] * 3)
    assert owner.loop is not None
    while not stage.broker.sent_ahead:
        owner.turn()
    owner.loop.finish()
    until = stage.clock() + 60.0
    if is_named:
        heir = Standby("heir", "there", 1, f"{stage.store.grant(3600).lease:x}", now())
        gone = Standby("gone", "there", 1, "7b", now())
        with pytest.raises(LeaseGone):
            last_commit(owner).hand_over(gone, until)
        assert last_commit(owner).hand_over(heir, until)
    else:
        last_commit(owner).let_go(until)

    last = stage.history()[-1]
    assert (last.ending, last.to_offset) == (Ending.HANDED_OVER if is_named else Ending.STOPPED, 0)
    assert stage.stored()[0] == 0
