"""The supervisor alone writes the log: its own records, and its workers'. Text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from multiprocessing_logging import MultiProcessingHandler

from partition_workers.log_sender import quieten

log = logging.getLogger(__name__)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()}"
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return f"{text}\n{record.exc_text}" if record.exc_text else text


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
        if record.exc_info or record.exc_text:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        return json.dumps(fields, ensure_ascii=False)


class _Written(logging.Handler):
    """Where a worker's records arrive: written like our own. Nothing of it is closed with the worker."""

    def emit(self, record: logging.LogRecord) -> None:
        for handler in logging.getLogger().handlers:
            if record.levelno >= handler.level:
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


def configure(level: int, log_format: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    quieten()
