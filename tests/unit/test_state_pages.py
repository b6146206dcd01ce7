"""Reading a large state in pages: whatever does not arrive, what was read is kept, and it is the state that was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.errors import Compacted, Lost, PartitionSupervisorError, TooLarge, Unavailable
from partition_workers.etcd.store import Page, Put, Txn
from partition_workers.layout.documents import Cause, Lock, Size, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import state_pages, transactions
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from partition_workers.ownership.state_pages import GROWTH, MOST_KEYS, NEWEST, PAGE_BYTES, SHORTEST, PageSize
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 0)
ME = Standby("me", "here", 1, "2a", now())


class Watched(FakeEtcd):
    """Notes each page that was asked for; and what happens before it is answered, a test may say."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int, int]] = []
        self.deadlines: list[float | None] = []
        self.lagging: dict[int, int] = {}
        self.before_page: Callable[[int], None] = lambda _number: None

    def page(
        self, prefix: str, after: str = "", limit: int = 0, revision: int = 0, large: float | None = None
    ) -> Page:
        self.asked.append((after.removeprefix(prefix), limit, revision))
        self.deadlines.append(large)
        self.before_page(len(self.asked))
        page = super().page(prefix, after, limit, revision, large)
        knows = self.lagging.get(len(self.asked))
        return page if knows is None else Page(knows, page.items[:1], True)


class Stage:
    """A partition with a large state, whose lock is ours."""

    def __init__(self, keys: int = 1000) -> None:
        self.store = Watched()
        self.store.grant(60, ME.lease_id)
        self.state = {f"k{number:05d}": b"%d" % number for number in range(keys)}
        for key, value in self.state.items():
            self.put(key, value)
        self.store.transact(Txn((), (Put(KEYS.size(P), Size(keys, 5_000_000, now()).encode()),)))
        self.hopeless = False
        self.lock = PartitionLock(self.store, KEYS, P, ME, lambda: self.hopeless)
        loaded = self.lock.acquire()
        assert loaded is not None
        assert not loaded.complete
        self.loaded = loaded

    def put(self, key: str, value: bytes) -> None:
        self.store.transact(Txn((), (Put(KEYS.state(P) + key, value),)))

    def read(self, stop: Callable[[], bool] = lambda: False) -> Loaded:
        return self.lock.read_rest(self.loaded, stop)

    def lose_the_lock(self) -> None:
        self.store.transact(transactions.take_over(KEYS, P, self.loaded.token, Lock.naming(ME, Cause.TAKEN_OVER)))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_pages, "time", mock.Mock())


@pytest.mark.parametrize("keys", [0, 1, 63, 64, 65, 1000])
def test_all_of_it_is_read_in_order(keys: int) -> None:
    """None, one page and the borders of one, many; as of one revision, each after the last key of the one before."""
    stage = Stage(keys)
    read = stage.read()
    assert (read.state, read.complete) == (stage.state, True)
    assert list(read.state) == list(stage.state)
    assert {revision for _, _, revision in stage.store.asked} == {stage.loaded.revision}
    assert read == dataclasses.replace(stage.loaded, state=stage.state, complete=True)


