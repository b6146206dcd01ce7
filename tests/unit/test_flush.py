"""What a handler gathers is done before its records are committed, whatever goes wrong; and its flush() is watched,
tried again and given up as the handling of a record is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, Misconfigured, Stale
from partition_workers.handler_form import refuse_wrong_form
from tests.fakes import outputs
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import FOR_EVER, RETRIES, Script, Stage, count_in_lists, fold, records_of

pytestmark = pytest.mark.usefixtures("no_sleep")


class Target:
    """Where gathered offsets go. `failures`: how often it refuses those of each, with `error`."""

    def __init__(self, failures: dict[int, int] | None = None, error: type[BaseException] = OSError) -> None:
        self.rows: list[int] = []
        self.calls = 0
        self.failures, self.error = failures or {}, error
        self.during: Callable[[], object] = lambda: None

    def insert(self, rows: list[int]) -> None:
        self.calls += 1
        self.during()
        for each in rows:
            if self.failures.get(each, 0) > 0:
                self.failures[each] -= 1
                raise self.error(f"not {each}")
        self.rows += rows

    def has(self, offset: int) -> bool:
        """Everything before it."""
        return set(range(offset)) <= set(self.rows)


def gathering(target: Target, script: Script | None = None, batch: bool = False) -> type:
    handle = script.handle if script else count_in_lists

    class Gather:
        def __init__(self) -> None:
            self.rows: list[int] = []

        def _one(self, record: FakeRecord, state: Any) -> None:
            self.rows.append(record.offset())
            handle(record, state)

        def flush(self) -> None:
            rows, self.rows = self.rows, []
            target.insert(rows)

    class One(Gather):
        def handle(self, record: FakeRecord, state: Any) -> None:
            self._one(record, state)

    class Batch(Gather):
        def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
            for record in records:
                self._one(record, state)

    return Batch if batch else One


@given(
    st.lists(st.sampled_from([b"", b"x"]), min_size=1, max_size=20),
    st.dictionaries(st.integers(0, 19), st.integers(1, 2), max_size=3),
    st.dictionaries(st.integers(0, 19), st.integers(1, 2), max_size=3),
    st.frozensets(st.integers(0, 19), max_size=3),
    st.lists(st.integers(1, 7), max_size=20),
    st.sampled_from([0, 0.05]),
    st.booleans(),
    st.lists(st.sampled_from(["turn", "turn", "turn", "killed", "moved"]), max_size=30),
)
def test_nothing_is_committed_of_which_anything_is_still_gathered(
    values: list[bytes],
    raising: dict[int, int],
    failures: dict[int, int],
    flags: frozenset[int],
    sizes: list[int],
    interval: float,
    batch: bool,
    events: list[str],
) -> None:
    """Whoever is killed, and whatever raises."""
    target, script = Target(failures), Script(raising=raising, flags=set(flags))
    records = records_of(values)
    stage = Stage(records, gathering(target, script, batch), interval, sizes, retries=20)
    script.interrupt = stage.interrupt
    for each in [*events, *["turn"] * 200]:
        if each == "turn":
            stage.turn()
        else:
            stage.move(killed=each == "killed")
        assert target.has(stage.stored()[0])
    assert stage.stored() == (len(records), fold(count_in_lists, records, len(records)))


def test_it_is_called_for_a_cut_and_not_for_each_record() -> None:
    target = Target()
    stage = Stage(records_of([b""] * 400), gathering(target), interval=3600.0)
    stage.turn()
    stage.cut()
    assert target.calls == 1
    for _ in range(5):
        stage.turn()
    assert target.calls == 1


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("error", [OSError, SystemExit, KeyboardInterrupt])
def test_an_error_in_it_is_that_of_the_record(batch: bool, error: type[BaseException]) -> None:
    """Everything before it is committed; the message says where, how often, and what."""
    target = Target({7: FOR_EVER}, error)
    records = records_of([b""] * 12)
    stage = Stage(records, gathering(target, batch=batch))
    with pytest.raises(HandlerFailed, match=rf"flush\(\) raised {error.__name__}: not 7 \(4 attempts\).* offset 7"):
        stage.run()
    stage.drain()
    assert stage.stored() == (7, fold(count_in_lists, records, 7))
    assert stage.loop.counts.retries == RETRIES


def test_a_record_whose_flush_fails_can_be_passed_over() -> None:
    target = Target({7: FOR_EVER})
    stage = Stage(records_of([b""] * 12), gathering(target))
    stage.loop._one_by_one._error_policy = ErrorPolicy("skip", None, {})
    stage.run()
    assert set(target.rows) == set(range(12)) - {7}
    assert stage.loop.counts.skipped == 1


def test_a_flush_that_fails_also_when_its_record_was_passed_over_parks() -> None:
    """Or every record would be passed over, or this one tried for ever."""
    target = Target()

    class Keeps:
        def handle(self, record: FakeRecord, state: Any) -> None:
            count_in_lists(record, state)
            if record.offset() == 3:
                target.error, target.failures = OSError, {3: FOR_EVER}

        def flush(self) -> None:
            target.insert([3] if target.failures else [])

    records = records_of([b""] * 6)
    stage = Stage(records, Keeps)
    stage.loop._one_by_one._error_policy = ErrorPolicy("skip", None, {})
    with pytest.raises(HandlerFailed, match=r"it was to be passed over, but flush\(\) raised"):
        stage.run()


def test_it_has_the_time_limit_of_a_record_for_itself() -> None:
    """Whoever watches sees it begin, and then stand still; a pause would show as None."""
    places: list[object] = []
    target = Target()

    class Slow(gathering(target)):  # type: ignore[misc]
        def handle(self, record: FakeRecord, state: Any) -> None:
            places.append(stage.loop.place())
            super().handle(record, state)

    target.during = lambda: places.extend([stage.loop.place(), stage.loop.place()])
    stage = Stage(records_of([b""]), Slow)
    stage.run()
    before, begun, later = places
    assert None not in places
    assert before != begun
    assert begun == later


def test_its_time_is_the_handlers() -> None:
    target = Target()
    target.during = lambda: time.sleep(0.01)
    stage = Stage(records_of([b""] * 4), gathering(target))
    stage.run()
    assert stage.loop.counts.seconds >= 0.01


def test_a_target_that_shows_a_newer_owner_ends_the_ownership() -> None:
    stage = Stage(records_of([b""] * 4), gathering(Target({2: 1}, Stale)))
    with pytest.raises(Stale):
        stage.run()
    assert stage.stored()[0] <= 2


class Async:
    def handle(self, record: Any, state: Any) -> None: ...
    async def flush(self) -> None: ...


class TakesOne(gathering(Target())):  # type: ignore[misc]
    def flush(self, state: Any) -> None: ...


class Is(gathering(Target())):  # type: ignore[misc]
    flush = 3


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (Async, "flush is async"),
        (TakesOne, "flush is called with (), and takes (state"),
        (Is, "flush is an int, not a method"),
    ],
)
def test_a_flush_that_would_do_nothing_is_refused_at_the_start(handler: type, said: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        refuse_wrong_form("mine:handle", None, handler)
    assert said in str(refused.value)


def test_what_it_returns_would_be_thrown_away() -> None:
    """A producer's flush() says how many messages it could not send."""

    class Returns(gathering(Target())):  # type: ignore[misc]
        def flush(self) -> int:
            return 3

    stage = Stage(records_of([b""]), Returns)
    with pytest.raises(HandlerFailed, match=r"flush\(\) returned an int"):
        stage.run()


def test_what_it_produces_belongs_to_the_cut() -> None:
    """An owner that dies takes it along; the next one produces the same."""

    class Sums:
        def open(self, context: Any) -> None:
            self.context, self.sum = context, 0

        def handle(self, record: FakeRecord, state: Any) -> None:
            self.sum += 1
            state["n"] = state.get("n", 0) + 1

        def flush(self) -> None:
            count, self.sum = self.sum, 0
            self.context.produce(outputs.OUT, f"{count}")

    stage = outputs.Stage(records_of([b""] * 9), Sums)
    first = stage.owner(one_by_one=True)
    first.by_steps()
    for _ in range(6):
        first.turn()
        first.line.deliver()
        first.exchange.step()

    stage.owner().run()

    assert sum(map(int, stage.seen())) == 9
    assert stage.stored() == (9, {"n": 9})
