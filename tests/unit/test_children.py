"""Workers that cannot be started, or are not understood: an outcome with a name, and nothing is left of it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from partition_supervisor.events import BackgroundCallDone, ChildExited, ChildReported, Event, StartFailed
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes import children as module
from partition_supervisor.processes.children import Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Launched
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.protocol import Resumed, WorkerSettings
from tests.eventually import eventually

P = Partition("events", 3)


def settings(worker: str, lease: int) -> WorkerSettings:
    return WorkerSettings(
        P, worker, "here", lease, "h:handle", Keys.of("/x/", "tests"), EtcdOptions(("etcd:2379",)), {}, "id",
        None, 5, 0.1, 60.0, 30.0, 0, "stop", None, 3, 0, 20,
    )  # fmt: skip


class FakeForkServer(ForkServer):
    """Forks a process that does what the test says, or fails."""

    def __init__(self, error: Exception | None = None, child: Callable[[Any], None] = lambda _pipe: None) -> None:
        self._error, self._child = error, child

    def launch(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> Launched:
        if self._error is not None:
            raise self._error
        status, told = os.pipe()
        keep = os.dup(told)
        if (pid := os.fork()) == 0:
            self._child(args[1])
            os._exit(0)
        os.close(told)
        return Launched(pid, status, keep, lambda: None)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


TOO_MANY = OSError(24, "Too many open files")


def fails(error: Exception) -> Any:
    def fail(*_arguments: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("where", "error"), [("WorkerPipe", TOO_MANY), ("FromWorker", RuntimeError("can't start new thread")),
                         ("check_descriptors", TOO_MANY), ("watch", TOO_MANY)],
)  # fmt: skip
def test_what_was_half_made_is_closed(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """Pipes, and the log's reader."""
    children = Children(FakeForkServer(), inbox)
    owner: Any = inbox if where == "watch" else module
    monkeypatch.setattr(owner, where, fails(error))
    before, threads = descriptors(), threading.active_count()
    for _ in range(3):
        with pytest.raises(type(error)) as raised:
            children.start(settings)
        assert raised.value is error
        raised.value.__traceback__ = None
    del raised
    assert len(children) == 0
    assert children.of(P) == []
    eventually("the readers of logs have ended", lambda: threading.active_count() == threads)
    eventually("everything is closed", lambda: descriptors() == before)


def until(inbox: Inbox, kind: type[Event]) -> list[Event]:
    """What happens, with what follows in the loop, until something of that kind does."""
    seen: list[Event] = []
    end = time.monotonic() + 5.0
    while not any(isinstance(each, kind) for each in seen):
        happened = inbox.wait(1.0)
        assert time.monotonic() < end, f"no {kind.__name__} came, but {seen}"
        for event in happened:
            if isinstance(event, BackgroundCallDone):
                event.then()
        seen.extend(happened)
    return seen


@pytest.mark.parametrize("error", [EOFError(), ConnectionRefusedError(111, "refused"), BlockingIOError(11, "full")])
def test_a_process_that_is_not_made_is_told(inbox: Inbox, error: Exception) -> None:
    """Later, for nobody waits for it; and its place is free."""
    children, before = Children(FakeForkServer(error), inbox), descriptors()
    children.start(settings)
    assert until(inbox, StartFailed)[-1] == StartFailed(P, error)
    error.__traceback__ = None  # it leads to what was to be given to the process
    assert len(children) == 0
    eventually("everything is closed", lambda: descriptors() == before)


def test_reports_come_in_order_and_the_end_comes_last(inbox: Inbox) -> None:
    """Also where the kernel has no pidfd: what the fork server tells has to do, and it ends with it."""

    def child(pipe: Any) -> None:
        for _ in range(3):
            pipe.send(Resumed())

    children = Children(FakeForkServer(child=child), inbox)
    child_ = children.start(settings)
    seen = [each for each in until(inbox, ChildExited) if not isinstance(each, BackgroundCallDone)]
    assert seen == [ChildReported(child_.worker, Resumed())] * 3 + [ChildExited(child_.worker)]
    children.reap(child_)


@pytest.mark.parametrize("error", [OSError(38, "Function not implemented"), PermissionError(1, "no"), TOO_MANY])
def test_without_a_pidfd_the_fork_servers_word_serves(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """An old kernel, a sandbox, no descriptor left: the end is seen all the same, and signals arrive."""
    monkeypatch.setattr(os, "pidfd_open", fails(error))
    held, release = os.pipe()
    children = Children(FakeForkServer(child=lambda _pipe: cast(None, os.read(held, 1))), inbox)
    child = children.start(settings)
    until(inbox, BackgroundCallDone)
    child.kill()
    assert os.waitpid(child.pid, 0)[1] == 9
    os.close(child.launched.keep) if child.launched else None
    os.close(release)
    os.close(held)


@pytest.mark.parametrize("garbage", [b"no pickle", b"cno_such_module\nName\n."])
def test_what_cannot_be_understood_ends_its_worker(inbox: Inbox, garbage: bytes) -> None:
    """As after an upgrade under a running supervisor. The loop goes on."""

    def child(pipe: Any) -> None:
        pipe.send_bytes(garbage)
        pipe.poll(30)

    children = Children(FakeForkServer(child=child), inbox)
    started = children.start(settings)
    assert not any(isinstance(each, ChildReported) for each in until(inbox, ChildExited))
    assert started.ended_by_us
    os.waitpid(started.pid, 0)


def test_half_a_message_holds_up_nobody(inbox: Inbox) -> None:
    """Its sender was stopped in the midst of it."""
    whole = b"\x00\x00\x00\x10" + b"x" * 3

    def child(pipe: Any) -> None:
        os.write(pipe.fileno(), whole)
        pipe.poll(30)

    children = Children(FakeForkServer(child=child), inbox)
    started = children.start(settings)
    until(inbox, BackgroundCallDone)
    assert [event for _ in range(5) for event in inbox.wait(0.05)] == []
    children.end_all(0.0)
    os.waitpid(started.pid, 0)
