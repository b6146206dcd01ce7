"""Saying a thing now and then, however often it happens."""

from __future__ import annotations

import logging
import time

#: Seconds between two lines that say the same.
EVERY = 60.0


class Seldom:
    """Warnings of one logger, each kind of them once a minute."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, float] = {}

    def warn(self, kind: str, message: str, *args: object) -> None:
        now = time.monotonic()
        if now - self._said.get(kind, -EVERY) >= EVERY:
            self._said[kind] = now
            self._log.warning(message, *args)
