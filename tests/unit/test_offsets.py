"""Setting offsets: where to, and when it must not be done."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.admin.offsets import (
    Aim,
    Offsets,
    ResetRefused,
    Standing,
    Stored,
    To,
    aim_at,
    plan,
    refuse_owned,
)
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.commands.offsets import milliseconds_of
from partition_supervisor.kafka.end_offsets import Extent
from partition_workers.errors import ExitCode, Misconfigured, Unreachable
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Attempt, Drain, Host, Lock, Move, Parked, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("prefix", "group")
E0, E1 = Partition("events", 0), Partition("events", 1)
LOCK = Lock("worker-1", "host-a", 101, "1f", "acquired", now())
EXTENT = Extent(10, 100, "topic-id", at_time=42)


@pytest.fixture
def store() -> FakeEtcd:
    return FakeEtcd()


@pytest.fixture
def offsets(store: FakeEtcd) -> Offsets:
    return Offsets(RetryingStore(store, 1.0, "the fake"), KEYS)


@pytest.fixture
def orders(store: FakeEtcd) -> Orders:
    return Orders(RetryingStore(store, 1.0, "the fake"), KEYS)


def put(store: FakeEtcd, key: str, value: Document | bytes) -> None:
    store.transact(Txn((), (Put(key, value if isinstance(value, bytes) else value.encode()),)))


def standing(offset: int | None, owner: Lock | None = None) -> Standing:
    return Standing(E0, Stored(StoredOffset(offset, 7, 3, "", now()), 5) if offset is not None else Stored(), owner)


# --- where to


@pytest.mark.parametrize(
    ("aim", "target"),
    [
        (Aim(To.EARLIEST), 10),
        (Aim(To.LATEST), 100),
        (Aim(To.OFFSET, 17), 17),
        (Aim(To.OFFSET, 100), 100),
        (Aim(To.DATETIME, 1_900_000_000_000), 42),
        (Aim(To.SHIFT, -5), 45),
        (Aim(To.SHIFT, 5), 55),
    ],
)
def test_what_is_there_is_hit_without_a_remark(aim: Aim, target: int) -> None:
    assert aim_at(aim, standing(50), EXTENT) == (target, "")


@pytest.mark.parametrize(
    ("aim", "target", "note"),
    [
        (Aim(To.OFFSET, 9), 10, "9 is before the first record: 10 is taken"),
        (Aim(To.OFFSET, 101), 100, "101 is past the end: 100 is taken"),
        (Aim(To.SHIFT, -50), 10, "0 is before the first record: 10 is taken"),
        (Aim(To.SHIFT, 51), 100, "101 is past the end: 100 is taken"),
    ],
)
def test_what_is_not_there_is_replaced_by_the_nearest_and_said(aim: Aim, target: int, note: str) -> None:
    assert aim_at(aim, standing(50), EXTENT) == (target, note)


def test_a_time_after_the_last_record_is_the_end() -> None:
    target, note = aim_at(Aim(To.DATETIME, 1), standing(50), Extent(10, 100))
    assert target == 100
    assert "the end is taken" in note


def test_nothing_can_be_shifted_that_is_nowhere() -> None:
    with pytest.raises(ResetRefused, match=r"events\[0\] has no offset"):
        aim_at(Aim(To.SHIFT, 1), standing(None), EXTENT)


@given(
    st.sampled_from(To), st.integers(-300, 300), st.integers(0, 200), st.integers(0, 100), st.integers(0, 100),
    st.integers(0, 1),
)  # fmt: skip
def test_the_new_offset_is_always_one_that_exists(
    to: To, number: int, now_at: int, earliest: int, size: int, with_time: int
) -> None:
    extent = Extent(earliest, earliest + size, "", earliest if with_time else None)
    target, _ = aim_at(Aim(to, number), standing(now_at), extent)
    assert extent.earliest <= target <= extent.latest


def test_a_partition_that_kafka_does_not_have_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"Kafka has no partition events\[0\]"):
        plan(Aim(To.EARLIEST), [standing(1)], {})


def test_owners_are_named_with_what_to_do() -> None:
    refuse_owned([standing(1)])
    with pytest.raises(ResetRefused, match=r"host-a, pid 101.*pause events\[0\] --wait") as refused:
        refuse_owned([standing(1, LOCK)])
    assert refused.value.exit_code is ExitCode.CONDITION_NOT_MET


# --- in etcd


def test_a_reset_keeps_the_token_and_forgets_the_attempt_but_not_the_state(store: FakeEtcd, offsets: Offsets) -> None:
    put(store, KEYS.offset(E0), StoredOffset(50, 7, 3, "old", now()))
    put(store, KEYS.attempt(E0), Attempt(50, 2))
    put(store, KEYS.state(E0) + "count", b"50")
    [step] = plan(Aim(To.EARLIEST), [offsets.look()[E0]], {E0: EXTENT})

    offsets.set(step, drop_state=False)

    after = offsets.look()[E0].stored.offset
    assert after
    assert (after.offset, after.token, after.sequence, after.topic_id) == (10, 7, 0, "topic-id")
    assert after.reset < offsets.look()[E0].stored.revision  # no token of before is larger, each of after is
    assert after.reset >= store.get(KEYS.state(E0) + "count").mod_revision  # type: ignore[union-attr]
    assert store.get(KEYS.attempt(E0)) is None
    assert store.get(KEYS.state(E0) + "count") is not None


def test_the_state_is_dropped_in_the_same_transaction_and_no_other_partitions(
    store: FakeEtcd, offsets: Offsets
) -> None:
    for partition in (E0, E1):
        put(store, KEYS.state(partition) + "count", b"50")
    [step] = plan(Aim(To.LATEST), [Standing(E0)], {E0: EXTENT})
    before = store.revision

    offsets.set(step, drop_state=True)

    assert store.revision == before + 1
    assert store.get(KEYS.state(E0) + "count") is None
    assert store.get(KEYS.state(E1) + "count") is not None
    created = offsets.look()[E0].stored.offset
    assert created
    assert (created.offset, created.token) == (100, 0)


def test_somebody_who_took_the_lock_meanwhile_wins(store: FakeEtcd, offsets: Offsets) -> None:
    [step] = plan(Aim(To.LATEST), [Standing(E0)], {E0: EXTENT})
    put(store, KEYS.lock(E0), LOCK)
    with pytest.raises(ResetRefused, match="has an owner"):
        offsets.set(step, drop_state=True)
    assert store.get(KEYS.offset(E0)) is None


def test_a_commit_meanwhile_is_not_overwritten(store: FakeEtcd, offsets: Offsets) -> None:
    put(store, KEYS.offset(E0), StoredOffset(50, 7, 3, "", now()))
    [step] = plan(Aim(To.LATEST), [offsets.look()[E0]], {E0: EXTENT})
    put(store, KEYS.offset(E0), StoredOffset(60, 9, 1, "", now()))
    with pytest.raises(ResetRefused, match="just been changed"):
        offsets.set(step, drop_state=False)
    assert offsets.look()[E0].offset == 60


def test_a_lost_answer_is_asked_for_again_and_the_first_copy_is_known(store: FakeEtcd, offsets: Offsets) -> None:
    [step] = plan(Aim(To.LATEST), [Standing(E0)], {E0: EXTENT})
    store.fail_next(applied=True)
    offsets.set(step, drop_state=False)
    assert offsets.look()[E0].offset == 100


def test_what_is_shown_is_null_where_it_is_not_known(store: FakeEtcd, offsets: Offsets) -> None:
    put(store, KEYS.lock(E0), LOCK)
    assert json.loads(json.dumps(offsets.look()[E0].as_json())) == {
        "topic": "events", "partition": 0, "offset": None, "end_offset": None, "lag": None, "token": None,
        "committed_at": None, "prepared": None, "owner": {"host": "host-a", "pid": 101, "worker": "worker-1"},
    }  # fmt: skip


# --- orders


def test_a_pause_does_not_overwrite_what_a_worker_said(store: FakeEtcd, orders: Orders) -> None:
    said = Parked(3, "a record kills every worker", "host-a", now())
    put(store, KEYS.parked(E0), said)
    put(store, KEYS.offset(E1), StoredOffset(8, 1, 1, "", now()))

    first, second = orders.pause([E0, E1], "paused", "me")

    assert (first.parked, first.before) == (said, True)
    assert (second.parked.offset, second.parked.reason, second.before) == (8, "paused", False)
    assert orders.look().cluster.parked == {E0: said, E1: second.parked}


def test_a_pause_whose_answer_was_lost_is_its_own(store: FakeEtcd, orders: Orders) -> None:
    put(store, KEYS.offset(E0), StoredOffset(8, 1, 1, "", now()))
    transact, calls = store.transact, []

    def lose_the_write(txn: Txn) -> object:
        calls.append(txn)
        if len(calls) == 2:
            store.fail_next(applied=True)
        return transact(txn)

    store.transact = lose_the_write  # type: ignore[method-assign, assignment]
    assert [each.before for each in orders.pause([E0], "paused", "me")] == [False]
    assert len(calls) == 3


def test_resume_forgets_the_attempt_as_well(store: FakeEtcd, orders: Orders) -> None:
    put(store, KEYS.parked(E0), Parked(3, "poison", "host-a", now()))
    put(store, KEYS.attempt(E0), Attempt(3, 3))

    resumed, untouched = orders.resume([E0, E1])

    assert resumed.parked is not None
    assert resumed.parked.reason == "poison"
    assert untouched.parked is None
    assert store.get(KEYS.parked(E0)) is store.get(KEYS.attempt(E0)) is None


def test_orders_about_a_host_need_that_host(store: FakeEtcd, orders: Orders) -> None:
    with pytest.raises(Misconfigured, match="no host 'host-x': no supervisor of this group is running"):
        orders.drain("host-x")
    put(store, KEYS.host("host-a"), Host(4, "1", 1, "", now()))
    put(store, KEYS.host("host-b"), Host(4, "1", 1, "", now(), draining=True))
    for order in (orders.drain, orders.undrain, lambda host: orders.move(E0, host)):
        with pytest.raises(Misconfigured, match="no host 'host-x': there are host-a, host-b"):
            order("host-x")
    with pytest.raises(Misconfigured, match="about to end"):
        orders.move(E0, "host-b")


def test_nothing_moves_to_a_host_that_is_drained(store: FakeEtcd, orders: Orders) -> None:
    put(store, KEYS.host("host-a"), Host(4, "1", 1, "", now()))
    orders.drain("host-a")
    assert orders.look().cluster.drained == {"host-a"}
    with pytest.raises(Misconfigured, match="drain host-a --undo"):
        orders.move(E0, "host-a")

    assert orders.undrain("host-a")
    assert not orders.undrain("host-a")
    orders.move(E0, "host-a")
    assert orders.look().cluster.moves == {E0: "host-a"}
    assert orders.forget_move(E0) == "host-a"
    assert orders.forget_move(E0) is None


def test_a_drain_of_a_host_that_died_can_be_undone(store: FakeEtcd, orders: Orders) -> None:
    put(store, KEYS.drain("gone"), Drain(now()))
    put(store, KEYS.move(E0), Move("gone", now()))
    assert orders.undrain("gone")
    assert orders.forget_move(E0) == "gone"


def test_a_silent_etcd_is_unreachable_at_last(store: FakeEtcd) -> None:
    patient = RetryingStore(store, 0.1, "here")
    for _ in range(10):
        store.fail_next(applied=False)
    with pytest.raises(Unreachable, match=r"etcd does not answer at here .*--etcd-endpoints"):
        patient.transact(Txn((), ()))


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("1970-01-01T00:00:01.123900Z", 1123),
        ("1970-01-01T00:00:01.123", 1123),
        ("1970-01-01T01:00:01.123999+01:00", 1123),
        ("1969-12-31T23:59:59.999100Z", -1),
    ],
)
def test_a_time_means_the_whole_millisecond_that_it_lies_in(written: str, milliseconds: int) -> None:
    """Records have the millisecond in which they were produced, so none of that millisecond may be left out."""
    assert milliseconds_of(written) == milliseconds
