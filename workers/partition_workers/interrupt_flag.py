"""One flag that the record loop looks at between two records: somebody wants something.

Orders, signals and lease trouble arrive in other threads. They raise the flag; the loop, and nobody else, looks
into what happened. One attribute is what a look costs.
"""

from __future__ import annotations

import threading


class InterruptFlag:
    """`raised` is read without a lock, by design; `wait` sleeps until it is raised."""

    def __init__(self) -> None:
        self.raised = False
        self._event = threading.Event()

    def set(self) -> None:
        """Safe in any thread and in a signal handler."""
        self.raised = True
        self._event.set()

    def clear(self) -> None:
        self.raised = False
        self._event.clear()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)
