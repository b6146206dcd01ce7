"""The supervisor alone writes the log: its own records, and its workers'. Text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from typing import Any

from multiprocessing_logging import MultiProcessingHandler

from partition_supervisor.printable import printable_json, without_controls
from partition_workers.log_events import event
from partition_workers.log_sender import quieten

log = logging.getLogger(__name__)

#: The file descriptor of standard error.
STDERR = 2
#: Lines that wait to be written, at most.
MOST_WAITING = 5000
#: Seconds that a worker's reader waits for room among them.
WAIT_FOR_ROOM = 1.0
#: Seconds for what waits, at the end of the process.
FLUSH_WITHIN = 1.0


class _Text(logging.Formatter):
    """What others wrote is in it: reasons, keys of records, errors of brokers. No escape of theirs gets through."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()}"
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return without_controls(f"{text}\n{record.exc_text}" if record.exc_text else text)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "at": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.processName,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if name := getattr(record, "event", None):
            fields["event"] = name
        if record.exc_info or record.exc_text:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        return printable_json(json.dumps(fields, ensure_ascii=False))


class StandardError(logging.Handler):
    """Writes to descriptor 2, in a thread of its own: whoever logs never waits for whoever reads.

    A reader that stops costs lines, which are counted, and how many is said when it goes on. The descriptor is
    written to directly: a thread that stands still in Python's own stream would hold up the end of the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
        self._dropped = self.dropped_before = 0
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """In the life of this process."""
        return self.dropped_before + self._dropped

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def wait_and_emit(self, record: logging.LogRecord) -> None:
        """For a worker's reader: while it waits, that worker sends no more."""
        try:
            self._lines.put(record, timeout=WAIT_FOR_ROOM)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until everything is written, for a second at most."""
        until = time.monotonic() + FLUSH_WITHIN
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write_all(self) -> None:
        while True:
            record = self._lines.get()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self.dropped_before += dropped
                said = "%d lines of the log were dropped: standard error was not read fast enough"
                told = logging.LogRecord(__name__, logging.WARNING, __file__, 0, said, (dropped,), None)
                told.__dict__.update(event("log-lines-dropped"))
                self._write(told)
            self._write(record)
            self._lines.task_done()

    def _write(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            while line:
                line = line[os.write(STDERR, line) :]
        except OSError:
            self._dropped += 1  # nobody is there any more who could be told
        except Exception:
            self.handleError(record)


class _Written(logging.Handler):
    """Where a worker's records arrive: written like our own. Nothing of it is closed with the worker."""

    def emit(self, record: logging.LogRecord) -> None:
        for handler in logging.getLogger().handlers:
            if record.levelno >= handler.level:
                if isinstance(handler, StandardError):
                    handler.wait_and_emit(record)
                else:
                    handler.handle(record)


class FromWorker(MultiProcessingHandler):  # type: ignore[misc]  # it has no types
    """The end of a worker's log in this process. Its thread ends with the worker, once that has it for itself.

    Theirs looks every 0.2 s whether it was closed; for 64 workers that is more work than all of them make.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, _Written())

    def leave_to_worker(self) -> None:
        """It has started. While we can write as well, its end would not be noticed."""
        self.queue._writer.close()

    def _receive(self) -> None:
        while True:
            try:
                self.sub_handler.emit(self.queue.get())
            except (EOFError, OSError):
                return
            except Exception:
                log.exception("%s: a record cannot be read", self._receive_thread.name)


def lines_dropped() -> int:
    return sum(each.dropped for each in logging.getLogger().handlers if isinstance(each, StandardError))


def configure(level: int, log_format: str) -> None:
    handler = StandardError()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    quieten()
