"""The workers of this host: one `Child` is a handle on one process, `Children` knows who runs. No policy here."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from multiprocessing_logging import MultiProcessingHandler

from supervisor.events import ChildExited, ChildReported, Event, Inbox
from workers import process
from workers.documents import Standby
from workers.model import Partition, Token
from workers.protocol import AnswerPing, GaveUp, Order, WasParked, WorkerSettings


@dataclass
class Child:
    """One worker process, and what it last said. Times are time.monotonic, `deadline` is CLOCK_BOOTTIME."""

    settings: WorkerSettings
    process: ForkServerProcess
    connection: Connection
    logs: MultiProcessingHandler
    pid: int
    started: float = field(default_factory=time.monotonic)
    standby: Standby | None = None
    token: Token | None = None
    offered: Token | None = None
    offset: int | None = None
    deadline: float | None = None
    suspended: bool = False
    leaving: bool = False
    ended_by_us: bool = False
    answered_ping: int = 0
    last_word: GaveUp | WasParked | None = None

    @property
    def worker(self) -> str:
        return self.settings.worker

    @property
    def partition(self) -> Partition:
        return self.settings.partition

    @property
    def is_ready(self) -> bool:
        """A standby that could become the owner now."""
        return self.standby is not None and self.token is None and not self.leaving

    def tell(self, order: Order) -> None:
        with contextlib.suppress(OSError):  # it died; its exit is on the way
            self.connection.send(order)

    def ping(self, number: int) -> None:
        self.tell(AnswerPing(number))

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.ended_by_us = True
        self.signal(signal.SIGKILL)

    def make_sure_it_is_gone(self) -> None:
        """A fork server that died makes `Process` say 255 while the worker lives: then end it, and wait for that."""
        if self.process.exitcode != 255:
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(self.pid)
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], 5.0)
            finally:
                os.close(pidfd)


class Children:
    """All workers of this host, by their ids."""

    def __init__(self, context: ForkServerContext, inbox: Inbox, log_handler: Callable[[], logging.Handler]) -> None:
        self._context, self._inbox, self._log_handler = context, inbox, log_handler
        self._children: dict[str, Child] = {}

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def get(self, worker: str) -> Child | None:
        return self._children.get(worker)

    def of(self, partition: Partition) -> list[Child]:
        return [child for child in self if child.partition == partition]

    def start(self, make: Callable[[str, int], WorkerSettings]) -> Child:
        """Fork a worker; `make` gets its new id and the id of its lease.

        The lease's id is chosen here, so that it can be revoked however early the worker dies.
        """
        settings = make(uuid.uuid4().hex, secrets.randbits(62) + 1)
        ours, theirs = self._context.Pipe()
        logs = MultiProcessingHandler(f"logs of {settings.partition}", self._log_handler())
        child_process = self._context.Process(
            target=process.main, args=(settings, theirs, logs.queue), name=str(settings.partition)
        )
        child_process.start()
        theirs.close()
        logs.queue._writer.close()  # ours; with it open, the reader would not notice the worker's end
        child = Child(settings, child_process, ours, logs, child_process.pid or 0)
        self._children[settings.worker] = child
        self._inbox.watch(ours.fileno(), lambda: self._read(child))
        self._inbox.watch(child_process.sentinel, lambda: self._ended(child))
        return child

    def reap(self, child: Child) -> int:
        """Forget a child that has exited. Its exit code; negative: the signal that ended it."""
        del self._children[child.worker]
        child.make_sure_it_is_gone()
        child.process.join()
        code = child.process.exitcode
        child.process.close()
        child.connection.close()
        return code if code is not None else 255

    def _read(self, child: Child) -> Iterable[Event]:
        try:
            while child.connection.poll():
                yield ChildReported(child.worker, child.connection.recv())
        except (EOFError, OSError):
            self._inbox.unwatch(child.connection.fileno())

    def _ended(self, child: Child) -> Iterable[Event]:
        self._inbox.unwatch(child.process.sentinel)
        yield from self._read(child)  # its last words may still be in the pipe
        self._inbox.unwatch(child.connection.fileno())
        yield ChildExited(child.worker)
