"""One flag that the record loop looks at between two records: somebody wants something.

Orders, signals and lease trouble arrive in other threads. They raise the flag; the loop, and nobody else, looks
into what happened. One attribute is what a look costs.
"""

from __future__ import annotations

import contextlib
import queue


class InterruptFlag:
    """`raised` is read without a lock, by design; `wait` sleeps until it is raised.

    No threading.Event: its set() takes a lock, and a signal handler that finds the lock held by the very thread that
    it interrupts waits for ever. What SimpleQueue does is done by C under no lock of Python's.
    """

    def __init__(self) -> None:
        self.raised = False
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Safe in any thread and in a signal handler."""
        self.raised = True
        self._wakes.put(None)

    def clear(self) -> None:
        self.raised = False
        with contextlib.suppress(queue.Empty):
            for _ in range(self._wakes.qsize()):  # whoever sets it meanwhile has set `raised` too
                self._wakes.get_nowait()

    def wait(self, seconds: float) -> None:
        if not self.raised:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=seconds)
