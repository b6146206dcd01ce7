"""Outputs that Kafka does not take, and never will: the error of the record that produced them, if that is known;
else a person has to look. And what an operator sees of it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from partition_workers import producing_commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, OutputInvalid, PartitionRefused
from partition_workers.model import AT_LEAST_ONCE, EXACTLY_ONCE
from partition_workers.outputs.ahead import MANY
from partition_workers.outputs.buffer import Output
from tests.fakes.kafka import FakeRecord
from tests.fakes.outputs import Owner, Stage, sent_ahead_from
from tests.fakes.record_loop import P

WHY = "Broker: Broker failed to validate record"
BAD = 7
GUARANTEES = [EXACTLY_ONCE, AT_LEAST_ONCE]


@pytest.fixture(params=[MANY[0], 1, 3], autouse=True)
def ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    with sent_ahead_from(request.param):
        yield


def produce(record: FakeRecord, state: Any, context: Any) -> None:
    """In the compacted topic `out` a record without a key is refused."""
    context.produce("out", f"{record.offset()}", key=None if record.offset() == BAD else "k")
    state["n"] = state.get("n", 0) + 1


def stage_of(handler: Any = produce, records: int = 20) -> Stage:
    stage = Stage([FakeRecord(P, number, b"x") for number in range(records)], handler)
    stage.broker.wrong = lambda output: WHY if output.topic == "out" and output.key is None else None
    return stage


def owner_of(stage: Stage, guarantee: str, on_error: str = "stop", retries: int = 0, interval: float = 0.1) -> Owner:
    owner = stage.owner(interval=interval, one_by_one=False, guarantee=guarantee, outputs=("out", "aside"))
    assert owner.loop is not None
    owner.loop._one_by_one._error_policy = ErrorPolicy(on_error, None, {})
    owner.loop._one_by_one._max_retries = retries
    return owner


def first_seen(stage: Stage) -> list[int]:
    return [int(each) for each in dict.fromkeys(stage.seen())]


def finish(stage: Stage, owner: Owner) -> None:
    assert owner.commits is not None
    assert owner.commits.drain(stage.clock() + 60.0)


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("says_which", [True, False])
def test_the_record_that_produced_what_is_refused_has_an_error(guarantee: str, says_which: bool) -> None:
    """Everything before it is committed. At least once, the good ones beside it are not sent without end."""
    stage = stage_of()
    stage.broker.says_which = says_which
    owner = owner_of(stage, guarantee)

    with pytest.raises(HandlerFailed, match=rf"out did not take .*{WHY}.* offset {BAD}"):
        owner.run()
    finish(stage, owner)

    assert stage.stored() == (BAD, {"n": BAD})
    assert [each for each in first_seen(stage) if each < BAD] == list(range(BAD))
    if guarantee == EXACTLY_ONCE:
        assert stage.seen() == [b"%d" % number for number in range(BAD)]
    assert len(stage.seen()) < 100


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("says_which", [True, False])
def test_it_is_passed_over_where_errors_are(guarantee: str, says_which: bool) -> None:
    """And no other."""
    stage = stage_of()
    stage.broker.says_which = says_which
    owner = owner_of(stage, guarantee, "skip")

    owner.run()

    assert stage.stored() == (20, {"n": 19})
    assert sorted(first_seen(stage)) == [number for number in range(20) if number != BAD]
    assert owner.loop is not None
    assert owner.loop.counts.skipped == 1


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_what_it_produces_need_not_be_the_same_each_time(guarantee: str) -> None:
    numbers = count()

    def anew(record: FakeRecord, state: Any, context: Any) -> None:
        key = None if record.offset() in (3, BAD, 8) else "k"
        context.produce("out", f"{record.offset()} {next(numbers)}", key=key)

    stage = stage_of(anew)
    owner = owner_of(stage, guarantee, "skip", retries=2)

    owner.run()

    assert stage.stored()[0] == 20
    seen = list(dict.fromkeys(int(each.split()[0]) for each in stage.seen()))
    assert sorted(seen) == [number for number in range(20) if number not in (3, BAD, 8)]
    assert owner.loop is not None
    assert owner.loop.counts.skipped == 3
    assert owner.loop.counts.retries == 6


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_handler_may_do_something_else_with_it(guarantee: str) -> None:
    def aside(record: FakeRecord, state: Any, context: Any) -> None:
        try:
            produce(record, state, context)
        except OutputInvalid:
            context.produce("aside", f"{record.offset()}")

    stage = stage_of(aside)
    owner_of(stage, guarantee).run()

    assert [each for each in stage.broker.visible if each.topic == "aside"] == [Output("aside", b"7", None)]
    assert sorted(first_seen(stage)) == list(range(20))


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_what_is_refused_again_and_again_for_no_record_parks(guarantee: str) -> None:
    stage = stage_of()
    stage.broker.lasting = "Broker: Unsupported compression type"
    owner = owner_of(stage, guarantee)

    with pytest.raises(PartitionRefused, match="Unsupported compression type"):
        owner.run()
    finish(stage, owner)

    assert stage.stored()[0] == 0
    assert stage.clock() < 60.0


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_while_kafka_takes_nothing_the_age_of_the_step_is_seen_and_it_is_said(guarantee: str) -> None:
    """Since when the first attempt was made, until it is done; whatever etcd answers meanwhile."""
    stage = stage_of()
    stage.broker.wrong = lambda _output: None
    stage.broker.fates.extend(["committed"] if guarantee == EXACTLY_ONCE else [])
    stage.broker.fates.extend(["aborted"] * 60)
    owner = owner_of(stage, guarantee)
    assert owner.commits is not None
    said: list[str] = []
    owner.commits.trouble.tell = said.append
    ages: set[float] = set()
    begun = stage.clock()
    while stage.broker.fates:
        owner.turn()
        if owner.commits.transactions.prepared_at is not None:
            ages.add(owner.commits.transactions.prepared_at)
    assert stage.clock() - begun > 30.0
    # The first may be that of an empty step, or of what had been sent ahead.
    assert len(ages) <= 2
    assert all(each - begun < 3.0 for each in ages)
    assert said
    assert all("aborted" in each for each in said)

    owner.run()
    owner.turn()

    assert owner.commits.transactions.prepared_at is None
    assert stage.stored()[0] == 20


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_when_what_failed_is_passed_over_no_step_is_open(guarantee: str) -> None:
    stage = stage_of(records=BAD + 1)
    owner = owner_of(stage, guarantee, "skip")
    assert owner.commits is not None
    owner.run()
    for _ in range(5):
        owner.turn()
    assert owner.commits.transactions.prepared_at is None


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_cuts_are_merged_however_much_was_sent_before(guarantee: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room again when outputs are gone."""
    monkeypatch.setattr(producing_commits, "FULL_AT", (10**9, 20 * 110))
    stage = stage_of(lambda record, _state, context: context.produce("out", f"{record.offset()}", key="k"), 100)
    owner = stage.owner(guarantee=guarantee)
    owner.run()
    assert owner.commits is not None
    owner.by_steps()
    for offset in range(101, 110):
        owner.commits.outputs.produce("out", f"{offset}", key="k")
        assert owner.commits.add(offset, {}, 1)


def test_after_a_success_the_pauses_between_attempts_are_short_again() -> None:
    stage = stage_of(lambda record, _state, context: context.produce("out", f"{record.offset()}", key="k"), 10)
    stage.broker.fates.extend(["aborted"] * 8)
    owner = stage.owner(guarantee=AT_LEAST_ONCE, one_by_one=False)
    owner.run()
    assert isinstance(owner.commits, producing_commits.ProducingCommits)
    stage.broker.fates.append("aborted")
    owner.commits.outputs.produce("out", "10", key="k")
    assert owner.commits.add(11, {}, 1)
    owner.commits.send()
    while stage.broker.fates:
        stage.clock.advance(0.01)
        owner.commits.pump()
        owner.commits.send()
    owner.commits.settle(stage.clock() + 0.01)
    assert owner.commits._not_before - stage.clock() < 0.2
