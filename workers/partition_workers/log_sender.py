"""A worker's log records travel to its supervisor, which alone writes them.

Each worker has a queue of its own. One queue for all stops for good after some dozens of SIGKILLs: a worker that
dies while it writes takes the queue's lock along.
"""

from __future__ import annotations

import logging
from logging.handlers import QueueHandler
from typing import Any


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
    logging.getLogger("librdkafka").addFilter(Seldom(10.0))


def configure(queue: Any, level: int) -> None:
    """Send everything from `level` up to the supervisor. `queue` is that of a MultiProcessingHandler."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(QueueHandler(queue))
    root.setLevel(level)
    quieten()
    logging.captureWarnings(True)
