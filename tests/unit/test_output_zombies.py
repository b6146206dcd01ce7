"""Owners that produce die and hang at each request in turn, and come back: what a read_committed reader sees, and the
state, are those of an owner that nothing ever happened to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from partition_workers.errors import Lost, PartitionSupervisorError
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import StoredOffset
from partition_workers.outputs.ahead import MANY
from tests.fakes.kafka import FakeRecord
from tests.fakes.output_broker import FATES
from tests.fakes.outputs import Owner, Stage, sent_ahead_from
from tests.fakes.record_loop import KEYS, P


@pytest.fixture(scope="module", params=[MANY[0], 1, 3], autouse=True)
def ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    """None here ever has so many as in earnest."""
    with sent_ahead_from(request.param):
        yield


def records(count: int, silent: frozenset[int] = frozenset()) -> list[FakeRecord]:
    return [FakeRecord(P, number, b"silent" if number in silent else b"x") for number in range(count)]


def judge(stage: Stage) -> None:
    offset, state, sent = stage.expected()
    assert stage.seen() == sent
    assert stage.stored() == (offset, state)


#: The places between cut and apply at which an owner can die: how many turns, deliveries and requests it got to.
REQUESTS = ["begin", "end", "ended"]


class Dead(BaseException):
    pass


def die_at(stage: Stage, request: str, times: int = 1) -> None:
    left = [times]

    def before(name: str) -> None:
        if name == request:
            left[0] -= 1
            if left[0] == 0:
                raise Dead

    stage.broker.before = before


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_owner_that_dies_within_a_transaction(request_: str, times: int) -> None:
    stage = Stage(records(6))
    die_at(stage, request_, times)
    with pytest.raises(Dead):
        stage.owner().run()
    stage.broker.before = lambda _name: None

    stage.owner().run()

    judge(stage)


def test_an_owner_that_dies_between_prepare_and_transaction_and_one_between_transaction_and_apply() -> None:
    for deliveries in range(1, 14):
        stage = Stage(records(6))
        owner = stage.owner()
        owner.by_steps()
        for _ in range(deliveries):  # a request to etcd or to Kafka each, in turn
            owner.turn()
            owner.line.deliver() or owner.exchange.step()
        stage.owner().run()
        judge(stage)


def test_a_hand_over_leaves_nothing_prepared_and_no_transaction_open() -> None:
    stage = Stage(records(5))
    owner = stage.owner(interval=3600.0, one_by_one=False)
    assert owner.loop is not None
    assert owner.commits is not None
    owner.turn()
    owner.loop.finish()

    assert owner.commits.drain(stage.clock() + 100.0)

    assert stage.broker.begun is None
    judge(stage)


def test_a_stale_zombie_that_wakes_after_everything_changes_nothing() -> None:
    """It had a prepare accepted, was stopped before it committed in Kafka, and its step was dropped."""
    stage = Stage(records(6))
    zombie = stage.owner()
    zombie.by_steps()
    while not zombie.exchange.waiting:
        zombie.turn()
        zombie.line.deliver()
    stage.owner().run()
    judge(stage)

    with contextlib.suppress(Lost):
        zombie.at_once()
        for _ in range(20):
            zombie.turn()

    judge(stage)


def prepared_zombie(stage: Stage) -> Owner:
    """It has had a step accepted by etcd, with outputs, and hangs before its transaction in Kafka."""
    zombie = stage.owner()
    zombie.by_steps()
    while not zombie.exchange.waiting or stage.broker.transactions == 0:
        zombie.turn()
        zombie.line.deliver()
        if stage.broker.transactions == 0:
            zombie.exchange.step()  # the empty step
    return zombie


@pytest.mark.parametrize("request_", ["look", "initialise"])
def test_a_zombie_that_commits_while_its_successor_looks_has_committed(request_: str) -> None:
    """What the group offset does not show before a producer was initialised, it may show after."""
    stage = Stage(records(6))
    zombie = prepared_zombie(stage)

    def before(name: str) -> None:
        if name == request_:
            stage.broker.before = lambda _name: None
            assert zombie.exchange.step()

    stage.broker.before = before

    stage.owner().run()

    judge(stage)
    assert not zombie.exchange.waiting


def test_a_zombie_that_is_fenced_asks_etcd_and_fences_nobody() -> None:
    stage = Stage(records(6))
    zombie = prepared_zombie(stage)
    rightful = stage.owner()
    newest = stage.broker.newest

    zombie.at_once()
    with pytest.raises(Lost):
        zombie.run()

    assert stage.broker.newest == newest
    rightful.run()
    judge(stage)


def test_nothing_is_prepared_before_the_producer_is_initialised() -> None:
    """Its initialisation would come after the successor's, and what it had prepared before would still be good."""
    stage = Stage(records(6))
    stage.owner().run()
    stage.records += records(12)[6:]
    zombie = stage.owner(by_steps=True)
    for _ in range(5):
        zombie.turn()
        zombie.line.deliver()
    rightful = stage.owner()
    rightful.by_steps()
    while not rightful.exchange.waiting:
        rightful.turn()
        rightful.line.deliver()

    while zombie.exchange.step():  # it fences the rightful owner, and has nothing to commit
        with contextlib.suppress(Lost):
            zombie.turn()

    rightful.run()
    judge(stage)


