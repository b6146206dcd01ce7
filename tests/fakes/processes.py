"""Workers, errands and leases without a process, a thread or a socket; and a host of its own to replay histories on.

Everything that decides is real: the loop, succession, staffing, vigil, timers. What they act upon is not: children
remember what they were told, errands are done when the test says so, time passes when the test says so.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar, cast

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.loop import Supervisor
from partition_supervisor.events import (
    ChildExited,
    ChildReported,
    ClusterChanged,
    Event,
    LeaseGone,
)
from partition_supervisor.inbox import Inbox
from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_supervisor.processes.children import Child, Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.log_receiver import FromWorker
from partition_workers.clock import Clock
from partition_workers.errors import LeaseGone as NoLease
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Change, Delete, Operation, Put, Store, Txn
from partition_workers.layout.documents import Cause, History, Host, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token
from partition_workers.ownership import transactions
from partition_workers.ownership.lease_keeper import LeaseKeeper
from partition_workers.ownership.lock import PartitionLock
from partition_workers.ownership.transactions import Loaded
from partition_workers.protocol import (
    AnsweredPing,
    AnswerPing,
    BecameReady,
    BecomeOwner,
    Compete,
    GaveUp,
    HandedOver,
    Leave,
    MissedLock,
    Order,
    Report,
    TookLock,
    WorkerSettings,
)
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

T = TypeVar("T")
Kind = TypeVar("Kind", bound=Order)


class FakeChild(Child):
    """A worker without a process: it remembers what it was told and how it was signalled."""

    def __init__(self, settings: WorkerSettings, pid: int, clock: Clock) -> None:
        nothing: Any = None
        super().__init__(settings, nothing, nothing, cast(FromWorker, FakeLogs()), pid)
        self.told: list[Order] = []
        self.signals: list[signal.Signals] = []
        self.exit_code: int | None = None
        self.named_at: dict[Token, float] = {}
        self._clock = clock

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def tell(self, order: Order) -> None:
        if self.exit_code is None:
            self.told.append(order)
        if isinstance(order, BecomeOwner):
            self.named_at.setdefault(order.token, self._clock())

    def signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self.signals.append(number)

    def orders(self, kind: type[Kind]) -> list[Kind]:
        """What it was told of one kind."""
        return [order for order in self.told if isinstance(order, kind)]

    @property
    def killed(self) -> bool:
        return signal.SIGKILL in self.signals


class FakeLogs:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeChildren(Children):
    """Remembers everybody who was ever started; they live until the test ends them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._children: dict[str, Child] = {}
        self._of: dict[Partition, dict[str, Child]] = defaultdict(dict)
        self._pids = count(1_000_001)
        self.started: list[FakeChild] = []
        self.reaped: list[FakeChild] = []

    def start(self, make: Callable[[str, int], WorkerSettings]) -> Child:
        pid = next(self._pids)
        child = FakeChild(make(f"worker-{pid}", pid), pid, self._clock)
        self._remember(child)
        self.started.append(child)
        return child

    def reap(self, child: Child) -> int:
        assert isinstance(child, FakeChild)
        assert child.exit_code is not None, "only who has exited can be reaped"
        assert child not in self.reaped, "reaped twice"
        self.reaped.append(child)
        return child.exit_code

    @property
    def living(self) -> list[FakeChild]:
        return [child for child in self.started if child.exit_code is None]


class FakeBackgroundCalls(BackgroundCalls):
    """Work is done when the loop comes round, or, while `held`, when the test says so."""

    def __init__(self, inbox: Inbox) -> None:
        self.open = 0
        self.held = False
        #: What the next calls end with instead of being done; and what calls have ended with.
        self.errors: list[Exception] = []
        self.raised: list[Exception] = []
        self._inbox = inbox
        self._waiting: list[Callable[[], None]] = []

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def do() -> None:
            try:
                if self.errors:
                    raise self.errors.pop(0)
                result = work()
            except Exception as error:
                self.raised.append(error)
                future.set_exception(error)
            else:
                future.set_result(result)

        self._waiting.append(do)
        return future

    def do_one(self) -> bool:
        if not self._waiting:
            return False
        self._waiting.pop(0)()
        return True

    def close(self) -> None:
        self._waiting.clear()


