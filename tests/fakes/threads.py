"""What a supervisor does in threads, done when the test says so, or not at all: calls, renewals, following hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.inbox import Inbox
from partition_supervisor.suspicion import Suspicion
from partition_workers.clock import Clock
from partition_workers.etcd.store import Store
from partition_workers.layout.documents import Host
from partition_workers.ownership.lease_keeper import LeaseKeeper
from tests.fakes.etcd import FakeEtcd

T = TypeVar("T")


class FakeBackgroundCalls(BackgroundCalls):
    """Work is done when the loop comes round, or, while `held`, when the test says so."""

    def __init__(self, inbox: Inbox) -> None:
        self.open = 0
        self.held = False
        #: What the next calls end with, instead of being done (None: they are); what others have ended with.
        self.errors: list[Exception | None] = []
        self.raised: list[Exception] = []
        self._inbox = inbox
        self._waiting: list[Callable[[], None]] = []

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        ordered = self.errors.pop(0) if self.errors else None

        def do() -> None:
            if ordered is not None:
                future.set_exception(ordered)
                return
            try:
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

    def renew(self, lease: int) -> None:
        """Etcd has just renewed it, if its holder is alive; in etcd itself it lasts anyhow."""
        if self.is_renewed(lease):
            self._deadlines[lease] = self._fake_clock() + self.kept[lease][0]

    def round(self, store: FakeEtcd) -> None:
        for lease in [each for each in self.kept if self.is_renewed(each)]:
            if store.renew(lease).ttl > 0:
                self._deadlines[lease] = self._fake_clock() + self.kept[lease][0]
            else:
                self.drop(lease)
                self._fake_gone(lease)


class FakePeerMonitor(PeerMonitor):
    """Follows nobody: a test says who refuses, answers or is silent."""

    def __init__(self) -> None:
        self.suspicions: list[Suspicion] = []

    def know(self, hosts: Mapping[str, Host]) -> None:
        pass

    def silent(self) -> list[Suspicion]:
        return self.suspicions
