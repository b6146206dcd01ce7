"""The record loop: whatever a handler does, and whatever comes in between, the stored state is its fold."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partition_workers.commit_limits import CommitLimits
from partition_workers.errors import Bug, HandlerFailed, PartitionRefused
from partition_workers.etcd.store import Txn, TxnResult
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import (
    FOR_EVER,
    RETRIES,
    P,
    Script,
    Stage,
    count_in_lists,
    fold,
    records_of,
    time_flies,
)

pytestmark = pytest.mark.usefixtures("no_sleep")

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
    request_bytes=st.sampled_from([1_500_000, 12_000]),
)
def test_the_stored_state_is_the_fold_whatever_the_handler_does(
    values: list[bytes], gaps: list[int], raising: dict[int, int], invalid: dict[int, int], flags: set[int],
    lost: list[bool | None], sizes: list[int], interval: float, batch: bool,
    pace: float, request_bytes: int,
) -> None:  # fmt: skip
    """Errors, values that are no JSON, wide records, lost answers and interruptions lose and double nothing.

    Nor does an etcd that takes less than what we make, though each record alone would fit.
    """
    records = records_of(values, gaps)
    script = Script(dict(raising), dict(invalid), set(flags))
    stage = Stage(records, script.as_batch() if batch else script.handle, interval, sizes, retries=2 * RETRIES,
                  limits=CommitLimits(most_keys=100, keys=100))  # fmt: skip
    stage.store.max_request_bytes = request_bytes
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
        assert stage.commits.times.count <= (stage.clock() - begun) / 0.1 + 2

    def test_without_an_interval_every_record_is_a_commit(self) -> None:
        """As many commits as records, and the state of each was stored before the next was begun."""
        seen: list[int] = []
        stage: Stage

        def handle(record: FakeRecord, state: Any) -> None:
            seen.append(stage.stored()[0])
            count_in_lists(record, state)

        stage = Stage(records_of([b""] * 20), handle, interval=0)
        stage.run()
        assert stage.commits.times.count == 20
        assert seen == list(range(20))

    def test_many_keys_are_one_commit_an_interval(self) -> None:
        """They gather for the interval, and nothing is done twice."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.calls.append(record.offset())
            state[f"key{record.offset() % 1500}"] = record.offset()

        stage = Stage(records_of([b""] * 9000), handle, interval=0.1, sizes=[100] * 90)
        begun = stage.clock()
        stage.run()
        assert script.calls == list(range(9000))
        assert stage.commits.times.count <= (stage.clock() - begun) / 0.1 + 2
        assert stage.stored() == (9000, {f"key{n % 1500}": n for n in range(7500, 9000)})

    def test_more_keys_than_a_transaction_holds_are_several(self) -> None:
        """Each record touches a key of its own; no transaction grows past its limit, and nothing is done twice."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.calls.append(record.offset())
            state[f"key{record.offset()}"] = state.get(f"key{record.offset()}", 0) + 1

        stage = Stage(records_of([b""] * 9000), handle)
        stage.run()
        assert script.calls == list(range(9000))
        assert stage.stored() == (9000, {f"key{n}": 1 for n in range(9000)})

    def test_deleted_keys_count_as_written_ones(self) -> None:
        """What a request wrote, the response deletes; nothing is done twice."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.calls.append(record.offset())
            if record.offset() < 3000:
                state[f"key{record.offset()}"] = [1]
            else:
                del state[f"key{record.offset() - 3000}"]

        limits = CommitLimits(most_keys=200, keys=200)
        stage = Stage(records_of([b""] * 6000), handle, sizes=[500] * 12, limits=limits)
        stage.run()
        assert script.calls == list(range(6000))
        assert stage.stored() == (6000, {})

    def test_large_values_do_not_gather_past_the_limit(self) -> None:
        """Long text and long lists, of other keys in each record: nothing is done twice."""
        script = Script()

        def handle(record: FakeRecord, state: Any) -> None:
            script.calls.append(record.offset())
            state[f"key{record.offset()}"] = "x" * 50_000 if record.offset() % 2 else ["x" * 50_000]

        stage = Stage(records_of([b""] * 100), handle)
        stage.run()
        assert script.calls == list(range(100))
        assert stage.stored()[0] == 100

    def test_batches_shrink_until_they_fit_and_grow_again(self) -> None:
        """Lists that change more than a transaction holds are halved, and not tried as long again."""
        lists: list[int] = []
        wide = True

        class Wide:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                lists.append(len(records))
                for record in records:
                    for number in range(40 if wide else 1):
                        name = f"{record.offset()}-{number}"
                        state[name] = state.get(name, 0) + 1

        stage = Stage(records_of([b""] * 1000), Wide, limits=CommitLimits(most_keys=4000, keys=2000))
        stage.run()
        offset, state = stage.stored()
        assert (offset, len(state), set(state.values())) == (1000, 40_000, {1})
        assert lists[:4] == [500, 250, 125, 62]
        assert max(lists[3:]) == 62
        assert sum(lists) <= 1000 + 500 + 250 + 125
        wide = False
        stage.reader.records += [FakeRecord(P, offset, b"") for offset in range(1000, 9000)]
        stage.run()
        assert max(lists[-3:]) == 500

    def test_a_batch_of_one_record_that_changes_too_much_is_that_records_error(self) -> None:
        class Wide:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                for record in records:
                    width = 5000 if record.offset() == 77 else 1
                    state.update({f"{record.offset()}-{number}": 1 for number in range(width)})

        stage = Stage(records_of([b""] * 200), Wide, limits=CommitLimits(most_keys=4000, keys=2000))
        with pytest.raises(HandlerFailed, match=r"StateTooLarge: one record changes 5000 state keys.*offset 77"):
            stage.run()
        stage.drain()
        assert stage.stored()[0] == 77

    def test_two_commits_are_an_interval_apart_also_when_etcd_is_slow(self) -> None:
        """A cut that waited for the one in flight does not follow on its heels."""
        sent: list[float] = []
        stage = Stage(records_of([b""] * 200), Script().handle, interval=0.1, sizes=[1] * 200)
        transact = stage.store.transact_soon

        def note(txn: Txn) -> Future[TxnResult]:
            sent.append(stage.clock())
            return transact(txn)

        with mock.patch.object(stage.store, "transact_soon", note):
            stage.run()
        assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.0999

    def test_a_record_that_is_read_again_is_a_bug(self) -> None:
        """Nothing is handled twice in silence, whatever the client of Kafka does."""
        stage = Stage(records_of([b""] * 5), Script().handle)
        stage.turn()
        stage.reader.assigned = 3
        with pytest.raises(Bug, match="offset 3 was read again"):
            stage.turn()

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
        assert stage.commits.times.count == 0

    def test_its_place_changes_with_every_record_and_every_heartbeat(self) -> None:
        """Whoever watches from another thread sees it move within a list."""
        places: list[tuple[int, ...] | None] = []
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
