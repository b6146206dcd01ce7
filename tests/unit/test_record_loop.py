"""The record loop: whatever a handler does, and whatever comes in between, the stored state is its fold."""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partition_workers import commits as commits_module
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, Lost, PartitionRefused
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.poison import PoisonGuard
from partition_workers.record_loop import RecordLoop
from partition_workers.state.mapping import State
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
RETRIES = 3
FOR_EVER = 1_000_000

HandleOne = Callable[[FakeRecord, Any], object]


class Stub(InterruptFlag):
    """Attention that never waits; the clock moves instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, seconds: float) -> None:
        self.on_wait()
        self._clock.advance(seconds)


class Own(BaseException):
    """What a library may raise past every `except Exception`."""


def as_batch(handle: HandleOne) -> type:
    """A batch handler that does the same with each record of a list, and returns what the last one returned."""

    class Batch:
        def handle_batch(self, records: list[FakeRecord], state: Any) -> object:
            results = [handle(record, state) for record in records]
            return next((each for each in results if each is not None), None)

    return Batch


def records_of(values: Sequence[bytes], gaps: Sequence[int] = ()) -> list[FakeRecord]:
    """Records from offset 0, with so many offsets left out before each."""
    made, offset = [], 0
    for number, value in enumerate(values):
        offset += gaps[number] if number < len(gaps) else 0
        made.append(FakeRecord(P, offset, value))
        offset += 1
    return made


class Stage:
    """A record loop over a partition, and an etcd that holds its lock."""

    def __init__(
        self,
        records: list[FakeRecord],
        handle: HandleOne | type,
        interval: float = 0.1,
        sizes: Sequence[int] = (),
        retries: int = RETRIES,
    ) -> None:
        self.clock = FakeClock()
        self.store = FakeEtcd(self.clock)
        self.interrupt = Stub(self.clock)
        me = Standby("me", "here", 1, f"{self.store.grant(10_000_000).lease:x}", now())
        lock = Lock.naming(me, Cause.ACQUIRED)
        self.token = self.store.transact(transactions.acquire(KEYS, P, lock)).revision
        self.reader = FakeReader(records, P, self.clock.advance, sizes=sizes)
        self.reader.assign(0)
        self.commits = Commits(self.store, KEYS, P, self.token, "topic-id", 0, 0, self.clock)
        self.mapping = State()
        handler = Handler(handle)
        handler.open(Context(P, self.token, "here", lambda: None, lambda: False))
        self.loop = RecordLoop(
            self.reader, handler, self.mapping, self.commits, self.interrupt, 0, interval, retries,
            ErrorPolicy("stop", None, {}), PoisonGuard(0, 0, None, 3), KEYS.attempt(P), "here", self.clock,
        )  # fmt: skip

    def turn(self, after: float = 0.013) -> None:
        """Once round, and a look at who raised the flag, as the owner does."""
        self.clock.advance(after)
        self.loop.turn()
        self.interrupt.clear()

    def run(self, turns: int = 10_000) -> None:
        """Until everything is read and committed."""
        for _ in range(turns):
            self.turn()
            if self.commits.committed == self.reader.end and self.commits.idle:
                return
        raise AssertionError(f"not done after {turns} turns: {self.commits.committed} of {self.reader.end}")

    def drain(self) -> None:
        assert self.commits.drain(self.clock() + 1000.0)

    def stored(self) -> tuple[int, dict[str, Any]]:
        """The offset and the state that etcd has."""
        found = self.store.get(KEYS.offset(P))
        prefix = KEYS.state(P)
        state = {each.key.removeprefix(prefix): json.loads(each.value) for each in self.store.list(prefix).items}
        return (StoredOffset.decode(found.value).offset if found else 0), state


@contextmanager
def time_flies(clock: FakeClock) -> Iterator[None]:
    with mock.patch.object(
        commits_module, "time", mock.Mock(sleep=lambda seconds: clock.advance(max(seconds, 0.001)))
    ):
        yield


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits_module, "time", mock.Mock(sleep=_must_not_sleep))


def _must_not_sleep(seconds: float) -> None:
    raise AssertionError(f"slept for {seconds} s")


def fold(handle: Callable[[FakeRecord, Any], object], records: Sequence[FakeRecord], end: int) -> dict[str, Any]:
    """What a handler makes of the records before `end`, with a plain dict for a state."""
    state: dict[str, Any] = {}
    for record in records:
        if record.offset() < end:
            handle(record, state)
    return cast("dict[str, Any]", json.loads(json.dumps(state)))


def count_in_lists(record: FakeRecord, state: Any) -> None:
    """A handler that shows every loss, repetition and change of order."""
    state.setdefault("all", []).append(record.offset())
    state["last"] = (record.value() or b"").decode()
    counts = state.setdefault("counts", {})
    name = f"n{record.offset() % 3}"
    counts[name] = counts.get(name, 0) + 1
    if record.offset() % 5 == 4:
        del state["last"]
    for number in range(len(record.value() or b"") * 30):
        state[f"wide{number}"] = record.offset()


@dataclass
class Script:
    """What goes wrong at each offset, how often, and where somebody raises the flag."""

    raising: dict[int, int] = field(default_factory=dict)
    invalid: dict[int, int] = field(default_factory=dict)
    flags: set[int] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)
    interrupt: InterruptFlag | None = None

    def handle(self, record: FakeRecord, state: Any) -> None:
        offset = record.offset()
        self.calls.append(offset)
        if offset in self.flags and self.interrupt is not None:
            self.flags.discard(offset)
            self.interrupt.set()
        if self.raising.get(offset, 0) > 0:
            self.raising[offset] -= 1
            state["all"] = ["half", "done"]
            state.pop("counts", None)
            raise ValueError(f"at {offset}")
        count_in_lists(record, state)
        if self.invalid.get(offset, 0) > 0:
            self.invalid[offset] -= 1
            state["all"].append(object())

    def as_batch(self) -> type:
        script = self

        class Batch:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                for record in records:
                    script.handle(record, state)

        return Batch


OFFSETS = st.integers(0, 9)
TIMES = st.one_of(st.integers(1, RETRIES), st.integers(1, RETRIES), st.just(FOR_EVER))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow], report_multiple_bugs=False)
@given(
    values=st.lists(st.sampled_from([b"", b"", b"x", b"xx", b"xxx"]), min_size=3, max_size=12),
    gaps=st.lists(st.integers(0, 2), max_size=4),
    raising=st.dictionaries(OFFSETS, TIMES, max_size=3),
    invalid=st.dictionaries(OFFSETS, st.integers(1, RETRIES), max_size=2),
    flags=st.sets(OFFSETS, max_size=4),
    lost=st.lists(st.sampled_from([None, True, False]), max_size=12),
    sizes=st.lists(st.integers(1, 8), max_size=4),
    interval=st.sampled_from([0, 0.1, 0.1]),
    batch=st.sampled_from([False, False, True]),
    pace=st.sampled_from([0.2, 0.013]),
)
def test_the_stored_state_is_the_fold_whatever_the_handler_does(
    values: list[bytes], gaps: list[int], raising: dict[int, int], invalid: dict[int, int], flags: set[int],
    lost: list[bool | None], sizes: list[int], interval: float, batch: bool,
    pace: float,
) -> None:  # fmt: skip
    """Errors, values that are no JSON, wide records, lost answers and interruptions lose and double nothing."""
    records = records_of(values, gaps)
    script = Script(dict(raising), dict(invalid), set(flags))
    stage = Stage(records, script.as_batch() if batch else script.handle, interval, sizes, retries=2 * RETRIES)
    script.interrupt = stage.interrupt
    poison = [each.offset() for each in records if raising.get(each.offset()) == FOR_EVER]
    with time_flies(stage.clock):
        fates = iter(lost)
        failed: HandlerFailed | None = None
        try:
            for _ in range(150):
                applied = next(fates, None)
                if applied is not None:
                    stage.store.fail_next(applied=applied)
                stage.turn(pace)
                offset, state = stage.stored()
                assert state == fold(count_in_lists, records, offset), f"at offset {offset}"
                if stage.commits.committed == stage.reader.end:
                    break
        except HandlerFailed as error:
            failed = error
        stage.drain()
    assert bool(poison) is bool(failed)
    assert f"at {poison[0]} " in str(failed) if poison else stage.loop.handled == len(records)
    end = poison[0] if poison else stage.reader.end
    offset, state = stage.stored()
    assert state == fold(count_in_lists, records, end)
    assert all(record.offset() >= end for record in records if record.offset() >= offset)
    assert all(record.offset() < offset for record in records if record.offset() < end)


class TestOnTheWay:
    def test_everything_is_handled_once_in_order(self) -> None:
        """More records than fit one list, none of which goes wrong."""
        script = Script()
        stage = Stage(records_of([b""] * 1234), script.handle)
        stage.run()
        assert script.calls == list(range(1234))
        assert stage.loop.handled == 1234
        assert stage.loop.offset == 1234

    def test_a_commit_interval_bounds_the_commits(self) -> None:
        """So many records a second cost no more than ten commits a second."""
        stage = Stage(records_of([b""] * 300), Script().handle, interval=0.1, sizes=[1] * 300)
        begun = stage.clock()
        stage.run()
        assert stage.commits.count <= (stage.clock() - begun) / 0.1 + 2

    def test_without_an_interval_every_record_is_a_commit(self) -> None:
        """As many commits as records, and the state of each was stored before the next was begun."""
        seen: list[int] = []
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            seen.append(stage.stored()[0])
            count_in_lists(record, state)

        stage = Stage(records_of([b""] * 20), handle, interval=0)
        stage.run()
        assert stage.commits.count == 20
        assert seen == list(range(20))

    def test_more_than_a_hundred_keys_in_one_list_are_several_commits(self) -> None:
        """Each record touches a key of its own; no transaction grows past its limit, and nothing is done twice."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.calls.append(record.offset())
            state[f"key{record.offset()}"] = state.get(f"key{record.offset()}", 0) + 1

        stage = Stage(records_of([b""] * 450), handle)
        stage.run()
        assert script.calls == list(range(450))
        assert stage.stored() == (450, {f"key{n}": 1 for n in range(450)})

    def test_the_same_keys_over_and_over_are_one_transaction_an_interval(self) -> None:
        """They are cut more often than that, because more keys would be too many; what is cut waits."""

        def handle(record: FakeRecord, state: Any) -> None:
            name = f"key{record.offset() % 90}"
            state[name] = state.get(name, 0) + 1

        stage = Stage(records_of([b""] * 9000), handle, interval=0.1, sizes=[100] * 90)
        begun = stage.clock()
        stage.run()
        assert stage.commits.count <= (stage.clock() - begun) / 0.1 + 2
        assert stage.stored() == (9000, {f"key{n}": 100 for n in range(90)})

    def test_a_batch_that_touches_too_many_keys_is_done_again_one_by_one(self) -> None:
        """Its records together are too much for a transaction, each alone is not."""

        class Wide:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                for record in records:
                    for number in range(40):
                        name = f"{record.offset()}-{number}"
                        state[name] = state.get(name, 0) + 1

        stage = Stage(records_of([b""] * 10), Wide)
        stage.run()
        offset, state = stage.stored()
        assert (offset, len(state), set(state.values())) == (10, 400, {1})

    def test_the_first_record_is_noticed_once(self) -> None:
        """Before the handler sees it, and not while nothing comes."""
        calls: list[str] = []
        stage = Stage([], lambda record, state: calls.append("record"))
        stage.loop.on_first_record = lambda: calls.append("first")
        stage.turn()
        assert calls == []
        stage.reader.records = records_of([b"", b""])
        stage.run()
        assert calls == ["first", "record", "record"]

    def test_an_idle_loop_comes_round_and_commits_nothing(self) -> None:
        """Its place changes, so nobody thinks that it is stuck."""
        stage = Stage([], Script().handle)
        places = []
        for _ in range(3):
            stage.turn()
            places.append(stage.loop.place())
        assert len(set(places)) == 3
        assert stage.commits.count == 0

    def test_its_place_changes_with_every_record_and_every_heartbeat(self) -> None:
        """Whoever watches from another thread sees it move within a list."""
        places: list[tuple[int, int] | None] = []
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            places.append(stage.loop.place())
            stage.loop.heartbeat()
            places.append(stage.loop.place())

        stage = Stage(records_of([b""] * 5), handle)
        stage.run()
        assert len(set(places)) == 10

    def test_offsets_that_do_not_exist_any_more_are_refused(self) -> None:
        """Nothing is skipped silently."""
        stage = Stage(records_of([b""] * 5), Script().handle)
        stage.reader.first = 3
        with pytest.raises(PartitionRefused):
            stage.turn()


