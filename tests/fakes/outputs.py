"""Owners that produce, to a broker in memory: they go on step by step, and can die at any."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from unittest import mock

from partition_workers import acknowledged_commits, commits, loading, output_commits
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import LeaseGone, Refused, Unavailable
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Store, Txn, TxnResult
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.last_commit import LastCommit
from partition_workers.layout.documents import Cause, History, Lock, Parked, Standby, StoredOffset, now
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent
from partition_workers.loading import Loading, make_commits
from partition_workers.model import AT_LEAST_ONCE, EXACTLY_ONCE
from partition_workers.outputs.ahead import MANY
from partition_workers.outputs.buffer import Waiting
from partition_workers.outputs.calls import Calls
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.ownership import transactions
from partition_workers.ownership.history import OwnHistory
from partition_workers.ownership.lock import PartitionLock
from partition_workers.poison import PoisonGuard
from partition_workers.protocol import WorkerSettings
from partition_workers.record_loop import RecordLoop
from partition_workers.state.mapping import State
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord
from tests.fakes.output_broker import FakeBroker, FakeProducer
from tests.fakes.ownership import FakeLease, FakeSupervisorPipe
from tests.fakes.record_loop import KEYS, P, Stub

T = TypeVar("T")

OUT = "out"


class Stepped(Calls[Any]):
    """Calls are made when the test says so; or at once, while `at_once`."""

    def __init__(self, producer: FakeProducer) -> None:
        super().__init__(lambda: producer)
        self.waiting: deque[tuple[Callable[[Any], Any], Future[Any]]] = deque()
        self.at_once = True

    def _ask(self, call: Callable[[Any], T], is_asked_again: bool = False) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        self.waiting.append((call, future))
        if self.at_once:
            self.step()
        return future

    def beside(self, call: Callable[[Any], T]) -> Future[T]:
        return self._ask(call)

    def step(self) -> bool:
        """The next call; False: there is none."""
        if not self.waiting:
            return False
        call, future = self.waiting.popleft()
        try:
            future.set_result(call(self._door))
        except Exception as error:
            future.set_exception(error)
        return True


class SteppedExchange(Stepped, Exchange):
    def send_ahead(self, records: Sequence[Waiting]) -> bool:
        assert not self.waiting, "of the next step, while Kafka is asked for something else"
        return super().send_ahead(records)


class SteppedSender(Stepped, Sender):
    pass


class Line:
    """One owner's way to etcd: what it sends waits until it is delivered, unless `at_once`."""

    def __init__(self, store: FakeEtcd) -> None:
        self._store = store
        self.waiting: deque[tuple[Txn, Future[TxnResult]]] = deque()
        self.at_once = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()
        self.waiting.append((txn, promise))
        if self.at_once:
            self.deliver()
        return promise

    def deliver(self, fate: str = "answered") -> bool:
        if not self.waiting:
            return False
        txn, promise = self.waiting.popleft()
        if fate == "lost before":
            promise.set_exception(Unavailable(fate))
            return True
        try:
            result = self._store.transact(txn)
        except (LeaseGone, Refused, Unavailable) as error:
            promise.set_exception(error)
            return True
        if fate == "lost after":
            promise.set_exception(Unavailable(fate))
        else:
            promise.set_result(result)
        return True


def handle(record: FakeRecord, state: Any, context: Context) -> None:
    """Every loss, repetition and change of order shows, in the state and in the outputs."""
    state["next"] = record.offset() + 1
    state["sum"] = (state.get("sum", 0) * 31 + record.offset()) % 1_000_003
    if record.offset() % 4 == 3:
        state.pop("odd", None)
    else:
        state["odd"] = [record.offset()]
    if record.value() != b"silent":
        context.produce(OUT, f"{record.offset()}", key=f"k{record.offset() % 3}")


@contextmanager
def sent_ahead_from(count: int) -> Iterator[None]:
    """From so many outputs on they are sent ahead of their step."""
    with mock.patch.object(loading, "MANY", (count, MANY[1])):
        yield


