"""What comes before an owner's first record, and what is left in etcd for whoever comes after its death."""

from __future__ import annotations

from typing import Any, cast

import pytest

from partition_workers.errors import ExitCode
from partition_workers.layout.documents import Attempt
from partition_workers.protocol import Leave, MadeProgress, TookLock
from tests.fakes.kafka import FakeReader
from tests.fakes.ownership import Stage

# --- open()


def test_a_handler_that_cannot_be_opened_parks_the_partition() -> None:
    """With its error; no record was touched."""

    class Closed:
        def open(self, _context: Any) -> None:
            raise ConnectionError("no database")

        def handle(self, _record: Any, _state: Any) -> None:
            raise AssertionError

    stage = Stage()
    assert stage.owner(Closed).work() is ExitCode.HANDLER_GAVE_UP
    assert stage.parked is not None
    assert "no database" in stage.parked.reason


def test_whoever_named_it_hears_of_it_before_the_handler_is_opened() -> None:
    """That may take a minute too."""
    stage = Stage()
    seen = []

    class Slow:
        def open(self, _context: Any) -> None:
            seen.append((len(stage.history), stage.lease.started))

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    stage.owner(Slow).work()
    assert seen == [(1, True)]


@pytest.mark.parametrize("error", [ConnectionError("no database"), KeyboardInterrupt(), SystemExit(1)])
def test_an_open_that_raises_is_tried_again_as_a_record_is(error: BaseException) -> None:
    """A database that blinks during a rolling restart parks nothing."""
    stage = Stage()
    tries = []

    class Blinks:
        def open(self, _context: Any) -> None:
            tries.append(1)
            if len(tries) < 3:
                raise error

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    assert stage.owner(Blinks, retries=2).work() is ExitCode.OK
    assert len(tries) == 3
    assert stage.handled == list(range(10))


def test_told_to_leave_between_two_attempts_it_leaves_in_good_order() -> None:
    """The lock is free, and nobody is to blame."""
    stage = Stage()

    class Never:
        def open(self, _context: Any) -> None:
            stage.tell(Leave())
            raise ConnectionError("no database")

        def handle(self, record: Any, state: Any) -> None:
            raise AssertionError

    assert stage.owner(Never, retries=5).work() is ExitCode.OK
    assert (stage.lock, stage.parked, stage.handled, stage.deaths) == (None, None, [], 0)


def test_open_is_watched_and_its_supervisor_knows_of_the_ownership_before() -> None:
    """One that hangs is ended as a record that hangs is; one that dies was an owner that got nowhere."""
    stage = Stage()
    places: list[object] = []

    class Slow:
        def open(self, context: Any) -> None:
            assert stage.report(TookLock)
            assert stage.lease.place is not None
            places.extend([stage.lease.place(), stage.lease.place()])
            context.heartbeat()
            places.append(stage.lease.place())

        def handle(self, record: Any, state: Any) -> None: ...

    stage.owner(Slow).work()
    assert places[0] == places[1] != places[2]
    assert None not in places


# --- deaths, as the next owner will count them


@pytest.mark.parametrize("before", [0, 1, 4])
def test_until_it_gets_on_its_death_would_be_one_more(before: int) -> None:
    """In open() and at the first record alike: what is in etcd by then says so, and needs no supervisor."""
    stage = Stage()
    stage.a_predecessor(4, {}, deaths=before)
    seen = []

    class Counts:
        def open(self, _context: Any) -> None:
            seen.append(stage.deaths)

        def handle(self, record: Any, state: Any) -> None:
            seen.append(stage.deaths)

    stage.owner(Counts).work()
    assert seen[:2] == [before + 1] * 2
    assert stage.deaths == 0, "it ended in good order"


def test_a_commit_beyond_the_entrance_makes_its_death_the_first() -> None:
    """Whatever came before it is passed."""
    stage = Stage()
    stage.a_predecessor(4, {}, deaths=1)
    seen = {}
    stage.on_record = lambda offset: seen.update({offset: stage.deaths})
    stage.owner().work()
    assert seen[4] == 2
    assert stage.report(MadeProgress)


def test_an_idle_owner_has_got_on() -> None:
    """It has handled all there was: however often idle workers are killed, that is no reason for care."""
    stage = Stage(records=4)
    stage.a_predecessor(4, {}, deaths=3)
    seen: list[int] = []
    told: list[MadeProgress] = []

    def leave() -> None:
        seen.append(stage.deaths)
        told.extend(each for each in stage.line.told if isinstance(each, MadeProgress))
        if len(seen) == 3:
            stage.tell(Leave())

    stage.when_idle = leave
    stage.owner().work()
    assert (seen[0], seen[-1]) == (4, 1)
    assert told


def test_an_owner_that_waits_for_a_record_which_is_there_has_not_got_on() -> None:
    """Kafka may be slow, and it may be the very record that kills."""
    stage = Stage(records=5)
    stage.a_predecessor(4, {}, deaths=3)
    owner = stage.owner()
    reader = cast(FakeReader, owner._reader)
    reader.reachable = False
    seen = []

    def wait() -> None:
        seen.append(stage.deaths)
        reader.reachable = len(seen) > 3
        if len(seen) > 4:
            stage.tell(Leave())

    stage.when_idle = wait
    stage.on_record = lambda _offset: seen.append(stage.deaths)
    owner.work()
    assert seen[:4] == [4] * 4
    assert stage.handled == [4]


# --- attempts that nobody died of


def careful(attempt: Attempt | None = None) -> Stage:
    stage = Stage()
    stage.a_predecessor(4, {}, deaths=2, attempt=attempt)
    return stage


@pytest.mark.parametrize("known", [None, Attempt(4, 1, ["there"])])
def test_an_attempt_is_over_when_the_owner_leaves_or_parks(known: Attempt | None) -> None:
    """The record raised; nobody died of it now. Earlier deaths are still known."""
    stage = careful(known)

    def fail(offset: int) -> None:
        assert stage.attempt is not None
        assert stage.attempt.under_way
        raise ValueError

    stage.on_record = fail
    assert stage.owner().work() is ExitCode.HANDLER_GAVE_UP
    assert stage.attempt is not None
    assert (stage.attempt.under_way, stage.attempt.deaths) == (False, 2 if known else 0)


def test_in_a_pause_between_two_attempts_none_is_under_way() -> None:
    """Whoever is killed in it does not die of the record."""
    stage = careful()
    seen: list[object] = []
    tries: list[int] = []

    def wait(_seconds: float) -> None:
        seen.append(stage.attempt and stage.attempt.under_way)

    def fail(offset: int) -> None:
        seen.append(stage.attempt and stage.attempt.under_way)
        tries.append(offset)
        if len(tries) < 3:
            raise ValueError

    stage.on_record = fail
    stage.interrupt.wait = wait  # type: ignore[method-assign,assignment]
    stage.owner(retries=3).work()
    assert seen[:5] == [True, False, True, False, True]
    assert stage.handled[-1] == 9


@pytest.mark.parametrize("times", [1, 5])
def test_owners_that_leave_while_a_record_raises_kill_nobody(times: int) -> None:
    """However often the partition moves meanwhile, the record is not taken for one that kills."""
    stage = careful()
    for _ in range(times):

        def fail_and_be_told(offset: int) -> None:
            stage.tell(Leave())
            raise ValueError

        stage.on_record = fail_and_be_told
        assert stage.owner(retries=3, on_error="skip").work() is ExitCode.OK
        stage.renew()
    stage.on_record = lambda _offset: None
    stage.owner().work()
    assert stage.handled[-6:] == list(range(4, 10)), "nothing was passed over"
