"""Outputs that are promised at least once: acknowledged before the commit, seen again after a death, never lost; and
what becomes of them when the guarantee is changed."""

from __future__ import annotations

import contextlib
from itertools import groupby
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_workers.errors import Lost, PartitionSupervisorError
from partition_workers.handler import Context
from partition_workers.model import AT_LEAST_ONCE, EXACTLY_ONCE
from tests.fakes.kafka import FakeRecord
from tests.fakes.output_broker import FATES
from tests.fakes.outputs import OUT, Owner, Stage, handle
from tests.fakes.record_loop import P


def records(count: int) -> list[FakeRecord]:
    return [FakeRecord(P, number, b"x") for number in range(count)]


def first_seen(stage: Stage) -> list[bytes]:
    """Each output where it was seen first."""
    return list(dict.fromkeys(stage.seen()))


def judge(stage: Stage) -> None:
    """Everything is there, in order for who passes over what he has seen; and the state is exact. No transaction was
    left open, before which readers of what is committed would stand still."""
    offset, state, sent = stage.expected()
    assert first_seen(stage) == sent
    assert stage.stored() == (offset, state)
    assert stage.broker.begun is None


class Silent:
    def produce(self, *_arguments: Any, **_others: Any) -> None: ...


def silently(record: FakeRecord, state: Any) -> None:
    handle(record, state, cast(Context, Silent()))


def act(owner: Owner, what: str) -> None:
    with contextlib.suppress(Lost):
        owner.act(what)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_output_is_lost_whoever_dies_between_two_requests(data: st.DataObject) -> None:
    stage = Stage(records(data.draw(st.integers(1, 12), label="records")))
    for _ in range(data.draw(st.integers(1, 4), label="owners")):
        owner = stage.owner(guarantee=AT_LEAST_ONCE, by_steps=True)
        for _ in range(data.draw(st.integers(0, 14), label="steps")):
            stage.broker.fates.extend(data.draw(st.lists(st.sampled_from(FATES), max_size=1)))
            act(owner, data.draw(st.sampled_from(["turn", "turn", "etcd", "kafka", "lost after", "lost before"])))
            committed = stage.stored()[0]
            assert {b"%d" % number for number in range(committed)} <= set(stage.seen())
    stage.broker.fates.clear()
    stage.owner(guarantee=AT_LEAST_ONCE).run()
    judge(stage)


@pytest.mark.parametrize("guarantees", [
    (EXACTLY_ONCE, AT_LEAST_ONCE), (AT_LEAST_ONCE, EXACTLY_ONCE), (EXACTLY_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE),
])  # fmt: skip
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_guarantee_may_be_changed_at_any_step(guarantees: tuple[str, ...], data: st.DataObject) -> None:
    """Nothing is lost, and the state is exact; the one who is overtaken may still do what it was about to."""
    stage = Stage(records(8))
    stage.broker.fates.extend(data.draw(st.lists(st.sampled_from(FATES), max_size=4), label="fates"))
    for guarantee in guarantees:
        owner = stage.owner(guarantee=guarantee)
        owner.by_steps()
        for _ in range(data.draw(st.integers(0, 20), label=guarantee)):
            act(owner, data.draw(st.sampled_from(["turn", "turn", "etcd", "kafka"])))
    for _ in range(data.draw(st.integers(0, 6), label="zombies")):
        act(data.draw(st.sampled_from(stage.owners)), data.draw(st.sampled_from(["turn", "etcd", "kafka"])))
    stage.owner(guarantee=guarantees[-1]).run()
    judge(stage)


@pytest.mark.parametrize("guarantee", [EXACTLY_ONCE, AT_LEAST_ONCE])
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_first_output_is_added_and_taken_away_again(guarantee: str, data: st.DataObject) -> None:
    """To a group that ran without: what it had handled stays so, and produces nothing afterwards."""
    stage = Stage(records(3), silently)
    stage.owner(outputs=()).run()
    stage.records, stage.handler = records(8), handle
    if guarantee == EXACTLY_ONCE:
        stage.broker.fates.extend(data.draw(st.lists(st.sampled_from(FATES), max_size=3), label="fates"))
    owner = stage.owner(guarantee=guarantee)
    owner.by_steps()
    for _ in range(data.draw(st.integers(0, 24), label="steps")):
        act(owner, data.draw(st.sampled_from(["turn", "turn", "etcd", "kafka"])))
    stage.records, stage.handler = records(10), silently

    stage.owner(outputs=()).run()

    offset, state, sent = stage.expected()
    assert stage.stored() == (offset, state)
    assert stage.broker.begun is None
    assert set(stage.seen()) <= set(sent[3:])
    assert [key for key, _ in groupby(stage.seen())] == stage.seen()


def test_outputs_are_acknowledged_before_the_commit_is_sent() -> None:
    stage = Stage(records(3))
    owner = stage.owner(guarantee=AT_LEAST_ONCE, one_by_one=False)
    owner.line.deliver()
    owner.by_steps()
    for _ in range(5):
        owner.turn()
        while owner.line.deliver():
            pass
    assert stage.stored()[0] == 0
    assert owner.exchange.step()
    owner.turn()
    owner.line.deliver()
    assert stage.stored()[0] == 3


def test_outputs_go_when_the_state_goes_back() -> None:
    """What a handler produced before it raised was not sent."""
    failures = [2, 4]

    def failing(record: FakeRecord, state: Any, context: Any) -> None:
        context.produce(OUT, f"{record.offset()}")
        if record.offset() in failures:
            failures.remove(record.offset())
            raise ValueError("once")

    stage = Stage(records(6), failing)
    owner = stage.owner(interval=0.1, guarantee=AT_LEAST_ONCE)
    assert owner.loop is not None
    owner.loop._one_by_one._max_retries = 2
    owner.run()
    assert stage.seen() == [b"%d" % number for number in range(6)]


def test_a_hand_over_sends_what_is_left_first() -> None:
    stage = Stage(records(5))
    owner = stage.owner(interval=3600.0, one_by_one=False, guarantee=AT_LEAST_ONCE)
    assert owner.loop is not None
    assert owner.commits is not None
    owner.turn()
    owner.loop.finish()
    assert owner.commits.drain(stage.clock() + 100.0)
    judge(stage)
    assert len(stage.seen()) == 5


def test_a_record_that_the_broker_does_not_take_is_its_handlers_error() -> None:
    def large(record: FakeRecord, state: Any, context: Any) -> None:
        context.produce(OUT, b"x" * (1000 if record.offset() == 3 else 10))
        state["n"] = state.get("n", 0) + 1

    stage = Stage(records(6), large)
    stage.broker.largest = 500
    owner = stage.owner(one_by_one=False, guarantee=AT_LEAST_ONCE)
    assert owner.commits is not None
    with pytest.raises(PartitionSupervisorError, match="larger than out takes"):
        owner.run()
    assert owner.commits.drain(stage.clock() + 10.0)
    assert stage.stored() == (3, {"n": 3})


def test_a_topic_that_must_not_be_written_to_parks() -> None:
    stage = Stage(records(6))
    stage.broker.refusal = "Topic authorization failed"
    owner = stage.owner(interval=0.1, guarantee=AT_LEAST_ONCE)
    assert owner.commits is not None
    assert owner.loop is not None
    with pytest.raises(PartitionSupervisorError, match="Topic authorization failed"):
        owner.run()
    owner.loop.finish()
    assert owner.commits.drain(stage.clock() + 10.0)
    assert stage.stored()[0] == 0
