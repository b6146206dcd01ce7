"""The workers of this host: one `Child` is a handle on one process, `Children` knows who runs. No policy here."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from partition_supervisor.events import ChildExited, ChildReported, Event
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child_state import GOING, OWNING, READY, ChildEvent, ChildState, advance
from partition_supervisor.processes.log_receiver import FromWorker
from partition_workers import process
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition, Token
from partition_workers.protocol import AnswerPing, GaveUp, Order, WasParked, WorkerSettings

#: The exit code of a worker whose fork server had died.
UNKNOWN = 255


@dataclass
class Child:
    """One worker process, and what it last said.

    `token` is the one under which it was named, or owns the partition. `deadline`, of its lease as an owner, is in
    seconds of CLOCK_BOOTTIME.
    """

    settings: WorkerSettings
    process: ForkServerProcess
    connection: Connection
    logs: FromWorker
    pid: int
    state: ChildState = ChildState.STARTING
    standby: Standby | None = None
    ready_at: float | None = None
    token: Token | None = None
    offset: int | None = None
    deaths: int = 0
    has_committed: bool = False
    deadline: float | None = None
    ended_by_us: bool = False
    pinged: int = 0
    unanswered: int = 0
    answered: int = 0
    exit_fd: int = -1
    last_word: GaveUp | WasParked | None = None

    @property
    def worker(self) -> str:
        return self.settings.worker

    @property
    def partition(self) -> Partition:
        return self.settings.partition

    @property
    def max_records(self) -> int:
        return self.settings.max_records

    def advance(self, event: ChildEvent) -> None:
        self.state = advance(self.state, event)

    @property
    def is_ready(self) -> bool:
        """A standby that could become the owner now."""
        return self.state in READY

    @property
    def is_idle(self) -> bool:
        """Neither owner nor named, and not told to leave: nobody waits for it."""
        return self.state in (ChildState.STARTING, ChildState.STANDBY)

    @property
    def is_owner(self) -> bool:
        return self.state in OWNING

    @property
    def is_leaving(self) -> bool:
        return self.state in GOING

    def tell(self, order: Order) -> None:
        with contextlib.suppress(OSError):  # it died; its exit is on the way
            self.connection.send(order)

    def ping(self) -> None:
        self.pinged += 1
        self.unanswered += 1
        self.tell(AnswerPing(self.pinged))

    def hear_answer(self, number: int) -> None:
        self.answered, self.unanswered = number, 0

    @property
    def answers(self) -> bool:
        """Whether it has answered one of the last two pings."""
        return self.answered >= self.pinged - 1

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.ended_by_us = True
        self.signal(signal.SIGKILL)


class Children:
    """All workers of this host, by their ids."""

    def __init__(
        self,
        context: ForkServerContext,
        inbox: Inbox,
        listening: socket.socket | None = None,
    ) -> None:
        """`listening` is shared with every worker, see `peer_monitor.py`."""
        self._context, self._inbox = context, inbox
        self._listening = listening
        self._children: dict[str, Child] = {}
        self._of: dict[Partition, dict[str, Child]] = defaultdict(dict)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def get(self, worker: str) -> Child | None:
        return self._children.get(worker)

    def of(self, partition: Partition) -> list[Child]:
        return list(self._of[partition].values()) if partition in self._of else []

    def start(self, make: Callable[[str, int], WorkerSettings]) -> Child:
        """Fork a worker; `make` gets its new id and the id of its lease.

        The lease's id is chosen here, so that it can be revoked however early the worker dies. Raises OSError,
        EOFError or RuntimeError when there is no process, descriptor or thread to be had, or the fork server has
        died; nothing is left of the attempt then.
        """
        settings = make(uuid.uuid4().hex, secrets.randbits(62) + 1)
        with contextlib.ExitStack() as half_made:
            child = self._make(settings, half_made)
            half_made.pop_all()
        self._remember(child)
        return child

    def _make(self, settings: WorkerSettings, half_made: contextlib.ExitStack) -> Child:
        ours, theirs = self._context.Pipe()
        half_made.callback(ours.close)
        with theirs:
            logs = FromWorker(f"logs of {settings.partition}")
            half_made.callback(logs.leave_to_worker)  # its reader ends when nobody is left who could write
            child_process = self._context.Process(
                target=process.main,
                args=(settings, theirs, logs.queue, self._listening),
                name=str(settings.partition),
            )
            child_process.start()
            half_made.callback(_end, child_process)
        logs.leave_to_worker()
        child = Child(settings, child_process, ours, logs, child_process.pid or 0)
        child.exit_fd = _exit_fd(child_process)
        half_made.callback(_close_exit_fd, child)
        self._inbox.watch(ours.fileno(), lambda: self._read(child))
        half_made.callback(self._inbox.unwatch, ours.fileno())
        self._inbox.watch(child.exit_fd, lambda: self._ended(child))
        return child

    def kill(self, child: Child) -> None:
        """If it is still there."""
        if self._children.get(child.worker) is child:
            child.kill()

    def _remember(self, child: Child) -> None:
        self._children[child.worker] = self._of[child.partition][child.worker] = child

    def forget(self, child: Child) -> None:
        del self._children[child.worker], self._of[child.partition][child.worker]

    def reap(self, child: Child) -> int:
        """The exit code of a child that has exited, which may take a moment to get here; negative: a signal.

        255 when nobody knows, because the fork server that could have told died before the worker did.
        """
        child.process.join()
        code = child.process.exitcode
        _close_exit_fd(child)
        child.process.close()
        child.connection.close()
        return UNKNOWN if code is None else code

    def _read(self, child: Child) -> Iterable[Event]:
        try:
            while child.connection.poll():
                yield ChildReported(child.worker, child.connection.recv())
        except (EOFError, OSError):
            self._inbox.unwatch(child.connection.fileno())

    def _ended(self, child: Child) -> Iterable[Event]:
        """What its handler had started ends with it; see `isolation.py`."""
        if child.pid > 1:  # 0 would be our own group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        self._inbox.unwatch(child.exit_fd)
        yield from self._read(child)  # its last words may still be in the pipe
        self._inbox.unwatch(child.connection.fileno())
        yield ChildExited(child.worker)


def _exit_fd(child: ForkServerProcess) -> int:
    """Readable once the process is gone: the kernel's word, some milliseconds before the fork server's.

    It is also true when the fork server itself has died, where multiprocessing takes its children for dead.
    """
    try:
        return os.pidfd_open(child.pid or 0)
    except ProcessLookupError:
        return child.sentinel  # it died at once, and was reaped by the fork server


def _close_exit_fd(child: Child) -> None:
    if child.exit_fd != child.process.sentinel:
        os.close(child.exit_fd)


def _end(child: ForkServerProcess) -> None:
    """It was started, and cannot be watched."""
    child.kill()
    child.join()
    child.close()