class FakeKeeper(LeaseKeeper):
    """Renews in `round`, which the test calls, those whose holder is alive."""

    def __init__(self, store: Store, clock: Clock, on_gone: Callable[[int], None]) -> None:
        self._fake_store, self._fake_clock, self._fake_gone = store, clock, on_gone
        self.kept: dict[int, tuple[float, Callable[[], bool]]] = {}
        self._deadlines: dict[int, float] = {}

    def keep(
        self, lease: int, ttl: float, alive: Callable[[], bool] = lambda: True, deadline: float | None = None
    ) -> None:
        self.kept[lease] = ttl, alive
        self._deadlines[lease] = self._fake_clock() + ttl if deadline is None else deadline

    def deadline(self, lease: int) -> float:
        return self._deadlines[lease] if lease in self.kept else 0.0

    def drop(self, lease: int) -> None:
        self.kept.pop(lease, None)

    def close(self) -> None:
        self.kept.clear()

    def is_renewed(self, lease: int) -> bool:
        return lease in self.kept and self.kept[lease][1]()

    def round(self, store: FakeEtcd) -> None:
        for lease in [each for each in self.kept if self.is_renewed(each)]:
            if store.renew(lease).ttl > 0:
                self._deadlines[lease] = self._fake_clock() + self.kept[lease][0]
            else:
                self.drop(lease)
                self._fake_gone(lease)


class FakeForkServer(ForkServer):
    def __init__(self) -> None:
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1


class _RunIsReady(Exception):
    pass


class PacedInbox(Inbox):
    """`run` would wait here for ever; the test takes over from it instead."""

    paced = True

    happened = 0

    def wait(self, seconds: float | None) -> list[Event]:
        if self.paced:
            self.paced = False
            raise _RunIsReady
        events = super().wait(0.0)
        self.happened += len(events)
        return events


@dataclass(frozen=True)
class Elsewhere:
    """A worker on another host, as etcd shows it."""

    standby: Standby

    @property
    def worker(self) -> str:
        return self.standby.worker


class FakePeerMonitor(PeerMonitor):
    """Follows nobody: a test says who died."""

    def __init__(self) -> None:
        pass

    def know(self, hosts: Mapping[str, Host]) -> None:
        pass


