"""Owners that produce die, hang and come back between any two requests, and their handlers fail: what a
read_committed reader sees, and the state, are those of an owner that nothing ever happened to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_workers import commits, producing_commits
from partition_workers.errors import Lost
from partition_workers.outputs import attempt
from partition_workers.outputs.ahead import MANY
from partition_workers.outputs.buffer import FULL_AT
from tests.fakes.kafka import FakeRecord
from tests.fakes.output_broker import FATES
from tests.fakes.outputs import Owner, Stage, handle, sent_ahead_from
from tests.fakes.record_loop import P


@pytest.fixture(scope="module", params=[MANY[0], 1, 3], autouse=True)
def ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    """None here ever has so many as in earnest."""
    with sent_ahead_from(request.param):
        yield


class Zombies:
    """What owners that have lost the lock still do, and the one that has it."""

    def __init__(self, stage: Stage, data: st.DataObject) -> None:
        self.stage, self.data = stage, data
        self.dead: set[str] = set()
        self._is_busy = False
        stage.broker.before = lambda _request: self.interfere()

    def living(self) -> list[Owner]:
        return [each for each in self.stage.owners if each.name not in self.dead and each.loop is not None]

    def interfere(self) -> None:
        """Between two requests of the rightful owner, others act."""
        if self._is_busy:
            return
        self._is_busy = True
        for _ in range(self.data.draw(st.integers(0, 2), label="interfering")):
            if others := [each for each in self.living()[:-1] if not each.is_turning]:
                self.act(self.data.draw(st.sampled_from(others), label="who"))
        self._is_busy = False

    def act(self, owner: Owner) -> None:
        what = self.data.draw(
            st.sampled_from(["turn", "turn", "etcd", "kafka", "kafka", "lost after", "lost before"])
        )
        try:
            owner.act(what)
        except Lost:
            self.dead.add(owner.name)


@pytest.mark.parametrize("full_at", [FULL_AT[0], 4])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_happens_between_two_requests_each_output_is_seen_once(full_at: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12), label="records")
    silent = data.draw(st.frozensets(st.integers(0, 11)), label="silent")
    failing = set(data.draw(st.frozensets(st.integers(0, 11), max_size=3), label="failing once"))

    def handle_or_raise(record: FakeRecord, state: Any, context: Any) -> None:
        handle(record, state, context)
        if record.offset() in failing:
            failing.discard(record.offset())
            raise ValueError("once")

    stage = Stage([FakeRecord(P, n, b"silent" if n in silent else b"x") for n in range(count)], handle_or_raise)
    with full(stage, full_at):
        _let_happen(stage, data)
        failing.clear()
        stage.owner().run()
    offset, state, sent = stage.expected()
    assert stage.seen() == sent
    assert stage.stored() == (offset, state)


@contextlib.contextmanager
def full(stage: Stage, full_at: int) -> Iterator[None]:
    """Of so many outputs an owner that can do nothing but wait has what it waits for."""

    def sleep(seconds: float) -> None:
        assert stage.acting is not None
        stage.acting.waits(seconds)

    def wait(_futures: object, timeout: float) -> None:
        sleep(timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(producing_commits, "FULL_AT", (full_at, FULL_AT[1]))
        for module in (commits, attempt):
            patch.setattr(module, "wait", wait)
        patch.setattr(time, "sleep", sleep)
        yield


def _let_happen(stage: Stage, data: st.DataObject) -> None:
    zombies = Zombies(stage, data)
    for _ in range(data.draw(st.integers(1, 4), label="owners")):
        owner = stage.owner(one_by_one=data.draw(st.booleans(), label="one by one"))
        assert owner.loop is not None
        owner.loop._one_by_one._max_retries = 20
        owner.interrupt.on_wait = partial(owner.waits, 0.0)
        owner.by_steps()
        for _ in range(data.draw(st.integers(0, 14), label="steps")):
            stage.broker.fates.extend(data.draw(st.lists(st.sampled_from(FATES), max_size=1)))
            zombies.act(data.draw(st.sampled_from(zombies.living()), label="who") if zombies.living() else owner)
        if data.draw(st.booleans(), label="killed"):
            zombies.dead.add(owner.name)
    stage.broker.fates.clear()
