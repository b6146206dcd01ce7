"""A worker's log records travel to its supervisor, which alone writes them.

Each worker has a queue of its own. One queue for all stops for good after some dozens of SIGKILLs: a worker that
dies while it writes takes the queue's lock along. The queue is bounded: a handler that logs each record logs faster
than anybody can write, and would otherwise fill the memory. Lines are dropped then, and how many is said.

The handler may configure logging as it likes, at its import or later. Its own handlers at the root go on working; a
line that they show on the console is not shown a second time by the supervisor. What it does to our loggers, be it
only that `logging.config.dictConfig` disables those that exist, is undone.
"""

from __future__ import annotations

import logging
import sys
import time
from functools import lru_cache
from logging.handlers import QueueHandler
from typing import Any

from partition_workers.log_events import event

log = logging.getLogger(__name__)

#: Loggers whose records always go to the supervisor, with everything below them.
OURS = ("partition_workers", "handler", "librdkafka", "py.warnings")
#: Lines that wait to be sent, at most.
MOST_WAITING = 1000


class Seldom(logging.Filter):
    """Lets a record pass every `seconds`, and says how many it did not."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._next, self._held = seconds, 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next:
            self._held += 1
            return False
        if self._held:
            record.msg, record.args = f"{record.getMessage()} ({self._held} more like it)", None
        self._next, self._held = record.created + self._seconds, 0
        return True


def quieten() -> None:
    """A broker that is away makes librdkafka say so twenty times a second."""
    librdkafka = logging.getLogger("librdkafka")
    if not any(isinstance(each, Seldom) for each in librdkafka.filters):
        librdkafka.addFilter(Seldom(10.0))


class LogSender(QueueHandler):
    """Sends to `queue`, that of a MultiProcessingHandler, what is `level` or more.

    What is not ours and shown by the handler's own configuration on the console, or below the level that it has given
    to the root, is left to it.
    """

    def __init__(self, queue: Any, level: int) -> None:
        super().__init__(queue)
        self.setLevel(level)
        self.dropped = self.dropped_before = 0
        self._their_level = logging.NOTSET
        self._their_console = False

    def install(self) -> None:
        """Beside whatever there is at the root."""
        root = logging.getLogger()
        theirs = [each for each in root.handlers if each is not self]
        self._their_level = root.level if theirs else logging.NOTSET
        consoles = [each for each in theirs if _is_console(each)]
        self._their_console = bool(consoles)
        for each in theirs:
            each.setLevel(max(each.level, root.level))
        for each in consoles:
            each.addFilter(_is_theirs)
        if self not in root.handlers:
            root.addHandler(self)
        root.setLevel(min(self.level, self._their_level) if theirs else self.level)
        for name in [*OURS, *logging.root.manager.loggerDict]:
            if _is_ours(name):
                logging.getLogger(name).disabled = False
        quieten()

    def keep_installed(self) -> None:
        """Whatever the handler has done meanwhile; and say what was dropped. It costs next to nothing."""
        if log.disabled or self not in logging.getLogger().handlers:
            self.install()
            log.info("the handler has configured logging anew; it goes on beside the supervisor's")
        if self.dropped:
            self._say_what_was_dropped()

    def emit(self, record: logging.LogRecord) -> None:
        if not _is_ours(record.name):
            if self._their_console or record.levelno < self._their_level:
                return
            if self._waiting() >= MOST_WAITING:
                self.dropped += 1
                return
        if self.dropped:
            self._say_what_was_dropped()
        super().emit(record)

    def flush_within(self, seconds: float) -> None:
        """Wait until everything is sent, so long at most."""
        until = time.monotonic() + seconds
        while self._waiting() and time.monotonic() < until:
            time.sleep(0.01)

    def _waiting(self) -> int:
        return len(self.queue._buffer)  # type: ignore[attr-defined]  # the deque of a multiprocessing.Queue

    def _say_what_was_dropped(self) -> None:
        if self._waiting() < MOST_WAITING // 2:
            dropped, self.dropped = self.dropped, 0
            self.dropped_before += dropped
            log.warning(
                "%d lines of the handler's log were dropped: it logs faster than they can be written",
                dropped,
                extra=event("log-lines-dropped"),
            )


_sender: LogSender | None = None


def configure(queue: Any, level: int) -> LogSender:
    """Send everything from `level` up to the supervisor. `queue` is that of a MultiProcessingHandler."""
    global _sender
    _sender = LogSender(queue, level)
    _sender.install()
    logging.captureWarnings(True)
    return _sender


def keep_installed() -> None:
    """To be called now and then, and before something that must be seen is logged."""
    if _sender is not None:
        _sender.keep_installed()


def lines_dropped() -> int:
    """In the life of this process."""
    return _sender.dropped_before + _sender.dropped if _sender is not None else 0


def show_lines_at_once() -> None:
    """What a handler prints, when its output is not a terminal: each line, and not some thousand characters later."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


@lru_cache(maxsize=4096)
def _is_ours(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in OURS)


def _is_theirs(record: logging.LogRecord) -> bool:
    return not _is_ours(record.name)


def _is_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
