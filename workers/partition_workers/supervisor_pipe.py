"""A worker's line to its supervisor: orders come down it, reports go up.

A thread listens, so that an order is noticed while a handler is at work, and so that the end of the supervisor is:
the pipe then breaks, and the worker has two seconds to finish, commit and release. A worker that outlived its
supervisor unseen would go on owning what nobody watches.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from partition_workers.errors import ExitCode
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.protocol import (
    AnsweredPing,
    AnswerPing,
    Leave,
    MadeProgress,
    Order,
    RenewedLease,
    Report,
    WasToldToLeave,
)

#: Seconds that an orphan may take to finish.
LAST_SECONDS = 2.0


class SupervisorPipe:
    def __init__(
        self, connection: Connection, interrupt: InterruptFlag, last_deed: Callable[[], None] = lambda: None
    ) -> None:
        """`last_deed` is done when an orphan is ended because it took too long."""
        self.orphaned = False
        self.told_to_leave = False
        self._asked = False
        self._connection = connection
        self._interrupt, self._last_deed = interrupt, last_deed
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._talking = threading.Lock()
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def tell(self, report: Report) -> bool:
        """Send a report, from any thread; False: it was not. A supervisor that is gone hears nothing: no error.

        A supervisor that is frozen does not read either, and its owners must go on: what comes again anyway is
        left out once the pipe is full.
        """
        with self._talking:
            try:
                comes_again = isinstance(report, RenewedLease | MadeProgress | AnsweredPing)
                if not comes_again or select.select([], [self._connection], [], 0)[1]:
                    self._connection.send(report)
                    return True
            except OSError:
                self.orphaned = True
        return False

    def next_order(self, timeout: float | None = None) -> Order | None:
        """Wait for an order; None when none came within `timeout` seconds (None: for ever, 0: do not wait)."""
        self.pass_on_wishes()
        try:
            order = self._orders.get(timeout != 0, timeout)
            while order is None:  # a TERM wanted to be seen; behind it may be what was ordered
                order = self._orders.get_nowait()
            return order
        except queue.Empty:
            return None

    def ask_to_leave(self) -> None:
        """What a TERM means: the supervisor knows who comes after us. For a signal handler: nothing here may lock."""
        self._asked = self.told_to_leave = True
        self._interrupt.set()
        self._orders.put(None)  # wakes a standby

    def pass_on_wishes(self) -> None:
        """Tell the supervisor what a signal handler could not."""
        if self._asked:
            self._asked = False
            self.tell(WasToldToLeave())

    def _listen(self) -> None:
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, AnswerPing):
                    self.tell(AnsweredPing(order.number))
                else:
                    self.told_to_leave |= isinstance(order, Leave)
                    self._orders.put(order)
                    self._interrupt.set()
        except (EOFError, OSError):
            self.orphaned = self.told_to_leave = True
            self._orders.put(Leave())
            self._interrupt.set()
        time.sleep(LAST_SECONDS)  # a handler that hangs must not keep an orphan alive
        self._last_deed()
        os._exit(ExitCode.OK)