def test_outputs_go_when_the_state_goes_back() -> None:
    failures = [2, 4]

    def handle(record: FakeRecord, state: Any, context: Any) -> None:
        context.produce("out", f"{record.offset()}")
        state["n"] = state.get("n", 0) + 1
        if record.offset() in failures:
            failures.remove(record.offset())
            raise ValueError("once")

    stage = Stage(records(6), handle)
    owner = stage.owner(interval=0.1)
    assert owner.loop is not None
    owner.loop._one_by_one._max_retries = 2
    owner.run()

    assert stage.seen() == [b"%d" % number for number in range(6)]
    assert stage.stored() == (6, {"n": 6})


@pytest.mark.parametrize("fate", FATES[1:])
def test_an_owner_whose_transaction_failed_asks_kafka_what_became_of_it(fate: str) -> None:
    stage = Stage(records(5))
    owner = stage.owner()
    stage.broker.fates.extend(["committed", fate, "committed", fate, fate])

    owner.run()

    judge(stage)


def test_a_group_offset_that_is_gone_is_asked_for_before_it_is_needed() -> None:
    """An empty step goes first: of that it does not matter whether it happened."""
    stage = Stage(records(3))
    stage.owner().run()
    stage.broker.known = None
    stage.records += records(6)[3:]

    owner = stage.owner()
    owner.run()

    judge(stage)
    assert stage.broker.known is not None


def test_a_step_of_which_kafka_knows_nothing_is_refused() -> None:
    stage = Stage(records(6))
    owner = stage.owner()
    owner.by_steps()
    while stage.broker.transactions < 2 or owner.exchange.waiting:
        owner.turn()
        owner.line.deliver()
        owner.exchange.step()
    stage.broker.known = None

    with pytest.raises(PartitionSupervisorError, match="nobody can say"):
        stage.owner()


def test_the_same_offset_again_after_a_reset_is_not_taken_for_the_old_commit() -> None:
    stage = Stage(records(4))
    stage.owner(one_by_one=False).run()
    found = stage.store.get(KEYS.offset(P))
    assert found is not None
    stored = StoredOffset.decode(found.value)
    reset = StoredOffset(0, stored.token, stored.sequence + 1, stored.topic_id, stored.at)
    stage.store.transact(Txn((), (Put(KEYS.offset(P), reset.encode()),)))
    owner = stage.owner(one_by_one=False)
    owner.by_steps()
    while not owner.exchange.waiting:  # prepared up to offset 4, which Kafka has shown for long
        owner.turn()
        owner.line.deliver()
    seen = len(stage.seen())

    stage.owner().run()

    assert len(stage.seen()) == seen + 4


def test_a_prepared_step_that_was_overtaken_by_an_owner_without_outputs_is_never_applied() -> None:
    stage = Stage(records(6))
    owner = stage.owner()
    owner.by_steps()
    while stage.broker.transactions < 2:
        owner.turn()
        owner.line.deliver()
        owner.exchange.step()
    stage.handler = lambda record, state: state.__setitem__("plain", record.offset())
    stage.owner(outputs=()).run()
    stage.records += records(7)[6:]
    stage.handler = lambda record, state, context: context.produce("out", "new")

    stage.owner().run()

    assert stage.stored()[1]["plain"] == 5
    assert stage.seen().count(b"new") == 1


def test_a_record_that_the_broker_does_not_take_is_its_handlers_error() -> None:
    calls: list[int] = []

    def handle(record: FakeRecord, state: Any, context: Any) -> None:
        calls.append(record.offset())
        context.produce("out", b"x" * (1000 if record.offset() == 3 else 10))
        state["n"] = state.get("n", 0) + 1

    stage = Stage(records(6), handle)
    stage.broker.largest = 500

    owner = stage.owner(one_by_one=False)
    assert owner.commits is not None
    assert owner.loop is not None

    with pytest.raises(PartitionSupervisorError, match="larger than out takes"):
        owner.run()
    assert owner.commits.drain(stage.clock() + 10.0)

    assert len(stage.seen()) == 3
    assert calls[-1] == 3


def test_a_topic_that_must_not_be_written_to_parks_with_nothing_prepared() -> None:
    stage = Stage(records(6))
    stage.broker.refusal = "Topic authorization failed"
    owner = stage.owner(interval=0.1)
    assert owner.commits is not None
    assert owner.loop is not None

    with pytest.raises(PartitionSupervisorError, match="Topic authorization failed"):
        owner.run()
    owner.loop.finish()
    assert owner.commits.drain(stage.clock() + 10.0)

    assert stage.seen() == []
    assert stage.stored()[0] == 0


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("request_", REQUESTS)
def test_steps_that_change_thousands_of_keys(request_: str, times: int) -> None:
    """Prepared as one value, applied by as many keys as a transaction takes, and read back by a successor."""

    def handle(record: FakeRecord, state: Any, context: Any) -> None:
        context.produce("out", f"{record.offset()}")
        for number in range(1500):
            state[f"k{number}"] = {"at": record.offset() + number}
        for number in range(record.offset() * 10):
            state.pop(f"k{number}", None)

    stage = Stage(records(6), handle)
    die_at(stage, request_, times)
    with contextlib.suppress(Dead):
        stage.owner().run()
    stage.broker.before = lambda _name: None

    owner = stage.owner()
    owner.run()

    assert stage.seen() == [b"%d" % number for number in range(6)]
    assert owner.state.to_dict() == {f"k{number}": {"at": 5 + number} for number in range(50, 1500)}
    assert stage.owner().state.to_dict() == owner.state.to_dict()
