"""Workers without a process: they remember what they were told and how they were signalled, and can fail."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from partition_supervisor.processes.children import Child, Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.log_receiver import FromWorker
from partition_workers.clock import Clock
from partition_workers.model import Partition, Token
from partition_workers.protocol import (
    BecomeOwner,
    Order,
    WorkerSettings,
)

Kind = TypeVar("Kind", bound=Order)


class FakeChild(Child):
    """A worker without a process: it remembers what it was told and how it was signalled."""

    def __init__(self, settings: WorkerSettings, pid: int, clock: Clock) -> None:
        process: Any = None
        connection = cast(Connection, FakeConnection(self))
        super().__init__(settings, process, connection, cast(FromWorker, FakeLogs()), pid)
        self.told: list[Order] = []
        #: Its pipe is broken: orders do not reach it any more.
        self.is_cut_off = False
        self.signals: list[signal.Signals] = []
        self.exit_code: int | None = None
        self.named_at: dict[Token, float] = {}
        self._clock = clock

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def tell(self, order: Order) -> None:
        super().tell(order)
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


class FakeConnection:
    """The supervisor's end of a worker's pipe."""

    def __init__(self, child: FakeChild) -> None:
        self._child = child

    def send(self, order: Order) -> None:
        if self._child.is_cut_off or self._child.exit_code is not None:
            raise BrokenPipeError(32, "Broken pipe")
        self._child.told.append(order)


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
        #: What the next starts end with, instead of a worker.
        self.errors: list[Exception] = []

    def start(self, make: Callable[[str, int], WorkerSettings]) -> Child:
        if self.errors:
            raise self.errors.pop(0)
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


class FakeForkServer(ForkServer):
    def __init__(self) -> None:
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1
