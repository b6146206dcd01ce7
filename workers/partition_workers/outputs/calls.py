"""Calls to Kafka by a thread of their own: the record loop waits for none of them."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from partition_workers.errors import Unavailable

T = TypeVar("T")

#: Seconds between two attempts to reach a broker that does not answer.
AGAIN = 0.2


class Door(Protocol):
    """What all producers of outputs have."""

    def partitions_of(self, topic: str) -> int: ...
    def warm_up(self, timeout: float) -> None: ...
    def close(self) -> None: ...


class Calls:
    """One call at a time, in the order in which they were asked for."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.is_over = False
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        #: Why nothing gets done at the moment.
        self.trouble: Unavailable | None = None

    def warm_up(self, timeout: float) -> None:
        """By whoever calls, before anything else. Raises Unavailable."""
        self._door.warm_up(timeout)

    def partitions_of(self, topic: str) -> int:
        return self._door.partitions_of(topic)

    def stay_warm(self) -> None:
        """To be called now and then while nothing is asked for: brokers close what is idle for ten minutes."""

        def ask_something() -> None:
            with contextlib.suppress(Unavailable):
                self._door.warm_up(1.0)

        self._ask(ask_something)

    def close(self) -> None:
        self.is_over = True
        self._calls.put(self._door.close)
        self._calls.put(None)
        self._start()

    def beside(self, call: Callable[[], T]) -> Future[T]:
        """By a thread that ends with it."""
        future, run = _promise(call)
        threading.Thread(target=run, name="beside outputs", daemon=True).start()
        return future

    def _ask(self, call: Callable[[], T]) -> Future[T]:
        future, run = _promise(call)
        self._calls.put(run)
        self._start()
        return future

    def _until_answered(self, call: Callable[[], T]) -> T:
        while True:
            try:
                result = call()
            except Unavailable as error:
                if self.is_over:
                    raise
                self.trouble = error
                time.sleep(AGAIN)
            else:
                self.trouble = None
                return result

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="outputs", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _promise(call: Callable[[], T]) -> tuple[Future[T], Callable[[], None]]:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    return future, run
