"""Whatever needs the network is an errand: done in a thread, and its result comes back to the loop as an event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from partition_supervisor.events import BackgroundCallDone
from partition_supervisor.inbox import Inbox

log = logging.getLogger(__name__)

T = TypeVar("T")

#: So many takeovers can be under way at once when a host's workers die together.
AT_ONCE = 16


class BackgroundCalls:
    def __init__(self, inbox: Inbox) -> None:
        self.open = 0
        self._inbox = inbox
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="errand")

    def run(self, work: Callable[[], T], then: Callable[[T], None] = lambda _result: None) -> None:
        """Do `work` in a thread, `then` in the loop. An error is logged, and `then` is not called."""
        self.open += 1

        def done(future: Future[T]) -> None:
            self._inbox.post(BackgroundCallDone(lambda: self._finish(future, then)))

        self._pool.submit(work).add_done_callback(done)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finish(self, future: Future[T], then: Callable[[T], None]) -> None:
        self.open -= 1
        error = future.exception()
        if error is not None:
            log.error("an errand failed: %s", error, exc_info=error)
        else:
            then(future.result())
