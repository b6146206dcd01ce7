"""One worker that gets the lock of one partition, without a process, a broker or an etcd."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Attempt, Cause, History, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent
from partition_workers.model import Partition
from partition_workers.owner import Owner
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import Leave, Order, Report, WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
TOPIC_ID = "topic-id"
#: Seconds between two commits: none is due by itself.
INTERVAL = 3600.0


class FakeSupervisorPipe:
    """Orders that wait, reports that were made."""

    def __init__(self) -> None:
        self.orphaned = self.told_to_leave = False
        self.orders: list[Order] = []
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def next_order(self, timeout: float | None = None) -> Order | None:
        return self.orders.pop(0) if self.orders else None


class FakeLease:
    def __init__(self) -> None:
        self.gone = self.late = self.started = False
        self.place: Callable[[], object] | None = None

    def start(self) -> None:
        self.started = True

    def is_over(self) -> bool:
        return self.gone

    def watch_over(self, place: Callable[[], object]) -> None:
        self.place = place


class Stage:
    """A partition of ten records, and one worker that gets its lock. It is told to leave when it has read them.

    The first record comes alone, and its commit goes at once; what follows waits for the last one.
    """

    def __init__(self, records: int = 10, up_for: float = 10 * INTERVAL) -> None:
        self.store, self.interrupt = FakeEtcd(), InterruptFlag()
        self.clock = FakeClock(up_for)
        self.line, self.lease = FakeSupervisorPipe(), FakeLease()
        self.handled: list[int] = []
        self.on_record: Callable[[int], None] = lambda _offset: None
        self.when_idle: Callable[[], None] = lambda: self.tell(Leave(tuple(self.successors)))
        self.successors: Sequence[Standby] = ()
        self.records = [FakeRecord(P, offset, b"x") for offset in range(records)]
        self.lifecycle = Lifecycle()

    def standby(self, name: str) -> Standby:
        return Standby(name, f"host-of-{name}", 1, f"{self.store.grant(3600).lease:x}", now())

    def tell(self, order: Order) -> None:
        self.line.orders.append(order)
        self.interrupt.set()

    def handle(self, record: Any, state: Any) -> None:
        assert self.lease.started, "a record was handled under a lease that nobody renews"
        self.handled.append(record.offset())
        state["sum"] = state.get("sum", 0) * 3 + record.offset()
        self.on_record(record.offset())

    def acquire(self, me: Standby | None = None) -> Loaded:
        me = me or self.standby("me")
        loaded = PartitionLock(self.store, KEYS, P, me, lambda: False).acquire()
        assert loaded is not None
        return loaded

    def owner(
        self, handler: Any = None, topic_id: str = TOPIC_ID, retries: int = 0, on_error: str = "stop",
        start_at: int | None = None,
    ) -> Owner:  # fmt: skip
        me = self.standby("me")
        loaded = self.acquire(me)
        self.token = loaded.token
        settings = WorkerSettings(
            P, me.worker, me.host, me.lease_id, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, topic_id,
            start_at, 5, INTERVAL, 60.0, 30.0, retries, on_error, None, 3, 0, 20,
        )  # fmt: skip
        self.lifecycle.advance(LifecycleEvent.WARMED_UP)
        self.lifecycle.advance(LifecycleEvent.LOCK_OFFERED)
        reader = FakeReader(self.records, P, lambda _seconds: self.when_idle(), sizes=(1,))
        return Owner(
            settings, me, loaded, now(), self.store, reader, Handler(handler or self.handle),
            cast(LeaseWatchdog, self.lease), cast(SupervisorPipe, self.line), self.interrupt, self.lifecycle,
            self.clock,
        )  # fmt: skip

    def a_predecessor(
        self, offset: int, state: Any, topic_id: str = TOPIC_ID, deaths: int = 1, attempt: Attempt | None = None
    ) -> int:
        """Somebody who committed so far, and died, as the last of so many in a row. Its token."""
        loaded = self.acquire(self.standby("predecessor"))
        stored = StoredOffset(offset, loaded.token, 1, topic_id, now(), deaths)
        began = History(loaded.token, "predecessor", "there", 1, Cause.ACQUIRED, now(), 0)
        extra: tuple[Put, ...] = (Put(KEYS.history(P, loaded.token), began.encode()),)
        if attempt is not None:
            extra += (Put(KEYS.attempt(P), attempt.encode()),)
        changes = {name: json.dumps(value).encode() for name, value in state.items()}
        self.store.transact(transactions.commit(KEYS, P, 0, stored, changes, extra))
        self.store.transact(Txn((), (Delete(KEYS.lock(P)),)))
        return loaded.token

    def renew(self) -> None:
        """For another owner after the one that has left."""
        self.lifecycle, self.interrupt, self.line, self.lease = (
            Lifecycle(), InterruptFlag(), FakeSupervisorPipe(), FakeLease(),
        )  # fmt: skip

    def report(self, kind: type) -> Any:
        (found,) = (each for each in self.line.told if isinstance(each, kind))
        return found

    @property
    def lock(self) -> tuple[Lock, int, int] | None:
        """Whose it is, under which token and which lease."""
        found = self.store.get(KEYS.lock(P))
        return (Lock.decode(found.value), found.mod_revision, found.lease) if found else None

    @property
    def offset(self) -> tuple[int, int]:
        """The stored offset, and the revision at which it was written."""
        found = self.store.get(KEYS.offset(P))
        return (StoredOffset.decode(found.value).offset, found.mod_revision) if found else (0, 0)

    @property
    def deaths(self) -> int:
        """How many owners in a row the next one would count, should this one be dead."""
        found = self.store.get(KEYS.offset(P))
        return StoredOffset.decode(found.value).deaths if found else 0

    @property
    def attempt(self) -> Attempt | None:
        found = self.store.get(KEYS.attempt(P))
        return Attempt.decode(found.value) if found else None

    @property
    def sum(self) -> int:
        found = self.store.get(KEYS.state(P) + "sum")
        return cast(int, json.loads(found.value)) if found else 0

    @property
    def history(self) -> list[History]:
        return [History.decode(each.value) for each in self.store.list(KEYS.histories(P)).items]

    @property
    def parked(self) -> Parked | None:
        found = self.store.get(KEYS.parked(P))
        return Parked.decode(found.value) if found else None


def fold(records: range, begin: int = 0) -> int:
    total = begin
    for number in records:
        total = total * 3 + number
    return total