class FakeHost:
    """One real supervisor, `a` by default, on fakes; other hosts are what the test puts into etcd.

    Leases run out only when the test expires them, except this host's, which its keeper renews.
    """

    def __init__(self, partitions: int = 1, host_id: str = "a", topic: str = "t", **settings: Any) -> None:
        self.clock, self.boottime = FakeClock(1_000.0), FakeClock(50_000.0)
        self.store = FakeEtcd(FakeClock())
        self.inbox = PacedInbox(self.boottime)
        self.config = Config(
            "h:handle", (topic,), "kafka:9092", EtcdOptions(("etcd:2379",)), host_id=host_id, **settings
        )
        self.keys: Keys = self.config.keys
        self.partitions = [Partition(topic, number) for number in range(partitions)]
        self.children, self.cluster = FakeChildren(self.clock), ClusterState(self.keys)
        self.background, self.fork_server = FakeBackgroundCalls(self.inbox), FakeForkServer()
        self.watching = True
        self.frozen: set[str] = set()
        self.mirrored: list[dict[Partition, int]] = []
        gone: Callable[[int], None] = lambda lease: self.inbox.post(LeaseGone(lease))  # noqa: E731
        self.membership = Membership(self.store, self.keys, host_id, self.config.lease_ttl, gone)
        self.keeper = self.membership.keeper = FakeKeeper(self.store, self.boottime, gone)
        self._seen = 0
        self._workers = count(1)
        self._obeyed: dict[str, int] = {}
        self._pinged: dict[str, int] = {}

    def open(self) -> FakeHost:
        """Begin to run: what was put into etcd until now, it finds there."""
        self.membership.enter(Host(self.config.workers, "1", 1, "", now()), 1.0, "the fake")
        self.cluster.list_anew(self.look())
        self._seen = self.store.revision
        self.supervisor = Supervisor(
            self.config, self.fork_server, self.inbox, self.children, self.cluster, self.store, self.membership,
            FakePeerMonitor(), self.background, dict.fromkeys(self.partitions, "id"), self.mirrored.append,
            self.clock,
        )  # fmt: skip
        try:
            self.supervisor.run()
        except _RunIsReady:
            self.settle()
        return self

    def close(self) -> None:
        self.inbox.close()
        self.store.close()

    # --- time

    def turn(self) -> bool:
        """One round of the loop, as `run` does it. False: nothing had happened."""
        if self.watching:
            self.post_changes()
        if not self.background.held:
            self.background.do_one()
        self.inbox.happened = 0
        self.supervisor._turn()
        return self.inbox.happened > 0

    def settle(self) -> None:
        """Until nothing happens any more at this moment; workers that are ready and not frozen obey meanwhile."""
        for _ in range(10_000):
            obeyed = sum(self.obey(child) for child in self.children.living)
            if not (self.turn() or obeyed or (self.background._waiting and not self.background.held)):
                return
        raise AssertionError("the loop does not come to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer on its time."""
        end = self.clock() + seconds
        while (due := self.supervisor._timers.queue[0].time) <= end:
            self.jump(max(0.0, due - self.clock()) + 1e-6)  # the sum of floats may fall short of `due`
            self.settle()
        self.jump(max(0.0, end - self.clock()))
        self.settle()

    def jump(self, seconds: float) -> None:
        """Time passes and nobody notices, as when the host is frozen."""
        self.clock.advance(seconds)
        self.boottime.advance(seconds)

    # --- what etcd tells

    def look(self) -> Snapshot:
        result = self.store.transact(read_all(self.keys))
        return Snapshot(result.revision, tuple(item for found in result.answers for item in found))

    def post_changes(self) -> None:
        """What the watch tells, one change at a time, as `Eyes` does."""
        for change in self._fresh():
            self.inbox.post(ClusterChanged((change,)))

    def _fresh(self) -> list[Change]:
        fresh = [
            change
            for change in self.store._history
            if change.item.mod_revision > self._seen and change.item.key.startswith(prefixes(self.keys))
        ]
        self._seen = self.store.revision
        return fresh

    def put(self, *operations: Operation) -> int:
        return self.store.transact(Txn((), operations)).revision

    # --- other hosts

    def join(self, host: str, workers: int = 0, link: str = "") -> None:
        self.put(Put(self.keys.host(host), Host(workers, "1", 1, "", now(), link=link).encode()))

    def vanish(self, *hosts: str) -> None:
        """Their leases run out: one after the other, as in etcd. Their standbys and locks go too."""
        for host in hosts:
            self.put(Delete(self.keys.host(host)))
            for item in (*self.store.list(self.keys.standbys).items, *self.store.list(self.keys.locks).items):
                document = (Lock if item.key.startswith(self.keys.locks) else Standby).decode(item.value)
                if document.host == host:
                    self.put(Delete(item.key))

    def standby_on(self, host: str, partition: Partition) -> Elsewhere:
        """A ready standby there."""
        lease = self.store.grant(3600).lease
        made = Standby(f"{host}-{next(self._workers)}", host, 1, f"{lease:x}", now())
        self.put(Put(self.keys.standby(partition, made.worker), made.encode(), lease))
        return Elsewhere(made)

    def owner_on(self, host: str, partition: Partition) -> Elsewhere:
        there = self.standby_on(host, partition)
        assert PartitionLock(self.store, self.keys, partition, there.standby, lambda: False).acquire()
        return there

    def confirm(self, partition: Partition, elsewhere: Elsewhere) -> None:
        """What a successor does first."""
        held = self.lock_of(partition)
        assert held is not None
        loaded = PartitionLock(self.store, self.keys, partition, elsewhere.standby, lambda: False).confirm(held[1])
        assert loaded
        self._enter(partition, elsewhere.standby, loaded)

    def lock_of(self, partition: Partition) -> tuple[str, int] | None:
        """The worker that has it, and the token."""
        found = self.store.get(self.keys.lock(partition))
        return (Lock.decode(found.value).worker, found.mod_revision) if found else None

    def park(self, partition: Partition) -> None:
        self.put(Put(self.keys.parked(partition), Parked(0, "asked for", "x", now()).encode()))

    def resume(self, partition: Partition) -> None:
        self.put(Delete(self.keys.parked(partition)))

    def is_parked(self, partition: Partition) -> bool:
        return self.store.get(self.keys.parked(partition)) is not None

    def value(self, key: str) -> bytes:
        found = self.store.get(key)
        assert found is not None, f"{key} is not there"
        return found.value

    # --- what the supervisor has in mind

    def plan_of(self, partition: Partition) -> str | None:
        """Where it should be owned."""
        return self.supervisor._planner.plan.owners.get(partition)

    def is_done(self) -> bool:
        """Whether `run` would return."""
        return self.supervisor._stopping.is_done(len(self.children), self.background.open)

    def moved(self) -> list[FakeChild]:
        """Owners that were told to leave, whether or not they are still there."""
        return [child for child in self.children.started if child.is_owner and child.orders(Leave)]

    def owners_told_to_leave(self) -> list[Partition]:
        return [child.partition for child in self.moved()]

    # --- this host's workers

    def on(self, partition: Partition) -> list[FakeChild]:
        return [child for child in self.children.living if child.partition == partition]

    def owner(self, partition: Partition) -> FakeChild:
        (found,) = (child for child in self.on(partition) if child.is_owner)
        return found

    def standby(self, partition: Partition) -> FakeChild:
        (found,) = (child for child in self.on(partition) if not child.is_owner)
        return found

    def report(self, child: FakeChild, report: Report) -> None:
        self.inbox.post(ChildReported(child.worker, report))

    def exit(self, child: FakeChild, code: int = -9, last_word: GaveUp | None = None) -> None:
        if last_word:
            self.report(child, last_word)
        child.exit_code = code
        self.inbox.post(ChildExited(child.worker))

    def warm_up(self, child: FakeChild) -> None:
        """It becomes a ready standby, as a worker does."""
        settings = child.settings
        me = Standby(child.worker, settings.host, child.pid, f"{settings.lease:x}", now())
        self.store.grant(settings.lease_ttl, settings.lease)
        self.put(Put(self.keys.standby(child.partition, child.worker), me.encode(), settings.lease))
        self._obeyed[child.worker] = len(child.told)
        self.report(child, BecameReady(me))

    def warm_up_all(self) -> None:
        """Everybody who is not ready yet, and whoever is started thereby."""
        for _ in range(100):
            new = [child for child in self.children.living if child.worker not in self._obeyed]
            if not new:
                return
            for child in new:
                self.warm_up(child)
            self.settle()
        raise AssertionError("workers are started and ended without end")

    def freeze(self, *children: FakeChild) -> None:
        """They do nothing any more, but can be killed."""
        self.frozen |= {child.worker for child in children}

    def thaw(self) -> None:
        self.frozen.clear()
        self.settle()

    def answer_pings(self, child: FakeChild) -> None:
        """All that it has not answered yet."""
        pings = child.orders(AnswerPing)
        for ping in pings[self._pinged.get(child.worker, 0) :]:
            self.report(child, AnsweredPing(ping.number))
        self._pinged[child.worker] = len(pings)

    def obey(self, child: FakeChild) -> bool:
        """It carries out what it was told since the last time, as a healthy worker does. False: nothing."""
        if child.exit_code is not None or child.killed:
            if child.exit_code is None:
                self.exit(child, -9)
                return True
            return False
        if child.worker in self.frozen:
            return False
        fresh = child.told[self._obeyed.get(child.worker, 0) :]
        if child.worker in self._obeyed:
            self._obeyed[child.worker] = len(child.told)
        elif not any(isinstance(order, Leave) for order in fresh):
            return False
        for order in fresh:
            self._carry_out(child, order)
        self.answer_pings(child)
        return bool(fresh)

    def _carry_out(self, child: FakeChild, order: Order) -> None:
        match order:
            case Compete() | BecomeOwner() if not child.is_owner and child.standby is not None:
                self._take_lock(child, order)
            case Leave(successors):
                self._leave(child, successors)

    def _take_lock(self, child: FakeChild, order: Compete | BecomeOwner) -> None:
        assert child.standby is not None
        lock = PartitionLock(self.store, self.keys, child.partition, child.standby, lambda: False)
        held = self.lock_of(child.partition)
        if held and held[0] == child.worker and self.store.get(self.keys.history(child.partition, held[1])):
            return  # it is the owner already, and had said so
        try:
            loaded = lock.confirm(order.token) if isinstance(order, BecomeOwner) else lock.acquire(order.deaths)
            if loaded:
                self._enter(child.partition, child.standby, loaded)
        except NoLease as error:
            self.exit(child, 75, GaveUp(75, str(error)))
            return
        self.report(child, TookLock(loaded.token, 0, loaded.lock.deaths) if loaded else MissedLock())

    def _enter(self, partition: Partition, me: Standby, loaded: Loaded) -> None:
        """An owner's first commit."""
        begun = History(loaded.token, me.worker, me.host, me.pid, loaded.lock.cause, now())
        extra = transactions.enter(self.keys, partition, begun)
        first = StoredOffset(loaded.offset.offset if loaded.offset else 0, loaded.token, 1, "id", now())
        self.store.transact(transactions.commit(self.keys, partition, loaded.offset_revision, first, {}, extra))

    def _leave(self, child: FakeChild, successors: tuple[Standby, ...]) -> None:
        held = self.lock_of(child.partition)
        if held is None or held[0] != child.worker:
            self.exit(child, 0)
            return
        for successor in successors:
            try:
                lock = Lock.naming(successor, Cause.HANDED_OVER, offset=0)
                revision = self._end(child, held[1], lock)
            except NoLease:
                continue
            self.report(child, HandedOver(successor, revision, 0))
            self.exit(child, 0)
            return
        self._end(child, held[1], None)
        self.exit(child, 0)

    def _end(self, child: FakeChild, token: int, successor: Lock | None) -> int:
        found = self.store.get(self.keys.offset(child.partition))
        last_word = (
            transactions.give_to(self.keys, child.partition, successor)
            if successor
            else transactions.let_go(self.keys, child.partition)
        )
        offset = StoredOffset(0, token, 1, "id", now())
        seen = found.mod_revision if found else 0
        result = self.store.transact(transactions.commit(self.keys, child.partition, seen, offset, {}, last_word))
        assert result.succeeded
        return result.revision
