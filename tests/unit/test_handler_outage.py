"""What says nothing about the record at hand is not held against it, from wherever a handler raises it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from partition_workers.errors import Bug, ExitCode, Lost, Misconfigured, Stale, Unavailable
from partition_workers.layout.documents import Attempt
from partition_workers.protocol import Leave, WasParked
from tests.fakes.ownership import INTERVAL, Stage

Fail = Callable[[int], None]


def handlers(stage: Stage, fail: Fail) -> dict[str, type]:
    """The same result by each way in which a handler may do it; `fail` is called before each record counts."""

    class Alone:
        def handle(self, record: Any, state: Any) -> None:
            state["begun"] = record.offset()
            fail(record.offset())
            stage.handle(record, state)

    class Lists:
        def handle_batch(self, records: list[Any], state: Any) -> None:
            for record in records:
                state["begun"] = record.offset()
                fail(record.offset())
                stage.handle(record, state)

    class Flushed:
        def __init__(self) -> None:
            self.gathered: list[int] = []

        def handle(self, record: Any, state: Any) -> None:
            self.gathered.append(record.offset())
            stage.handle(record, state)

        def flush(self) -> None:
            gathered, self.gathered = self.gathered, []
            for offset in gathered:
                fail(offset)

    return {"alone": Alone, "lists": Lists, "flush": Flushed}


WAYS = ["alone", "lists", "flush"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_away_is_waited_for_however_long(way: str, on_error: str, caplog: pytest.LogCaptureFixture) -> None:
    stage, left = Stage(up_for=100 * INTERVAL), [7]
    stage.on_record = lambda _offset: stage.clock.advance(INTERVAL)  # what is handled is cut

    def fail(offset: int) -> None:
        if offset == 4 and left[0]:
            left[0] -= 1
            stage.interrupt.set()  # or it would be waited in earnest
            raise Unavailable("the database is away")

    with caplog.at_level(logging.WARNING):
        assert stage.owner(handlers(stage, fail)[way], on_error=on_error).work() is ExitCode.OK

    assert stage.offset[0] == 10
    wanted = 0
    for number in range(10):
        wanted = wanted * 3 + number
    assert stage.sum == wanted
    assert left == [0]
    said = [each for each in caplog.records if getattr(each, "event", "") == "handler-waits"]
    assert 1 <= len(said) <= 2  # what comes before the record is cut meanwhile
    assert "the database is away" in said[0].getMessage()
    assert not [each for each in caplog.records if getattr(each, "event", "") == "handler-failed"]


@pytest.mark.parametrize("way", WAYS)
def test_who_waits_leaves_when_told_to(way: str) -> None:
    stage = Stage()

    def fail(offset: int) -> None:
        if offset == 4:
            stage.tell(Leave(()))
            raise Unavailable("the database is away")

    assert stage.owner(handlers(stage, fail)[way]).work() is ExitCode.OK

    assert stage.offset[0] <= 4
    assert stage.parked is None
    assert stage.lock is None


@pytest.mark.parametrize("error", [Lost, Bug, Misconfigured])
@pytest.mark.parametrize("way", WAYS)
def test_what_ends_the_ownership_does_so_at_once(way: str, error: type[Exception]) -> None:
    """As an error of the list it was tried a second time, alone, and what that raised was the record's."""
    stage, raised = Stage(), list[int]()

    def fail(offset: int) -> None:
        if offset == 4:
            raised.append(offset)
            raise error("no more") if len(raised) == 1 else ValueError("with what is broken every record fails")

    with pytest.raises(error):
        stage.owner(handlers(stage, fail)[way], on_error="skip").work()

    assert raised == [4]
    assert stage.offset[0] <= 4


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_has_seen_a_newer_token_than_etcd_parks(way: str) -> None:
    """Each owner would fare as the one before, one after the other without a pause."""
    stage = Stage()

    def fail(offset: int) -> None:
        if offset == 4:
            raise Stale("token 99 has been at the database")

    assert stage.owner(handlers(stage, fail)[way], on_error="skip").work() is ExitCode.HANDLER_GAVE_UP

    reason = stage.report(WasParked).reason
    assert "token 99" in reason
    assert "resume" in reason
    assert stage.offset[0] <= 4


def test_an_attempt_that_found_something_away_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Who waits for a database, and is killed, was not killed by the record."""
    stage, left = Stage(), [1]
    stage.a_predecessor(0, {}, attempt=Attempt(0, 1, ["there"]))
    under_way: list[bool] = []

    def fail(offset: int) -> None:
        if offset == 0 and left[0]:
            left[0] -= 1
            stage.interrupt.set()
            raise Unavailable("the database is away")
        if offset == 1:
            stage.tell(Leave(()))

    handler = handlers(stage, fail)["alone"]
    wait = stage.interrupt.wait

    def look(seconds: float) -> None:
        found = stage.attempt
        under_way.append(found is not None and found.under_way)
        wait(seconds)

    stage.interrupt.wait = look  # type: ignore[method-assign]
    stage.owner(handler).work()

    assert under_way[:1] == [False]


@pytest.mark.parametrize("retries", [0, 3])
def test_open_waits_for_what_is_away_and_counts_only_what_fails(retries: int) -> None:
    stage, opened = Stage(), list[str]()

    class Target:
        def open(self, context: Any) -> None:
            opened.append("")
            if len(opened) < 10:
                stage.interrupt.set()
                raise Unavailable("the database is away")

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    assert stage.owner(Target, retries=retries).work() is ExitCode.OK

    assert len(opened) == 10
    assert stage.offset[0] == 10