class TestErrors:
    @pytest.mark.parametrize("interval", [0, 0.1])
    @pytest.mark.parametrize("batch", [False, True])
    def test_a_poison_record_fails_with_everything_before_it_committed(self, interval: float, batch: bool) -> None:
        """The error names the place, the reason and the number of attempts."""
        script = Script(raising={7: FOR_EVER})
        records = records_of([b""] * 12)
        stage = Stage(records, script.as_batch() if batch else script.handle, interval)
        with pytest.raises(HandlerFailed) as caught:
            stage.run()
        assert all(words in str(caught.value) for words in ("ValueError: at 7", "events[3] offset 7", "4 attempts"))
        stage.drain()
        assert stage.stored() == (7, fold(count_in_lists, records, 7))
        assert stage.commits.offset == 7

    def test_the_attempts_are_as_many_as_ordered(self) -> None:
        """Once in the list, then the first attempt alone and its retries."""
        script = Script(raising={0: FOR_EVER})
        stage = Stage(records_of([b""]), script.handle, retries=2)
        with pytest.raises(HandlerFailed):
            stage.run()
        assert script.calls == [0] * 4

    @pytest.mark.parametrize("batch", [False, True])
    @pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), CancelledError(), GeneratorExit(), Own()])
    def test_whatever_a_handler_raises_is_the_records_error(self, error: BaseException, batch: bool) -> None:
        """None of it ends the worker silently."""

        def handle(record: Any, state: Any) -> None:
            raise error

        with pytest.raises(HandlerFailed, match=type(error).__name__):
            Stage(records_of([b""]), as_batch(handle) if batch else handle).run()

    @pytest.mark.parametrize("batch", [False, True])
    def test_a_handler_that_returns_something_has_failed(self, batch: bool) -> None:
        """At that record, with everything before it committed."""
        records = records_of([b""] * 5)

        def handle(record: FakeRecord, state: Any) -> object:
            count_in_lists(record, state)
            return "thrown away" if record.offset() == 3 else None

        stage = Stage(records, as_batch(handle) if batch else handle, retries=0)
        with pytest.raises(HandlerFailed, match="offset 3"):
            stage.run()
        stage.drain()
        assert stage.stored() == (3, fold(count_in_lists, records, 3))

    def test_each_attempt_has_the_time_limit_for_itself(self) -> None:
        """Its place changes with each, and there is none in the pauses between them."""
        places: list[object] = []
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            places.append(stage.loop.place())
            raise ValueError

        stage = Stage(records_of([b""]), handle)
        stage.interrupt.on_wait = lambda: places.append(stage.loop.place())
        with pytest.raises(HandlerFailed):
            stage.run()
        assert [each for each in places if each is None] == [None] * RETRIES
        assert len({each for each in places if each is not None}) == len(places) - RETRIES

    def test_the_sending_of_a_dead_letter_is_not_the_handlers_time(self) -> None:
        """However long Kafka takes to acknowledge it."""
        places: list[object] = []

        def handle(record: FakeRecord, state: Any) -> None:
            raise ValueError

        class Slow(ErrorPolicy):
            def give_up(self, record: Any, reason: str) -> None:
                places.append(stage.loop.place())

        stage = Stage(records_of([b""]), handle)
        stage.loop._error_policy = Slow("skip", None, {})
        stage.run()
        assert places == [None]

    @pytest.mark.parametrize("interval", [0, 0.1])
    def test_one_record_that_changes_too_much_fails_with_everything_before_it_committed(
        self, interval: float
    ) -> None:
        """It goes the way of a handler's error, and the message says what was too large."""

        def handle(record: FakeRecord, state: Any) -> None:
            count_in_lists(record, state)
            if record.offset() == 5:
                state.update({f"key{n}": 1 for n in range(101)})

        records = records_of([b""] * 8)
        stage = Stage(records, handle, interval)
        with pytest.raises(HandlerFailed, match=r"StateTooLarge: one record changes 10\d state keys.*offset 5"):
            stage.run()
        stage.drain()
        assert stage.stored() == (5, fold(count_in_lists, records, 5))

    def test_one_record_that_writes_too_many_bytes_fails(self) -> None:
        """One mebibyte is the limit, and the next smaller value is stored."""

        def handle(record: FakeRecord, state: Any) -> None:
            state["large"] = "x" * (transactions.MAX_STATE_BYTES - (1000 if record.offset() == 0 else 0))

        stage = Stage(records_of([b""] * 2), handle)
        with pytest.raises(HandlerFailed, match="StateTooLarge"):
            stage.run()
        stage.drain()
        assert stage.stored()[0] == 1

    def test_a_value_that_is_not_json_fails_at_the_record_that_left_it(self) -> None:
        """Though it was found only at the cut, some records later."""
        script = Script(invalid={3: FOR_EVER})
        records = records_of([b""] * 8)
        stage = Stage(records, script.handle)
        with pytest.raises(HandlerFailed, match=r"StateInvalid.*'all'.*offset 3"):
            stage.run()
        stage.drain()
        assert stage.stored() == (3, fold(count_in_lists, records, 3))

    def test_the_message_of_a_failed_handler_fits_into_etcd(self) -> None:
        """An exception may quote a whole record; the reason is stored twice, and read by people."""

        def handle(record: FakeRecord, state: Any) -> None:
            raise ValueError("x" * 2_000_000)

        with pytest.raises(HandlerFailed) as caught:
            Stage(records_of([b""]), handle).run()
        assert len(str(caught.value)) < 100_000

    def test_a_batch_handler_may_take_its_list_to_pieces(self) -> None:
        """What is handled is what was given, whatever became of the list."""

        class Greedy:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                records.reverse()
                while records:
                    count_in_lists(records.pop(), state)

        records = records_of([b""] * 9)
        stage = Stage(records, Greedy)
        stage.run()
        assert stage.stored() == (9, fold(count_in_lists, records, 9))


