"""The calls to Kafka that a step needs, by a thread of their own: the record loop waits for none of them."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from partition_workers.errors import Unavailable
from partition_workers.layout.documents import now
from partition_workers.model import Offset
from partition_workers.outputs.steps import Known, Step

T = TypeVar("T")

#: Seconds between two attempts to reach a broker that does not answer.
AGAIN = 0.2


class OutputProducer(Protocol):
    """The door, as `kafka/transactional_producer.py` has it."""

    def partitions_of(self, topic: str) -> int: ...
    def warm_up(self, timeout: float) -> None: ...
    def initialise(self) -> None: ...
    def look(self, timeout: float = ...) -> tuple[Offset, str] | None: ...
    def commit(
        self, records: Sequence[Sequence[Any]], offset: Offset, metadata: str, given_up: Callable[[], bool]
    ) -> None: ...
    def close(self) -> None: ...


class Exchange:
    """One call at a time, in the order in which they were asked for."""

    def __init__(self, producer: OutputProducer) -> None:
        self._producer = producer
        self._is_over = False
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        #: Why nothing gets done at the moment.
        self.trouble: Unavailable | None = None

    def warm_up(self, timeout: float) -> None:
        """By whoever calls, before anything else. Raises Unavailable."""
        self._producer.warm_up(timeout)

    def partitions_of(self, topic: str) -> int:
        return self._producer.partitions_of(topic)

    def look(self) -> Future[Known | None]:
        """K as it is, while somebody else may still commit; beside whatever else is asked for. While a transaction is
        open there is no answer. Its future raises Unavailable and PartitionRefused."""
        return self.beside(lambda: _known(self._producer.look(0.2)))

    def beside(self, call: Callable[[], T]) -> Future[T]:
        """By a thread that ends with it."""
        future, run = _promise(call)
        threading.Thread(target=run, name="beside outputs", daemon=True).start()
        return future

    def stay_warm(self) -> None:
        """To be called now and then while nothing is asked for: brokers close what is idle for ten minutes."""

        def ask_something() -> None:
            with contextlib.suppress(Unavailable):
                self._producer.warm_up(1.0)

        self._ask(ask_something)

    def open(self) -> Future[Known | None]:
        """Initialise, then K: nobody else commits after that. Asked until Kafka answers; raises PartitionRefused."""
        return self._ask(self._open)

    def commit(self, step: Step) -> Future[Known]:
        """The outputs and K. Its future raises TransactionFailed."""
        return self._ask(lambda: self._commit(step))

    def close(self) -> None:
        self._is_over = True
        self._calls.put(self._producer.close)
        self._calls.put(None)
        self._start()

    def _open(self) -> Known | None:
        self._until_answered(self._producer.initialise)
        return _known(self._until_answered(self._producer.look))

    def _commit(self, step: Step) -> Known:
        known = Known(step.number, now())
        self._producer.commit(step.records, step.offset, known.encode(), lambda: self._is_over)
        return known

    def _until_answered(self, call: Callable[[], T]) -> T:
        while True:
            try:
                result = call()
            except Unavailable as error:
                if self._is_over:
                    raise
                self.trouble = error
                time.sleep(AGAIN)
            else:
                self.trouble = None
                return result

    def _ask(self, call: Callable[[], T]) -> Future[T]:
        future, run = _promise(call)
        self._calls.put(run)
        self._start()
        return future

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


def _known(found: tuple[Offset, str] | None) -> Known | None:
    return Known.decode(found[1]) if found else None
