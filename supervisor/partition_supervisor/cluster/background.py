"""Whatever needs the network is done in a thread, and its result comes back to the loop as an event."""

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


def nothing_more(*_result: object) -> None:
    """The result does not matter, or nothing is to be done about a failure."""


class BackgroundCalls:
    """`open`: how many are under way."""

    def __init__(self, inbox: Inbox) -> None:
        self.open = 0
        self._inbox = inbox
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="background")

    def run(
        self,
        work: Callable[[], T],
        then: Callable[[T], None] = nothing_more,
        failed: Callable[[], None] = nothing_more,
    ) -> None:
        """Do `work` in a thread, and `then` with its result in the loop; or, whatever error it ends with, log that
        and do `failed` in the loop. One of the two is called, and once."""
        self.open += 1
        self._submit(work).add_done_callback(
            lambda future: self._inbox.post(BackgroundCallDone(lambda: self._finish(future, then, failed)))
        )

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            return self._pool.submit(work)
        except RuntimeError as error:  # there is no thread to be had
            future: Future[T] = Future()
            future.set_exception(error)
            return future

    def _finish(self, future: Future[T], then: Callable[[T], None], failed: Callable[[], None]) -> None:
        self.open -= 1
        error = future.exception()
        if error is not None:
            log.error("a call in the background failed: %s", error, exc_info=error)
            failed()
        else:
            then(future.result())
