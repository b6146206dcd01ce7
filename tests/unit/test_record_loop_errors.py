"""The record loop when a handler raises, on the way back, and at an etcd that takes less than usual."""

from __future__ import annotations

import copy
import json
from asyncio import CancelledError
from typing import Any
from unittest import mock

import pytest

from partition_workers.commit_limits import CommitLimits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, Lost, Unavailable
from partition_workers.ownership import transactions
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import (
    FOR_EVER,
    KEYS,
    RETRIES,
    Own,
    P,
    Script,
    Stage,
    as_batch,
    count_in_lists,
    fold,
    records_of,
    time_flies,
)

pytestmark = pytest.mark.usefixtures("no_sleep")


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
            def give_up(self, record: Any, reason: str) -> bool:
                places.append(stage.loop.place())
                return False

        stage = Stage(records_of([b""]), handle)
        stage.loop._one_by_one._error_policy = Slow("skip", None, {})
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
                state.update({f"key{n}": 1 for n in range(40_001)})

        records = records_of([b""] * 8)
        stage = Stage(records, handle, interval)
        with pytest.raises(HandlerFailed, match=r"StateTooLarge: one record changes 4000\d state keys.*offset 5"):
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
        stage.cut()
        stage.drain()
        assert stage.stored() == (6, fold(count_in_lists, records, 6))

    @pytest.mark.parametrize("interval", [0, 0.1, 60])
    @pytest.mark.parametrize("batch", [False, True])
    def test_an_attempt_gets_the_record_as_kafka_has_it(self, interval: float, batch: bool) -> None:
        """Not what the attempt before made of it: handlers change records, as Kafka's own deserializer does."""
        script = Script(raising={2: 3, 5: 1})
        seen: list[tuple[Any, ...]] = []

        def handle(record: FakeRecord, state: Any) -> None:
            seen.append((record.topic(), record.key(), record.value(), record.headers()))
            fresh = copy.copy(record)
            record.set_value(json.loads(record.value() or b""))
            record.set_key("a key")
            record.set_topic("another")
            record.set_headers([("h", b"1"), *(record.headers() or [])])
            script.handle(fresh, state)

        records = records_of([b'{"a": 1}'] * 8)
        stage = Stage(records, as_batch(handle) if batch else handle, interval, sizes=[2, 1, 5])
        stage.run()
        stage.cut()
        stage.drain()
        assert set(map(repr, seen)) == {repr((P.topic, None, b'{"a": 1}', None))}
        assert stage.stored() == (8, fold(count_in_lists, records, 8))

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
        stage = Stage(records, handle, limits=CommitLimits(most_keys=100, keys=100))
        with time_flies(stage.clock):
            for _ in range(60):
                stage.store.fail_next(applied=False)
            stage.run()
        assert script.calls == [0, 0, 1, 2, 3, 3]
        offset, state = stage.stored()
        assert offset == 4
        assert state["all"] == [0, 1, 2, 3]


class TestAnEtcdThatTakesLess:
    """Its answer is known only when the changes are cut: the loop goes back to the last commit."""

    @pytest.mark.parametrize("batch", [False, True])
    def test_fewer_operations(self, batch: bool) -> None:
        """One that takes no transactions inside a transaction gets a hundred keys at a time."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.handle(record, state)
            state[f"key{record.offset()}"] = 1

        class Batch:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                for record in records:
                    handle(record, state)

        records = records_of([b""] * 3000)
        stage = Stage(records, Batch if batch else handle, sizes=[50] * 200)
        stage.run_to(40)
        stage.store.max_operations = 127 // 2
        stage.run()
        offset, state = stage.stored()
        assert offset == 3000
        assert state["all"] == list(range(3000))
        assert sum(state["counts"].values()) == 3000
        assert len(script.calls) <= 3000 + 2500

    def test_fewer_bytes_than_several_records_change(self) -> None:
        """They go in smaller commits, and none of them is a failure."""

        def handle(record: FakeRecord, state: Any) -> None:
            count_in_lists(record, state)
            state[f"key{record.offset() % 7}"] = "x" * 60_000

        records = records_of([b""] * 60)
        stage = Stage(records, handle)
        stage.store.max_request_bytes = 100_000
        stage.run()
        assert stage.stored() == (60, fold(handle, records, 60))

    @pytest.mark.parametrize("interval", [0, 0.1])
    def test_fewer_bytes_than_one_record_changes(self, interval: float) -> None:
        """It fails as too large, with the reason that etcd gave; what was before it is committed."""

        def handle(record: FakeRecord, state: Any) -> None:
            count_in_lists(record, state)
            if record.offset() == 5:
                state["large"] = "x" * 800_000

        records = records_of([b""] * 8)
        stage = Stage(records, handle, interval)
        stage.store.max_request_bytes = 500_000
        with pytest.raises(HandlerFailed, match=r"StateTooLarge: .*request is too large.*offset 5"):
            stage.run()
        stage.drain()
        assert stage.stored() == (5, fold(count_in_lists, records, 5))

    def test_it_is_left_in_good_order_though_nobody_can_go_back_any_more(self) -> None:
        """The last word goes without the changes: the next owner handles those records again."""

        def handle(record: FakeRecord, state: Any) -> None:
            state[f"key{record.offset()}"] = "x" * 60_000

        stage = Stage(records_of([b""] * 6), handle, interval=60)
        stage.run_to(1)
        stage.store.max_request_bytes = 100_000
        stage.turn()
        stage.loop.finish()
        assert stage.commits.drain(stage.clock() + 10, transactions.let_go(KEYS, P))
        assert stage.store.get(KEYS.lock(P)) is None
        assert stage.stored()[0] == stage.commits.committed

    def test_a_refusal_after_an_unknown_outcome_ends_the_ownership(self) -> None:
        """Nobody knows what is stored: the next owner reads it."""

        def handle(record: FakeRecord, state: Any) -> None:
            state["large"] = "x" * 200_000

        stage = Stage(records_of([b""] * 2), handle)
        stage.store.fail_next(applied=True)
        stage.turn()
        stage.store.max_request_bytes = 100_000
        with time_flies(stage.clock), pytest.raises(Lost, match="may have been done"):
            stage.run()

    def test_while_etcd_does_not_answer_the_state_is_not_used(self) -> None:
        """Back at the last commit, the state has to be read; until then nothing is handled and nothing cut."""
        calls: list[int] = []

        def handle(record: FakeRecord, state: Any) -> None:
            calls.append(record.offset())
            state[f"key{record.offset()}"] = "x" * 60_000

        stage = Stage(records_of([b""] * 6), handle)
        stage.store.max_request_bytes = 100_000
        with mock.patch.object(stage.store, "list", side_effect=Unavailable("silent")):
            for _ in range(20):
                stage.turn()
            before = list(calls)
            stage.cut()
            stage.loop.finish()
            stage.turn()
            assert calls == before
        stage.run()
        assert stage.stored()[0] == 6
