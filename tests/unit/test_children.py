"""Workers that cannot be started: an error with a name, and nothing is left of the attempt."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from partition_supervisor.inbox import Inbox
from partition_supervisor.processes import children as module
from partition_supervisor.processes.children import Children
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.protocol import WorkerSettings
from tests.eventually import eventually

P = Partition("events", 3)


def settings(worker: str, lease: int) -> WorkerSettings:
    return WorkerSettings(
        P, worker, "here", lease, "h:handle", Keys.of("/x/", "tests"), EtcdOptions(("etcd:2379",)), {}, "id",
        None, 5, 0.1, 60.0, 30.0, 0, "stop", None, 3, 0, 20,
    )  # fmt: skip


class FakeProcess:
    """One that was forked, or not."""

    def __init__(self, error: Exception | None) -> None:
        self.pid = os.getpid()
        self.sentinel = -1
        self.ended: list[str] = []
        self._error = error

    def start(self) -> None:
        if self._error is not None:
            raise self._error

    def kill(self) -> None:
        self.ended.append("kill")

    def join(self) -> None:
        self.ended.append("join")

    def close(self) -> None:
        self.ended.append("close")


class FakeContext:
    """Makes pipes, until it does not."""

    def __init__(self, process: FakeProcess, pipe_error: Exception | None = None) -> None:
        self._process, self._pipe_error = process, pipe_error

    def Pipe(self) -> Any:  # noqa: N802
        if self._pipe_error is not None:
            raise self._pipe_error
        return multiprocessing.Pipe()

    def Process(self, **_arguments: Any) -> FakeProcess:  # noqa: N802
        return self._process


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
    ("where", "error"),
    [
        ("pipe", TOO_MANY),
        ("log", TOO_MANY),
        ("log", RuntimeError("can't start new thread")),
        ("process", EOFError()),
        ("process", ConnectionRefusedError(111, "Connection refused")),
        ("process", BlockingIOError(11, "Resource temporarily unavailable")),
        ("pidfd", TOO_MANY),
        ("watch", TOO_MANY),
    ],
)
def test_what_was_half_made_is_closed(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """Pipes, the log's reader, and the process itself if there is one that could not be watched."""
    process = FakeProcess(error if where == "process" else None)
    context: Any = FakeContext(process, error if where == "pipe" else None)
    if where == "log":
        monkeypatch.setattr(module, "FromWorker", fails(error))
    if where == "pidfd":
        monkeypatch.setattr(os, "pidfd_open", fails(error))
    if where == "watch":
        monkeypatch.setattr(inbox, "watch", fails(error))
    children, before, threads = Children(context, inbox), descriptors(), threading.active_count()

    for _ in range(3):
        with pytest.raises(type(error)) as raised:
            children.start(settings)
        assert raised.value is error
        raised.value.__traceback__ = None
    del raised

    assert len(children) == 0
    assert children.of(P) == []
    assert process.ended == (["kill", "join", "close"] * 3 if where in ("pidfd", "watch") else [])
    eventually("the readers of logs have ended", lambda: threading.active_count() == threads)
    eventually("everything is closed", lambda: descriptors() == before)