def last_commit(owner: Owner) -> LastCommit:
    assert owner.commits is not None
    begun = History(owner.commits.token, owner.name, "here", 1, Cause.TAKEN_OVER, now(), owner.commits.committed)
    return LastCommit(owner.commits, OwnHistory(KEYS, P, begun), KEYS, P, "here")


@contextmanager
def time_flies(clock: FakeClock) -> Iterator[None]:
    """Whoever sleeps wakes at once, later."""
    flying = mock.Mock(sleep=lambda seconds: clock.advance(max(seconds, 0.001)))
    with contextlib.ExitStack() as stack:
        for module in (commits, output_commits, acknowledged_commits):
            stack.enter_context(mock.patch.object(module, "time", flying))
        yield


class Stage:
    """One partition of so many records, one etcd, one broker, and owners one after the other."""

    def __init__(self, records: list[FakeRecord], handler: Any = handle) -> None:
        self.clock = FakeClock()
        self.store, self.broker = FakeEtcd(self.clock), FakeBroker()
        self.records, self.handler = records, handler
        self.owners: list[Owner] = []
        self.token: int | None = None
        #: Whose turn it is.
        self.acting: Owner | None = None

    def owner(
        self,
        interval: float = 0.01,
        outputs: tuple[str, ...] = (OUT,),
        one_by_one: bool = True,
        by_steps: bool = False,
        guarantee: str = EXACTLY_ONCE,
    ) -> Owner:
        """The next one: it has the lock, whatever the one before thinks."""
        made = Owner(self, f"owner-{len(self.owners)}", interval, outputs, one_by_one, guarantee)
        self.owners.append(made)
        if by_steps:
            made.by_steps()
        made.begin()
        return made

    def stored(self) -> tuple[int, dict[str, Any]]:
        """The offset and the state in etcd."""
        prefix = KEYS.state(P)
        found = self.store.get(KEYS.offset(P))
        state = State({e.key.removeprefix(prefix): e.value for e in self.store.list(prefix).items})
        return (StoredOffset.decode(found.value).offset if found else 0), state.to_dict()

    def parked(self) -> int | None:
        """At which offset it says that it is; None: it is not."""
        found = self.store.get(KEYS.parked(P))
        return Parked.decode(found.value).offset if found else None

    def history(self) -> list[History]:
        return [History.decode(each.value) for each in self.store.list(KEYS.histories(P)).items]

    def expected(self) -> tuple[int, dict[str, Any], list[bytes]]:
        """What there must be when everything is done."""
        state: dict[str, Any] = {}
        sent: list[bytes] = []

        def produce(_topic: str, value: str, **_other: object) -> None:
            sent.append(value.encode())

        for record in self.records:
            handle(record, state, cast(Context, type("C", (), {"produce": staticmethod(produce)})))
        return len(self.records), state, sent

    def seen(self) -> list[bytes]:
        return [each.value or b"" for each in self.broker.visible]


