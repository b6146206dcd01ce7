"""Outputs that are with Kafka before their step is prepared: nothing of them counts until it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from partition_workers import producing_commits
from partition_workers.output_commits import OutputCommits
from partition_workers.outputs.ahead import LONGEST, MANY, MOST, REST, SLOW, Ahead
from partition_workers.outputs.attempt import Attempt
from partition_workers.outputs.exchange import Exchange
from tests.fakes.kafka import FakeReader, FakeRecord
from tests.fakes.output_broker import FATES
from tests.fakes.outputs import Owner, Stage, handle, last_commit, sent_ahead_from
from tests.fakes.record_loop import P

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def at_once() -> Iterator[None]:
    """Two outputs are many."""
    with sent_ahead_from(2):
        yield


def stage_of(count: int, handler: Any = handle) -> Stage:
    return Stage([FakeRecord(P, number, b"x") for number in range(count)], handler)


def judge(stage: Stage) -> None:
    offset, state, sent = stage.expected()
    assert stage.seen() == sent
    assert stage.stored() == (offset, state)


def owner_with_outputs_ahead(stage: Stage) -> Owner:
    """They are with Kafka; their step is not prepared."""
    owner = stage.owner(interval=1.0)
    until = iter(range(100))
    while not stage.broker.sent_ahead:
        assert next(until) < 99, "nothing was sent ahead"
        owner.turn()
    return owner


def test_what_is_sent_ahead_is_seen_with_its_step_and_once() -> None:
    stage = stage_of(20)
    owner = owner_with_outputs_ahead(stage)
    assert owner.commits is not None
    assert owner.loop is not None
    assert stage.seen() == []
    while owner.loop.offset < 20:
        owner.turn()

    owner.loop.finish()
    assert owner.commits.drain(stage.clock() + 10.0)

    judge(stage)
    assert stage.broker.transactions == 2  # the empty step, and one
    assert 18 <= stage.broker.sent_ahead <= 20


def test_of_an_owner_that_dies_with_outputs_ahead_nothing_is_seen() -> None:
    stage = stage_of(20)
    owner_with_outputs_ahead(stage)
    assert stage.broker.begun is not None

    stage.owner().run()

    judge(stage)


def test_an_owner_that_lost_the_lock_with_outputs_ahead_cannot_have_them_committed() -> None:
    stage = stage_of(20)
    zombie = owner_with_outputs_ahead(stage)
    stage.owner().run()

    with pytest.raises(Exception, match="owner"):
        zombie.run()

    judge(stage)


@pytest.mark.parametrize("fate", FATES[1:])
def test_a_transaction_that_fails_has_its_outputs_sent_again(fate: str) -> None:
    stage = stage_of(20)
    stage.broker.fates.extend(["committed", fate, fate])

    stage.owner(one_by_one=False).run()

    judge(stage)


def test_an_owner_that_leaves_while_its_transaction_fails_has_the_next_one_handle_it_again() -> None:
    """What was sent ahead is not kept, so it cannot be sent again."""
    stage = stage_of(20)
    owner = owner_with_outputs_ahead(stage)
    assert owner.commits is not None
    assert owner.loop is not None
    stage.broker.fates.extend(["aborted"] * 3)
    owner.loop.finish()

    last_commit(owner).let_go(stage.clock() + 10.0)

    assert stage.stored()[0] == 0
    stage.broker.fates.clear()
    stage.token = None
    stage.owner().run()
    judge(stage)


def test_what_was_taken_back_after_it_was_sent_ahead_is_not_seen() -> None:
    """etcd does not take the step; its records are handled again, in smaller pieces, and produce again."""

    def large(record: FakeRecord, state: Any, context: Any) -> None:
        handle(record, state, context)
        state[f"large{record.offset()}"] = "x" * 1000

    stage = stage_of(12, large)
    stage.store.max_request_bytes = 8_000
    owner = stage.owner(interval=1.0)

    owner.run()

    assert owner.commits is not None
    assert owner.commits.limits.reason, "nothing was refused"
    assert stage.seen() == stage.expected()[2]
    assert len(stage.stored()[1]) >= 12
    assert stage.broker.sent_ahead > 12, "nothing of it had been sent ahead"


def test_what_a_handler_made_before_it_raised_is_not_sent_ahead() -> None:
    failures = [7]

    def raising(record: FakeRecord, state: Any, context: Any) -> None:
        for copy in range(3):
            context.produce("out", f"{record.offset()}-{copy}")
        if record.offset() in failures:
            failures.remove(record.offset())
            raise ValueError("once")

    stage = stage_of(12, raising)
    owner = stage.owner(interval=0.1, one_by_one=False)
    assert owner.loop is not None
    owner.loop._one_by_one._max_retries = 2
    owner.run()

    assert stage.seen() == [b"%d-%d" % (number, copy) for number in range(12) for copy in range(3)]
    assert stage.broker.sent_ahead


def test_a_transaction_that_fails_while_records_are_tried_one_by_one_is_no_error_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is heard of when a cut has no room: what goes back then is all since the last commit."""
    failures = [12]

    def raising(record: FakeRecord, state: Any, context: Any) -> None:
        handle(record, state, context)
        state[f"{record.offset()}"] = True
        if record.offset() in failures:
            failures.remove(record.offset())
            raise ValueError("once")

    monkeypatch.setattr(producing_commits, "FULL_AT", (4, 10**9))
    stage = stage_of(30, raising)
    owner = stage.owner(one_by_one=False)
    assert owner.loop is not None
    assert isinstance(owner.commits, OutputCommits)
    owner.loop._one_by_one._max_retries = 3
    cast(FakeReader, owner.loop._reader)._sizes = [6] * 50
    monkeypatch.setattr(Attempt, "wait", lambda _attempt, _seconds: owner.exchange.step())
    until = iter(range(100))
    while owner.commits._step is None or not owner.commits._step.ahead:
        assert next(until) < 99, "nothing was sent ahead"
        owner.turn()
        owner.exchange.at_once = not stage.broker.sent_ahead
    stage.broker.fates.append("aborted")
    while failures:
        owner.turn()

    owner.run()

    _, _, sent = stage.expected()
    assert stage.seen() == sent
    assert stage.stored()[0] == 30
    assert {f"{number}" for number in range(30)} <= stage.stored()[1].keys()


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_outputs_of_lists_that_take_long_wait_for_their_step(seconds: float) -> None:
    """A transaction that is open as long as the next list takes may be aborted for that, and would be again."""

    def slow(record: FakeRecord, state: Any, context: Any) -> None:
        handle(record, state, context)
        stage.clock.advance(seconds / 4)

    stage = stage_of(20, slow)
    owner = stage.owner(one_by_one=False)
    assert owner.loop is not None
    cast(FakeReader, owner.loop._reader)._sizes = [4] * 50

    owner.run()

    assert (stage.broker.sent_ahead > 0) == (seconds < LONGEST)
    judge(stage)


