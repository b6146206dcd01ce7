"""How this process ends, whatever happens in it: by a signal, by an error that nobody expected, by a deadline.

A loop that stands still cannot see to that, nor can a main thread that waits in a call to Kafka. So signals are heard
by a thread of its own, which passes them on and keeps the deadlines. And the end itself waits for nobody: Python's
own joins whatever threads and processes are left.

An unexpected error, in the loop or in a thread of ours, ends the process with code 1. The pipes to the workers are
closed, so they commit, let go of their locks and end; who has not after two seconds is killed. What is left is logged
before that, at CRITICAL with its traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import process, util
from types import FrameType, TracebackType
from typing import NoReturn

from partition_supervisor.events import SignalArrived
from partition_supervisor.inbox import Inbox
from partition_workers.errors import ExitCode
from partition_workers.log_events import event
from partition_workers.protocol import FOR_THE_SUPERVISOR

log = logging.getLogger(__name__)

#: Seconds that workers get to commit and let go of their locks, once their pipes are closed.
LAST_SECONDS = 2.0
#: Seconds in which the end is over, once it has begun.
END_WITHIN = 2.8
#: Seconds for what is done best while nothing hangs on it: revoking leases, writing the rest of the log.
POLITE_WITHIN = 1.0

OURS = ("partition_supervisor", "partition_workers")

EndWorkers = Callable[[float], None]


class Termination:
    """Make it in the main thread, before anything that takes time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ending = self._is_done = False
        self._inbox: Inbox | None = None
        self._graceful_timeout = 0.0
        self._deadline: float | None = None
        self._asked = 0
        self._end_workers: EndWorkers = lambda _seconds: None
        self._leave: Callable[[], None] = lambda: None
        #: Done last of all; nothing in it may wait.
        self.last_deeds: list[Callable[[], None]] = []
        self._heard, write = os.pipe()
        os.set_blocking(write, False)
        for number in FOR_THE_SUPERVISOR:
            signal.signal(number, _do_nothing)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.excepthook = self._thread_has_failed
        threading.Thread(target=self._hear, name="signals", daemon=True).start()

    def has_entered(self, leave: Callable[[], None]) -> None:
        """From now on others know of us; `leave` tells them that we go."""
        self._leave = leave

    def begin_loop(self, inbox: Inbox, end_workers: EndWorkers, graceful_timeout: float) -> None:
        """From now on signals are for the loop. `end_workers(seconds)` closes the pipes to them, and kills who is
        left after that time."""
        with self._lock:
            self._inbox, self._end_workers, self._graceful_timeout = inbox, end_workers, graceful_timeout

    def fail(self, error: BaseException) -> NoReturn:
        """An error that nobody expected, in any thread: it is the end."""
        if self._begin():
            self._end_after(END_WITHIN, ExitCode.UNEXPECTED)
            log.critical(
                "an error that should not happen ends this supervisor",
                exc_info=error,
                extra=event("supervisor-failed"),
            )
            self._end(ExitCode.UNEXPECTED)
        _stay()

    def begin_to_end(self, code: ExitCode) -> None:
        """Everything is done. What follows is polite, and has a second."""
        self._is_done = True
        self._end_after(POLITE_WITHIN, code)

    def end(self, code: ExitCode) -> NoReturn:
        """Now."""
        if self._begin():
            self._exit(code)
        _stay()

    def stay_if_ending(self) -> None:
        """After an error: if the end has begun, the error may be what came of it, and nobody wants to know."""
        if self._ending:
            _stay()

    # --- signals

    def _hear(self) -> None:
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            if poll.poll(None if left is None else left * 1000):
                for number in os.read(self._heard, 64):
                    self._on_signal(number)
            elif self._is_done:
                self._deadline = None
            elif self._begin():
                log.critical("the stop has taken longer than it may; ending now", extra=event("stop-too-slow"))
                self._end(ExitCode.UNEXPECTED, within=0.0)

    def _on_signal(self, number: int) -> None:
        with self._lock:
            inbox = self._inbox
        means_stop = number in (signal.SIGINT, signal.SIGTERM) or (number == signal.SIGHUP and os.isatty(2))
        if inbox is None:
            if means_stop and self._begin():
                log.info("%s: stopping, before anything was started", signal.Signals(number).name)
                self._end(ExitCode.OK)
            return
        inbox.post(SignalArrived(signal.SIGTERM if means_stop and number == signal.SIGHUP else number))
        if means_stop:
            self._set_deadline(number)

    def _set_deadline(self, number: int) -> None:
        """For a loop that stands still; one that goes round is faster. A third Ctrl-C waits for nothing at all."""
        self._asked += number == signal.SIGINT or not self._asked
        if self._asked > 2:
            self._exit(ExitCode.UNEXPECTED)
        within = self._graceful_timeout if self._asked == 1 else 0.0
        deadline = time.monotonic() + within + LAST_SECONDS + 0.5
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    # --- the end

    def _begin(self) -> bool:
        """False: somebody else is at it."""
        with self._lock:
            began, self._ending = not self._ending, True
        return began

    def _thread_has_failed(self, failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is None or isinstance(failed.exc_value, SystemExit):
            return
        if _is_ours(failed.exc_traceback):
            self.fail(failed.exc_value)
        name = failed.thread.name if failed.thread else "a thread"
        log.error("%s: an error that is not ours", name, exc_info=failed.exc_value)

    def _end(self, code: ExitCode, within: float = LAST_SECONDS) -> NoReturn:
        """Others are told while the workers end, if it takes no longer than that."""
        told = threading.Event()

        def tell() -> None:
            with contextlib.suppress(Exception):
                self._leave()
            told.set()

        try:
            threading.Thread(target=tell, name="leave", daemon=True).start()
            self._end_workers(within)
            told.wait(POLITE_WITHIN if self._inbox is None else 0.0)
        except Exception:
            log.exception("not everything could be ended")
        finally:
            self._exit(code)

    def _end_after(self, seconds: float, code: ExitCode) -> None:
        def end() -> None:
            time.sleep(seconds)
            self._exit(code)

        with contextlib.suppress(RuntimeError):
            threading.Thread(target=end, name="deadline", daemon=True).start()

    def _exit(self, code: ExitCode) -> NoReturn:
        def give_up() -> None:  # nobody may be reading the log
            time.sleep(POLITE_WITHIN)
            os._exit(code)

        with contextlib.suppress(RuntimeError):
            threading.Thread(target=give_up, name="last deadline", daemon=True).start()
        for deed in self.last_deeds:
            with contextlib.suppress(Exception):
                deed()
        with contextlib.suppress(Exception):
            _clean_up_after_multiprocessing()
        with contextlib.suppress(Exception):
            for handler in logging.getLogger().handlers:
                handler.flush()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The thread hears of it. But without a handler Python would not note the signal."""


def _is_ours(traceback: TracebackType | None) -> bool:
    """Whether any code of ours was at work: a library's own thread is no reason to end."""
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).startswith(OURS):
            return True
        traceback = traceback.tb_next
    return False


def _clean_up_after_multiprocessing() -> None:
    """The semaphores of logs, and the folder where fork servers listen. The interpreter's exit, which we do without,
    would do that, and wait for children."""
    util._run_finalizers(0)  # type: ignore[attr-defined]
    folder = process.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _stay() -> NoReturn:
    """The end is another thread's matter."""
    while True:
        time.sleep(60.0)