class TestTheWayBack:
    def test_what_was_handled_since_the_cut_is_read_again(self) -> None:
        """It is not kept: the reader goes back to the cut, and the records come once more, one by one."""
        script = Script(raising={4: 1})
        records = records_of([b""] * 6)
        stage = Stage(records, script.handle, interval=60, sizes=[1, 2, 3])
        stage.turn(100.0)  # a list of one, and a cut
        stage.turn()
        stage.turn()
        assert stage.reader.assigned == 1
        assert stage.loop.offset == 1
        stage.turn()
        assert stage.loop.offset == 6
        assert script.calls == [0, 1, 2, 3, 4, 1, 2, 3, 4, 5]
        stage.loop.cut()
        stage.drain()
        assert stage.stored() == (6, fold(count_in_lists, records, 6))

    def test_nothing_is_read_again_while_it_is_in_hand(self) -> None:
        """A list that fails right after a cut is still there."""
        script = Script(raising={2: 1})
        stage = Stage(records_of([b""] * 4), script.handle)
        with mock.patch.object(stage.reader, "assign") as assign:
            stage.run()
        assert not assign.called
        assert script.calls == [0, 1, 2, 0, 1, 2, 3]

    def test_a_record_whose_cut_was_interrupted_survives_the_failure_of_the_next(self) -> None:
        """Etcd is silent, the transaction full, and somebody raises the flag: what waits for its cut is not lost."""
        script = Script(raising={0: 1, 3: 1})

        def handle(record: FakeRecord, state: Any) -> None:
            script.handle(record, state)
            for number in range(60):
                state[f"{record.offset()}-{number}"] = 1
            if record.offset() == 2:
                stage.interrupt.set()

        records = records_of([b""] * 4)
        stage = Stage(records, handle)
        with time_flies(stage.clock):
            for _ in range(60):
                stage.store.fail_next(applied=False)
            stage.run()
        assert script.calls == [0, 0, 1, 2, 3, 3]
        offset, state = stage.stored()
        assert offset == 4
        assert state["all"] == [0, 1, 2, 3]