class Owner:
    """The record loop of an owner that produces, and its commits. It goes on by `turn`, `line` and `exchange`."""

    def __init__(
        self, stage: Stage, name: str, interval: float, outputs: tuple[str, ...], one_by_one: bool, guarantee: str
    ) -> None:
        self.stage, self.name, self._interval = stage, name, interval
        self._sizes = [1] * len(stage.records) if one_by_one else []
        self.line = Line(stage.store)
        self.exchange: SteppedExchange | SteppedSender = (
            SteppedSender if guarantee == AT_LEAST_ONCE else SteppedExchange
        )(stage.broker.producer())
        self.outputs = outputs
        self.interrupt = Stub(stage.clock)
        self.me = Standby(name, "here", 1, f"{stage.store.grant(10_000_000).lease:x}", now())
        self.loop: RecordLoop | None = None
        self.is_turning = False
        self.commits: Commits | None = None

    def begin(self) -> None:
        stage = self.stage
        named = Lock.naming(self.me, Cause.TAKEN_OVER)
        if stage.token is None:
            stage.token = stage.store.transact(transactions.acquire(KEYS, P, named)).revision
        else:
            stage.token = stage.store.transact(transactions.take_over(KEYS, P, stage.token, named)).revision
        lock = PartitionLock(cast(Store, self.line), KEYS, P, self.me, lambda: False)
        loaded = lock.confirm(stage.token)
        assert loaded is not None
        exchange = self.exchange if self.outputs and isinstance(self.exchange, SteppedExchange) else None
        if loaded.prepared or exchange is not None:
            lifecycle = Lifecycle()
            lifecycle.advance(LifecycleEvent.WARMED_UP)
            lifecycle.advance(LifecycleEvent.LOCK_OFFERED)
            settings = WorkerSettings(
                P, self.name, "here", self.me.lease_id, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, "topic-id",
                None, 5, self._interval, 60.0, 30.0, 0, "stop", None, 3, 0, 20,
            )  # fmt: skip
            loading = Loading(
                settings, lock, cast(Store, self.line), cast(LeaseWatchdog, FakeLease()),
                cast(SupervisorPipe, FakeSupervisorPipe()), InterruptFlag(), lifecycle, exchange,
                make_exchange=lambda _settings: SteppedExchange(stage.broker.producer()),
            )  # fmt: skip
            loaded = loading.complete(loaded)
            assert loaded is not None
        start = loaded.offset.offset if loaded.offset else 0
        self.commits = make_commits(
            cast(Store, self.line), KEYS, P, loaded, "topic-id", start, stage.clock,
            self.exchange if self.outputs else None, self.outputs, self._interval,
        )  # fmt: skip
        self.commits.outputs.is_open = True
        self.state = State(self.commits.beyond(loaded.state))
        reader = FakeReader(stage.records, P, stage.clock.advance, sizes=self._sizes)
        reader.assign(self.commits.offset)
        handler = Handler(stage.handler)
        handler.open(
            Context(P, stage.token, "here", lambda: None, lambda: False, produce=self.commits.outputs.produce)
        )
        self.loop = RecordLoop(
            reader, handler, self.state, self.commits, self.interrupt, self.commits.offset, self._interval, 0,
            ErrorPolicy("stop", None, {}), PoisonGuard(0, 0, None, 3), KEYS.attempt(P), "here", stage.clock,
        )  # fmt: skip

    def turn(self) -> None:
        """Once round. Raises what ends an owner."""
        assert self.loop is not None
        before, self.stage.acting, self.is_turning = self.stage.acting, self, True
        try:
            self.stage.clock.advance(0.02)
            self.loop.turn()
            self.interrupt.clear()
        finally:
            self.stage.acting, self.is_turning = before, False

    def act(self, what: str) -> None:
        """A turn, the next request to Kafka, or the next answer of etcd: "etcd", or how it gets lost."""
        if what == "turn":
            self.turn()
        elif what == "kafka":
            before, self.is_turning = self.is_turning, True  # it would wait for what is under way here
            self.exchange.step()
            self.is_turning = before
        else:
            self.line.deliver("answered" if what == "etcd" else what)

    def by_steps(self) -> None:
        """From now on nothing arrives anywhere unless it is told to."""
        self.line.at_once = self.exchange.at_once = False

    def waits(self, seconds: float) -> None:
        """It can do nothing else, and so what it waits for comes."""
        self.stage.clock.advance(max(seconds, 0.001))
        self.line.deliver() or self.exchange.step()

    def at_once(self) -> None:
        self.line.at_once = self.exchange.at_once = True
        while self.line.deliver() or self.exchange.step():
            pass

    def run(self, turns: int = 2000) -> None:
        """Until everything is read, committed and applied."""
        assert self.commits is not None
        self.at_once()
        for _ in range(turns):
            self.turn()
            if self.commits.committed == len(self.stage.records) and self.commits.idle:
                return
        raise AssertionError(f"{self.name} is not done: {self.commits.committed} of {len(self.stage.records)}")
