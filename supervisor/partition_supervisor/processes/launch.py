"""One fork server, and how it makes a process. Each of these calls may wait; all of them for a limited time.

The launch is multiprocessing's own, but for three things. It waits for the fork server for a limited time. It knows
several fork servers, where multiprocessing has one for each process. And it does not enter the process into
multiprocessing's list of children: that list is searched at each start, and joined at the interpreter's exit, which
would wait for workers that go on.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver, popen_forkserver, reduction, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess, set_spawning_popen
from typing import Any

from partition_workers.protocol import FOR_THE_SUPERVISOR

#: What a fork server tells of a process: its id, and later its exit code.
_NUMBER = struct.Struct("@q")


class NoAnswer(OSError):
    """A fork server did not do what it was asked within its time."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A process. `status`: where its fork server tells its exit code; `keep`: open for as long as we live."""

    pid: int
    status: int
    keep: int
    closed: Callable[[], None]

    def exit_code(self) -> int | None:
        """None: not known yet. Raises EOFError when its fork server died before it did."""
        if not _is_ready(self.status, select.POLLIN, 0):
            return None
        return _read_number(self.status)

    def close(self) -> None:
        os.close(self.status)
        os.close(self.keep)
        self.closed()


class Server:
    """One fork server: multiprocessing's, with a limit to every wait."""

    def __init__(self) -> None:
        """Raises OSError when there is no process or descriptor to be had."""
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload(["partition_workers.preload"])
        with _signals_held_back():
            self._server.ensure_running()
        self._server.ensure_running = lambda: None  # type: ignore[method-assign]  # one that has died is our matter
        self._fields: dict[str, Any] = vars(self._server)
        self.pid: int = self._fields["_forkserver_pid"]
        self._killed = False
        self._in_use = threading.Lock()
        self._counting = threading.Lock()
        self._workers, self._is_retired = 0, False

    def is_running(self) -> bool:
        """And not killed by us."""
        return not self._killed and not self._has_ended()

    def launch(
        self,
        context: ForkServerContext,
        target: Callable[..., None],
        args: tuple[Any, ...],
        name: str,
        within: float | None,
    ) -> Launched:
        """Raises NoAnswer, OSError, EOFError."""
        popen = _Popen()
        document = popen.pickle(context.Process(target=target, args=args, name=name))
        with self._counting:
            self._workers += 1
        try:
            with self._in_use:
                return self._send(popen, document, within)
        except BaseException:
            self._closed()
            raise

    def _send(self, popen: _Popen, document: bytes, within: float | None) -> Launched:
        if self._killed:
            raise EOFError("the fork server has ended")
        try:
            status, write = self._server.connect_to_new_process(popen.fds)
        except FileNotFoundError:  # killed in this moment, and its socket with it
            raise EOFError("the fork server has ended") from None
        with contextlib.ExitStack() as half_made:
            half_made.callback(os.close, status)
            try:
                keep = os.dup(write)  # the process sees by its end that we are gone
                half_made.callback(os.close, keep)
                _write_all(write, document, within)
            finally:
                os.close(write)
            if not _is_ready(status, select.POLLIN, within):
                raise NoAnswer("the fork server does not answer")
            pid = _read_number(status)
            half_made.pop_all()
        return Launched(pid, status, keep, self._closed)

    def retire(self) -> None:
        """Let it end with the last of its workers; not before it has told how that one ended."""
        with self._counting:
            self._is_retired = True
            is_unused = self._workers == 0
        if is_unused:
            self._start_reaper()

    def _closed(self) -> None:
        with self._counting:
            self._workers -= 1
            is_unused = self._is_retired and self._workers == 0
        if is_unused:
            self._start_reaper()

    def kill(self) -> None:
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._start_reaper()

    def _start_reaper(self) -> None:
        self._remove_socket()  # here: at the interpreter's exit a thread's removal would meet multiprocessing's own
        with contextlib.suppress(RuntimeError):  # no thread is to be had: then it stays a zombie
            threading.Thread(target=self._reap, name="end of a fork server", daemon=True).start()

    def _reap(self) -> None:
        with self._in_use:
            self._killed = True
            self._forget()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _forget(self) -> None:
        """Without this descriptor of ours, it ends when its workers have closed theirs."""
        descriptor, self._fields["_forkserver_alive_fd"] = self._fields["_forkserver_alive_fd"], None
        if descriptor is not None:
            os.close(descriptor)

    def _remove_socket(self) -> None:
        address = self._fields["_forkserver_address"]
        if address and not util.is_abstract_socket_namespace(address):
            with contextlib.suppress(OSError):
                os.unlink(address)

    def _has_ended(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True


class _Popen(popen_forkserver.Popen):
    """Pickles a process for a fork server, and starts nothing by itself."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    @property
    def fds(self) -> list[int]:
        return self._fds

    def pickle(self, made: ForkServerProcess) -> bytes:
        document = io.BytesIO()
        preparation = spawn.get_preparation_data(made.name)
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, document)
            reduction.dump(made, document)
        finally:
            set_spawning_popen(None)
        return document.getvalue()


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """What is sent to the whole process group is for the supervisor to decide. A new process inherits that these are
    blocked; the preload ignores them and lets them through. To us they come a moment later."""
    resource_tracker.ensure_running()  # it blocks some of them for a moment, and then blocks none
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_SUPERVISOR)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_ready(descriptor: int, event: int, within: float | None) -> bool:
    """By poll, for select knows no descriptor above 1023."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(None if within is None else within * 1000))


def _read_number(descriptor: int) -> int:
    """Raises EOFError. Eight bytes come in one piece."""
    number = os.read(descriptor, _NUMBER.size)
    if len(number) < _NUMBER.size:
        raise EOFError("the fork server has ended")
    return int(_NUMBER.unpack(number)[0])


def _write_all(descriptor: int, document: bytes, within: float | None) -> None:
    os.set_blocking(descriptor, False)
    left = memoryview(document)
    while left:
        if not _is_ready(descriptor, select.POLLOUT, within):
            raise NoAnswer("the fork server does not answer")
        left = left[os.write(descriptor, left) :]
