"""A worker's log records travel to its supervisor, which alone writes them.

Each worker has a queue of its own. One queue for all stops for good after some dozens of SIGKILLs: a worker that
dies while it writes takes the queue's lock along.
"""

from __future__ import annotations

import logging
from logging.handlers import QueueHandler
from typing import Any


def configure(queue: Any, level: int) -> None:
    """Send everything from `level` up to the supervisor. `queue` is that of a MultiProcessingHandler."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(QueueHandler(queue))
    root.setLevel(level)
    logging.captureWarnings(True)