class TestInterrupted:
    def test_a_list_is_left_when_the_flag_is_raised_and_gone_on_with_later(self) -> None:
        """The record in hand is finished, the rest waits."""
        script = Script(flags={2})
        stage = Stage(records_of([b""] * 6), script.handle)
        script.interrupt = stage.interrupt
        stage.loop.turn()
        assert script.calls == [0, 1, 2]
        assert stage.loop.offset == 3
        stage.interrupt.clear()
        stage.run()
        assert script.calls == list(range(6))

    def test_a_flag_in_the_middle_of_retries_loses_nothing(self) -> None:
        """The loop returns between two attempts, and comes back to the same record."""
        script = Script(raising={2: 3}, flags={2})
        records = records_of([b""] * 6)
        stage = Stage(records, script.handle)
        script.interrupt = stage.interrupt
        stage.loop.turn()
        assert stage.loop.offset <= 2
        stage.run()
        assert stage.stored() == (6, fold(count_in_lists, records, 6))

    def test_a_flag_and_a_value_that_is_not_json_lose_no_record(self) -> None:
        """The rest of a list that was left is still there after the way back was interrupted as well."""
        script = Script(invalid={1: 1}, flags={2})
        records = records_of([b""] * 10)
        stage = Stage(records, script.handle)
        script.interrupt = stage.interrupt
        stage.clock.advance(1.0)
        stage.loop.turn()
        stage.interrupt.clear()
        records.append(FakeRecord(P, 10, b""))
        stage.reader.records.append(records[-1])
        stage.run()
        assert stage.stored() == (11, fold(count_in_lists, records, 11))

    def test_a_flag_while_waiting_for_etcd_loses_nothing(self) -> None:
        """With an etcd that is silent and a commit after every record, the loop still answers the flag."""
        script = Script()
        records = records_of([b""] * 4)
        stage = Stage(records, script.handle, interval=0)
        with time_flies(stage.clock):
            for _ in range(60):
                stage.store.fail_next(applied=False)
            stage.interrupt.set()
            for _ in range(20):
                stage.loop.turn()
            assert stage.loop.offset <= 1
            stage.interrupt.clear()
            stage.run()
        assert stage.stored() == (4, fold(count_in_lists, records, 4))
        assert script.calls == [0, 1, 2, 3]

    def test_leaving_with_records_in_hand_stores_what_was_handled(self) -> None:
        """A cut and the last commit: the successor goes on with the first record that was not handled."""
        script = Script(flags={4})
        records = records_of([b""] * 9)
        stage = Stage(records, script.handle, interval=60)
        script.interrupt = stage.interrupt
        stage.loop.turn()
        stage.interrupt.clear()
        stage.loop.cut()
        stage.drain()
        assert stage.stored() == (5, fold(count_in_lists, records, 5))


