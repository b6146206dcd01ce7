"""The failover report: how each partition came to the owner that it has."""

from __future__ import annotations

from partition_supervisor.admin.group_view import GroupView, PartitionState, PartitionView
from partition_supervisor.admin.last_moves import last_moves, rows
from partition_supervisor.cluster.retry import AT_ONCE, RetryingStore
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("p", "g")
AT = "2030-01-01T00:00:00.000000Z"


def record(token: int, **gap: float) -> History:
    return History(token, "w", "host-a", 1, "taken-over", AT, 7, AT, gap)


def test_each_owners_own_record_is_read_however_many_there_are() -> None:
    """In as few calls as etcd allows; what is none of ours is left out."""
    store = FakeEtcd(FakeClock())
    partitions = [Partition("t", number) for number in range(2 * AT_ONCE + 5)]
    for number, each in enumerate(partitions):
        value = b"[]" if number == 3 else record(number + 10).encode()
        store.transact(Txn((), (Put(KEYS.history(each, number + 10), value),)))
    views = tuple(
        PartitionView(each, PartitionState.OWNED, token=number + 10) for number, each in enumerate(partitions)
    )
    nobody = PartitionView(Partition("u", 0), PartitionState.UNOWNED)
    found = last_moves(RetryingStore(store, 1.0, "here"), KEYS, GroupView((*views, nobody)))
    assert set(found) == set(partitions) - {partitions[3]}
    assert all(found[each].token == each.number + 10 for each in found)
    store.close()


def test_phases_count_from_the_death_or_from_the_last_commit() -> None:
    died = record(1, exit_seen=13_500.0, lock_taken=13_516.0, state_loaded=13_517.0, first_record=13_540.0)
    handed = record(2, lock_taken=3.0, state_loaded=5.0, first_record=9.0)
    nothing = record(3)
    told = [row[4:] for row in rows({Partition("t", n): each for n, each in enumerate((died, handed, nothing))})]
    assert told[0][1:] == ("+16 ms", "+17 ms", "+40 ms", "7", "-")
    assert told[0][0] != "-"
    assert told[1] == ("-", "+3 ms", "+5 ms", "+9 ms", "7", "-")
    assert told[2] == ("-", "-", "-", "-", "7", "-")