def test_a_record_that_outlasts_a_transaction_is_not_handled_twice_each_time() -> None:
    """The broker ends what was begun before it. After the first, nothing is sent ahead for some minutes."""
    handled: list[int] = []
    begun: list[float] = []

    def slow(record: FakeRecord, state: Any, context: Any) -> None:
        handled.append(record.offset())
        handle(record, state, context)
        if record.offset() in (31, 131, 231):
            stage.clock.advance(90.0)

    def end_what_is_old(request: str) -> None:
        if request == "send ahead":
            begun.append(stage.clock())
        elif request in ("end", "initialise"):
            if request == "end" and begun and stage.clock() - begun[0] > 60.0:
                stage.broker.fates.appendleft("aborted")
            begun.clear()

    stage = stage_of(300, slow)
    stage.broker.before = end_what_is_old
    owner = stage.owner(interval=1.0, one_by_one=False)
    assert owner.loop is not None
    cast(FakeReader, owner.loop._reader)._sizes = [4] * 200
    while owner.loop.offset < 240:
        owner.turn()

    assert [handled.count(number) for number in (31, 131, 231)] == [2, 1, 1]
    owner.run()
    judge(stage)


def test_some_minutes_after_a_slow_list_outputs_are_sent_ahead_again() -> None:
    ahead = Ahead(cast(Exchange, None), (2, 10**9))
    assert ahead.is_worth_it(2, 0, 100.0)
    ahead.turn(100.0)
    ahead.turn(100.0 + SLOW)
    assert ahead.is_worth_it(2, 0, 100.0 + SLOW)
    ahead.turn(slow := 101.0 + 2 * SLOW)
    assert not ahead.is_worth_it(2, 0, slow)
    while slow + REST > (now := ahead._turned_at + SLOW / 2):
        ahead.turn(now)
        assert not ahead.is_worth_it(2, 0, now)
    ahead.turn(now)
    assert ahead.is_worth_it(2, 0, now)


def test_a_producer_that_takes_nothing_ahead_gets_it_with_the_step() -> None:
    stage = stage_of(20)
    stage.broker.takes_ahead = False

    stage.owner(one_by_one=False).run()

    judge(stage)
    assert stage.broker.sent_ahead == 0


def test_a_few_outputs_are_not_sent_ahead() -> None:
    """Of an owner that dies with a transaction open its successor has to wait for the broker to end that."""
    stage = Stage([FakeRecord(P, number, b"x" if number % 10 == 0 else b"silent") for number in range(20)])

    owner = stage.owner()
    owner.run()

    assert stage.broker.sent_ahead == 0
    assert stage.seen() == stage.expected()[2]


def test_one_cut_has_room_however_large_it_is_and_a_second_has_not() -> None:
    class Taking:
        def send_ahead(self, _records: object) -> bool:
            return True

    ahead = Ahead(cast(Exchange, Taking()), MANY)
    assert ahead.has_room(10 * MOST[0], 10 * MOST[1])
    ahead.send([("out", b"x", b"k")] * 10, 1000)
    assert ahead.has_room(MOST[0] - 10, MOST[1] - 1000)
    assert not ahead.has_room(MOST[0] - 9, 0)
    assert not ahead.has_room(0, MOST[1] - 999)
    ahead.forget()
    assert ahead.has_room(10 * MOST[0], 10 * MOST[1])


def test_where_commits_are_rare_nothing_is_sent_ahead() -> None:
    """Readers of the topics would wait as long for what others have sent after it."""
    stage = stage_of(20)
    owner = stage.owner(interval=1.5)

    owner.run()

    assert stage.broker.sent_ahead == 0
    judge(stage)