class TestLost:
    @pytest.mark.parametrize("sizes", [[1] * 10, []], ids=["one by one", "at once"])
    @pytest.mark.parametrize("interval", [0, 0.1])
    def test_a_lock_that_was_taken_ends_the_loop_as_lost(self, interval: float, sizes: list[int]) -> None:
        """Lost is not the handler's fault: it is neither retried nor told as its failure."""
        script = Script()
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            script.handle(record, state)
            if record.offset() == 3:
                stage.store.transact(transactions.take_over(KEYS, P, stage.token, None))

        stage = Stage(records_of([b""] * 10), handle, interval, sizes)
        with pytest.raises(Lost):
            stage.run()
        assert len(set(script.calls)) == len(script.calls), "a lost owner handled a record again"
        assert stage.stored()[0] <= 3

    def test_a_lock_that_was_taken_is_found_lost_while_waiting_for_room(self) -> None:
        """Also where a full transaction is waited for, in the middle of the way back."""
        script = Script(raising={6: 1})
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            script.handle(record, state)
            if record.offset() == 5 and script.calls.count(5) == 1:
                stage.store.transact(transactions.take_over(KEYS, P, stage.token, None))

        stage = Stage(records_of([b"xx"] * 12), handle)
        with pytest.raises(Lost):
            stage.run()