@pytest.mark.parametrize("error", [Unavailable("silent"), TooLarge("more than 4 MB")])
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_page_that_does_not_arrive_is_asked_for_again_from_where_it_was(
    stage: Stage, failing: int, error: PartitionSupervisorError
) -> None:
    """Smaller, and with more time: there is no size or time that it must have."""
    stage.store.fail_pages(*[None] * (failing - 1), *[error] * 4)
    assert stage.read().state == stage.state
    asked = stage.store.asked[failing - 1 : failing + 4]
    assert len({after for after, _, _ in asked}) == 1
    limits = [limit for _, limit, _ in asked]
    assert limits == [max(1, limits[0] // 2**number) for number in range(5)]
    deadlines = stage.store.deadlines[failing - 1 : failing + 4]
    assert deadlines == [SHORTEST * 2**number for number in range(5)]


@pytest.mark.parametrize("times", [1, 1000])
def test_compactions_between_two_pages_cost_one_question(stage: Stage, times: int) -> None:
    """What was read stays; at the end all members say that the lock is still ours, so nobody else has written."""

    def compact(number: int) -> None:
        if 2 <= number < 2 + times:
            later = stage.store.transact(Txn((), (Put("/elsewhere", b""),))).revision
            stage.store.compact(later)

    stage.store.before_page = compact
    read = stage.read()
    assert (read.state, read.complete) == (stage.state, True)
    (first, second, third, *_) = stage.store.asked
    assert second[0] == third[0] != first[0]
    assert (second[2], third[2]) == (stage.loaded.revision, NEWEST)


def test_after_a_compaction_a_member_that_is_behind_is_not_believed(stage: Stage) -> None:
    """It would show the state as it was before our token, and not say so."""
    stage.store.fail_pages(None, Compacted(5))
    stage.store.lagging = {4: stage.loaded.token - 1}
    read = stage.read()
    assert (read.state, read.complete) == (stage.state, True)
    assert stage.store.asked[3][0] == stage.store.asked[4][0] != stage.store.asked[5][0]


def test_a_compaction_and_a_lock_that_was_lost_end_it(stage: Stage) -> None:
    """What is read after that may be another owner's work."""

    def lose(number: int) -> None:
        if number == 2:
            stage.lose_the_lock()
            stage.store.compact(stage.store.revision)

    stage.store.before_page = lose
    with pytest.raises(Lost, match="another owner"):
        stage.read()


def test_what_another_owner_writes_meanwhile_is_not_mixed_in(stage: Stage) -> None:
    """The lock was lost and nobody has told us: it is the state of then, whole. The next commit finds out."""

    def interfere(number: int) -> None:
        if number == 2:
            stage.lose_the_lock()
            stage.put("k00001", b"new")
            stage.put("k00999", b"new")
            stage.put("zzz", b"new")

    stage.store.before_page = interfere
    assert stage.read().state == stage.state


def test_a_lease_that_is_over_ends_it(stage: Stage) -> None:
    """And nothing else does, however often a page fails."""
    stage.store.fail_pages(*[Unavailable("silent")] * 1000)

    def give_up(number: int) -> None:
        stage.hopeless = number == 500

    stage.store.before_page = give_up
    with pytest.raises(Lost, match="lease ran out"):
        stage.read()
    assert len(stage.store.asked) == 500


def test_who_is_told_to_stop_has_read_a_part(stage: Stage) -> None:
    """Between two pages, also while none arrives."""
    read = stage.read(lambda: len(stage.store.asked) == 2)
    assert 0 < len(read.state) < len(stage.state)
    assert not read.complete
    stage.store.fail_pages(*[Unavailable("silent")] * 1000)
    read = stage.read(lambda: len(stage.store.asked) >= 20)
    assert not read.complete


class TestPageSize:
    def test_it_grows_to_a_megabyte_and_stays_there(self) -> None:
        """By the size of the values that have come; not at once, as the next ones may be of another size."""
        size = PageSize()
        seen = []
        for _ in range(8):
            seen.append(size.keys)
            size.has_arrived(size.keys, 1000 * size.keys, 0.001)
        assert seen[:3] == [64, 64 * GROWTH, 64 * GROWTH**2]
        assert seen[-1] == PAGE_BYTES // 1000
        size.has_arrived(size.keys, 1_000_000 * size.keys, 0.001)
        assert size.keys == 1

    def test_tiny_values_do_not_make_it_grow_without_end(self) -> None:
        """If large ones follow, they all come at once."""
        size = PageSize()
        for _ in range(20):
            size.has_arrived(size.keys, size.keys, 0.001)
        assert size.keys == MOST_KEYS

    def test_a_slow_way_gets_smaller_pages(self) -> None:
        """Renewals of leases wait behind them."""
        size = PageSize(keys=1000)
        for _ in range(10):
            size.has_arrived(size.keys, 1000 * size.keys, size.keys * 1000 / 100_000)  # 100 kB/s
        assert 40 <= size.keys <= 50

    @given(
        st.lists(
            st.one_of(st.none(), st.tuples(st.integers(1, 50_000), st.integers(0, 10**8), st.floats(0, 100))),
            max_size=50,
        )
    )
    def test_whatever_happens_it_asks_for_something_and_waits_for_it(
        self, history: list[tuple[int, int, float] | None]
    ) -> None:
        """None: a page that failed."""
        size = PageSize()
        for each in history:
            if each is None:
                size.has_failed()
            else:
                size.has_arrived(*each)
            assert 1 <= size.keys <= MOST_KEYS
            assert size.deadline >= SHORTEST


def test_compacted_is_no_reason_for_smaller_pages(stage: Stage) -> None:
    """The way is as good as before."""
    stage.store.fail_pages(None, Compacted(5))
    stage.read()
    assert stage.store.asked[1][1] == stage.store.asked[2][1]
