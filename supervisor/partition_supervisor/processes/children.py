"""The workers of this host: `Children` knows who runs. No policy here."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import signal
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from partition_supervisor.events import ChildExited, ChildReported, Event, StartFailed
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.descriptors import check_descriptors
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Launched
from partition_supervisor.processes.launcher import Launch, Launcher
from partition_supervisor.processes.log_receiver import FromWorker
from partition_supervisor.processes.pipe import Garbled, WorkerPipe
from partition_workers import process
from partition_workers.model import Partition
from partition_workers.protocol import WorkerSettings

log = logging.getLogger(__name__)

#: The exit code of a worker whose fork server had died, or does not answer.
UNKNOWN = 255


class Children:
    """All workers of this host, by their ids."""

    def __init__(self, fork_server: ForkServer, inbox: Inbox, listening: socket.socket | None = None) -> None:
        """`listening` is shared with every worker, see `peer_monitor.py`."""
        self._launcher = Launcher(fork_server, inbox)
        self._inbox, self._listening = inbox, listening
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
        """Have a worker made; `make` gets its new id and the id of its lease.

        The lease's id is chosen here, so that it can be revoked however early the worker dies. Raises OSError or
        RuntimeError when there is no descriptor or thread to be had; nothing is left of the attempt then. What fails
        later is told as StartFailed.
        """
        settings = make(uuid.uuid4().hex, secrets.randbits(62) + 1)
        with contextlib.ExitStack() as half_made:
            pipe = WorkerPipe()
            half_made.callback(pipe.close)
            check_descriptors(pipe.fileno())
            logs = FromWorker(f"logs of {settings.partition}")
            half_made.callback(logs.leave_to_worker)  # its reader ends when nobody is left who could write
            child = Child(settings, pipe, logs)
            self._inbox.watch(pipe.fileno(), lambda: self._read(child))
            half_made.pop_all()

        def given() -> None:
            pipe.theirs.close()
            logs.leave_to_worker()

        self._remember(child)
        self._launcher.ask(
            Launch(
                process.main,
                (settings, pipe.theirs, logs.queue, self._listening),
                str(settings.partition),
                given,
                lambda launched: self._launched(child, launched),
                lambda error: self._not_launched(child, error),
            )
        )
        return child

    def _launched(self, child: Child, launched: Launched) -> None:
        child.launched, child.pid = launched, launched.pid
        child.exit_fd = _exit_fd(launched)
        try:
            self._inbox.watch(child.exit_fd, lambda: self._ended(child))
        except OSError as error:  # nobody would see its end
            log.error("%s: worker %d cannot be watched: %s", child.partition, child.pid, error)
            child.kill()
            self._inbox.post(ChildExited(child.worker))
        if child.ended_by_us:
            child.kill()

    def _not_launched(self, child: Child, error: Exception) -> None:
        self._inbox.unwatch(child.pipe.fileno())
        child.pipe.close()
        if self._children.get(child.worker) is child:
            self.forget(child)
        self._inbox.post(StartFailed(child.partition, error))

    def kill(self, child: Child) -> None:
        """If it is still there."""
        if self._children.get(child.worker) is child:
            child.kill()

    def _remember(self, child: Child) -> None:
        self._children[child.worker] = self._of[child.partition][child.worker] = child

    def forget(self, child: Child) -> None:
        del self._children[child.worker], self._of[child.partition][child.worker]

    def exit_code(self, child: Child) -> int | None:
        """Of a child that has exited; negative: a signal. None: the fork server has not told it yet, which takes it a
        moment. 255 when nobody will ever know, because the fork server died before the worker did."""
        assert child.launched is not None
        try:
            return child.launched.exit_code()
        except EOFError:
            return UNKNOWN

    def reap(self, child: Child) -> None:
        """Nothing more is asked of it."""
        assert child.launched is not None
        if child.exit_fd != child.launched.status:
            os.close(child.exit_fd)
        child.launched.close()
        child.pipe.close()

    def end_all(self, within: float) -> None:
        """At the end of this process, from any thread: hang up, so that workers commit and let go; after so many
        seconds kill who is left. Nothing is told of it."""
        children = list(self._children.values())
        for child in children:
            child.pipe.hang_up()
        until = time.monotonic() + within
        left = {child.exit_fd: child for child in children if child.launched is not None}
        poll = select.poll()
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        while left and (seconds := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(seconds * 1000):
                poll.unregister(descriptor)
                del left[descriptor]
        for child in left.values():
            child.kill()
        for child in children:
            _kill_group(child.pid)

    def _read(self, child: Child) -> Iterable[Event]:
        try:
            for report in child.pipe.receive():
                yield ChildReported(child.worker, report)
        except Garbled as error:
            log.error("%s: pid %d says what cannot be understood (%s); ending it", child.partition, child.pid, error)
            self._inbox.unwatch(child.pipe.fileno())
            child.kill()
        if child.pipe.has_ended:
            self._inbox.unwatch(child.pipe.fileno())

    def _ended(self, child: Child) -> Iterable[Event]:
        _kill_group(child.pid)
        self._inbox.unwatch(child.exit_fd)
        if child.launched is not None and child.exit_fd == child.launched.status:
            child.signal(signal.SIGKILL)  # it may be the fork server that has ended, and then nobody watches it
        yield from self._read(child)  # its last words may still be in the pipe
        self._inbox.unwatch(child.pipe.fileno())
        yield ChildExited(child.worker)


def _kill_group(pid: int) -> None:
    """What its handler had started ends with a worker; see `isolation.py`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid:
            os.killpg(pid, signal.SIGKILL)


def _exit_fd(launched: Launched) -> int:
    """Readable once the process is gone: the kernel's word, some milliseconds before the fork server's. It is also
    true when the fork server itself has died.

    Where there is no such thing, the fork server's word has to do.
    """
    try:
        return os.pidfd_open(launched.pid)
    except (OSError, AttributeError):
        return launched.status
