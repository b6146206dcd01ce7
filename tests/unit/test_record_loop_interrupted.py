"""The record loop when somebody wants something, and when the lock is lost."""

from __future__ import annotations

from typing import Any

import pytest

from partition_workers.commit_limits import CommitLimits
from partition_workers.errors import Lost
from partition_workers.ownership import transactions
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import (
    KEYS,
    P,
    Script,
    Stage,
    count_in_lists,
    fold,
    records_of,
    time_flies,
)

pytestmark = pytest.mark.usefixtures("no_sleep")


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
        stage.cut()
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

        stage = Stage(records_of([b"xx"] * 12), handle, limits=CommitLimits(most_keys=100, keys=100))
        with pytest.raises(Lost):
            stage.run()
