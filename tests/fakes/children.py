"""Workers without a process: they remember what they were told and how they were signalled, and can fail."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from typing import TypeVar, cast

from partition_supervisor.events import BackgroundCallDone, StartFailed
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import UNKNOWN, Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Server
from partition_supervisor.processes.log_receiver import FromWorker
from partition_supervisor.processes.pipe import WorkerPipe
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
        super().__init__(settings, cast(WorkerPipe, FakePipe(self)), cast(FromWorker, FakeLogs()), pid)
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


class FakePipe:
    """The supervisor's end of a worker's pipe."""

    def __init__(self, child: FakeChild) -> None:
        self._child = child

    def send(self, order: Order) -> None:
        if not self._child.is_cut_off and self._child.exit_code is None:
            self._child.told.append(order)

    def flush(self) -> None:
        pass

    def hang_up(self) -> None:
        self._child.is_cut_off = True


class FakeLogs:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeChildren(Children):
    """Remembers everybody who was ever started; they live until the test ends them."""

    def __init__(self, clock: Clock, inbox: Inbox) -> None:
        self._clock, self.inbox = clock, inbox
        self._children: dict[str, Child] = {}
        self._of: dict[Partition, dict[str, Child]] = defaultdict(dict)
        self._pids = count(1_000_001)
        self.started: list[FakeChild] = []
        self.reaped: list[FakeChild] = []
        #: What the next starts end with, instead of a worker.
        self.errors: list[Exception] = []
        #: Nobody tells exit codes.
        self.fork_server_is_stopped = False

    def start(self, make: Callable[[str, int], WorkerSettings]) -> Child:
        if self.errors and not isinstance(self.errors[0], EOFError):
            raise self.errors.pop(0)
        pid = next(self._pids)
        child = FakeChild(make(f"worker-{pid}", pid), pid, self._clock)
        self._remember(child)
        self.started.append(child)
        if self.errors:  # what a fork server says comes later
            error = self.errors.pop(0)
            child.exit_code = UNKNOWN
            self.inbox.post(BackgroundCallDone(lambda: self._fail_to_launch(child, error)))
        return child

    def _fail_to_launch(self, child: FakeChild, error: Exception) -> None:
        self.forget(child)
        self.started.remove(child)
        self.inbox.post(StartFailed(child.partition, error))

    def exit_code(self, child: Child) -> int | None:
        assert isinstance(child, FakeChild)
        assert child.exit_code is not None, "only who has exited can be reaped"
        return None if self.fork_server_is_stopped else child.exit_code

    def reap(self, child: Child) -> None:
        assert isinstance(child, FakeChild)
        assert child not in self.reaped, "reaped twice"
        self.reaped.append(child)

    @property
    def living(self) -> list[FakeChild]:
        return [child for child in self.started if child.exit_code is None]


class FakeForkServer(ForkServer):
    """`errors`: what the next reloads end with."""

    def __init__(self) -> None:
        self.adopted: list[Server] = []
        self.errors: list[Exception] = []

    def reload(self, within: float = 0.0) -> Server:
        if self.errors:
            raise self.errors.pop(0)
        return cast(Server, object())

    def adopt(self, server: Server) -> None:
        self.adopted.append(server)
