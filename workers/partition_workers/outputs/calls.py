"""Calls to Kafka by a thread of their own, for the record loop waits for none that may take its time.

librdkafka 2.16 was seen not to come back, within minutes, from a call that was given a second: the commit of a
transaction, while three brokers were started anew one after the other. Nobody can end such a thread. It is left
behind with its client, and another of each goes on; what the old one may still do is what a zombie may.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from partition_workers.errors import Unavailable
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.log_events import event

T = TypeVar("T")
D = TypeVar("D", bound="Door")

log = logging.getLogger(__name__)

#: Seconds between two attempts to reach a broker that does not answer.
AGAIN = 0.2
#: Seconds after which a call will not come back: no call is given more than five.
HUNG = 20.0
#: And seconds for which it is looked at then: of a process that was stopped the client was, too, and goes on.
SURE = 1.0


class Door(Protocol):
    """What all producers of outputs have. `called_at`: since when librdkafka has the word, or later
    (time.monotonic)."""

    called_at: float

    def partitions_of(self, topic: str) -> int: ...
    def warm_up(self, timeout: float) -> None: ...
    def close(self) -> None: ...


class Calls(Generic[D]):
    """One call at a time, in the order in which they were asked for."""

    def __init__(self, make_door: Callable[[], D]) -> None:
        self._make_door, self._door = make_door, make_door()
        self.is_over = False
        self._calls: _Queue[D] = queue.SimpleQueue()
        self._under_way: _Call[D] | None = None
        self._thread: threading.Thread | None = None
        self._suspected: tuple[float, float] | None = None
        """Since when librdkafka had the word, when that seemed to be too long, and when that was."""
        #: Why nothing gets done at the moment.
        self.trouble: Unavailable | None = None

    def warm_up(self, timeout: float) -> None:
        """By whoever calls, before anything else. Raises Unavailable."""
        self._door.warm_up(timeout)

    def partitions_of(self, topic: str) -> int:
        return self._door.partitions_of(topic)

    def stay_warm(self) -> None:
        """To be called now and then while nothing is asked for: brokers close what is idle for ten minutes."""

        def ask_something(door: D) -> None:
            with contextlib.suppress(Unavailable):
                door.warm_up(1.0)

        self._ask(ask_something)

    def look_after(self) -> None:
        """To be called by whoever waits for an answer, several times a second."""
        call, called_at, now = self._under_way, self._door.called_at, time.monotonic()
        if call is None or now - called_at <= HUNG:
            return
        if self._suspected is None or self._suspected[0] != called_at:
            self._suspected = called_at, now
        elif now - self._suspected[1] >= SURE:
            self._leave_behind(call)

    def close(self) -> None:
        self.is_over = True
        self._ask(lambda door: door.close())
        self._calls.put(None)

    def beside(self, call: Callable[[D], T]) -> Future[T]:
        """By a thread that ends with it."""
        made = _Call[D](call, is_asked_again=False)
        threading.Thread(target=made.run, args=(self._door,), name="beside outputs", daemon=True).start()
        return made.future

    def _ask(self, call: Callable[[D], T], is_asked_again: bool = False) -> Future[T]:
        """`is_asked_again`: by another client, where the first does not come back; else its future raises
        SendingFailed then."""
        made = _Call[D](call, is_asked_again)
        self._calls.put(made)
        self._start()
        return made.future

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
            arguments = self._calls, self._door
            self._thread = threading.Thread(target=self._work, args=arguments, name="outputs", daemon=True)
            self._thread.start()

    def _work(self, calls: _Queue[D], door: D) -> None:
        while (call := calls.get()) is not None:
            door.called_at = time.monotonic()
            self._under_way = call
            call.run(door)
            if calls is not self._calls:
                return  # left behind
            self._under_way = None

    def _leave_behind(self, call: _Call[D]) -> None:
        why = f"Kafka's client has not come back for {time.monotonic() - self._door.called_at:.0f} s"
        log.warning("outputs: %s; it is left behind, and another is made", why, extra=event("kafka-client-hung"))
        waiting, self._calls, self._door = self._calls, queue.SimpleQueue(), self._make_door()
        self._under_way = self._thread = None
        if call.is_asked_again:
            self._calls.put(call)
        else:
            call.fail(SendingFailed(why, given_up=True))
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.put(waiting.get_nowait())
        waiting.put(None)
        self._start()


class _Call(Generic[D]):
    def __init__(self, call: Callable[[D], Any], is_asked_again: bool) -> None:
        self._call, self.is_asked_again = call, is_asked_again
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()

    def run(self, door: D) -> None:
        with contextlib.suppress(InvalidStateError):  # it comes back after all, and too late
            try:
                self.future.set_result(self._call(door))
            except InvalidStateError:
                raise
            except BaseException as error:
                self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        with contextlib.suppress(InvalidStateError):  # it came back just now
            self.future.set_exception(error)


_Queue: TypeAlias = "queue.SimpleQueue[_Call[D] | None]"
