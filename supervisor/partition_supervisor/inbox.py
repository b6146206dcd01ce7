"""The one place where a supervisor waits for everything that can happen to it."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from collections.abc import Callable, Iterable

from partition_supervisor.events import ClusterChanged, Event


class Inbox:
    """Everything that happens comes here: from threads and signal handlers by `post`, from pipes by `watch`."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._slept)

    def post(self, event: Event) -> None:
        """Safe in any thread and in a signal handler."""
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):  # full: it wakes us all the same
            os.write(self._wake_write, b"!")

    def watch(self, fd: int, read: Callable[[], Iterable[Event]]) -> None:
        """Call `read` whenever `fd` has something."""
        self._selector.register(fd, selectors.EVENT_READ, read)

    def unwatch(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def wait(self, seconds: float | None) -> list[Event]:
        """What happened, in order; an empty list when nothing did in so many seconds (None: wait for ever)."""
        if not self._events:
            for key, _ in self._selector.select(seconds):
                self._events.extend(key.data())
        happened: list[Event] = []
        while self._events:
            event = self._events.popleft()
            if isinstance(event, ClusterChanged):
                event = self._with_those_that_follow(event)
            happened.append(event)
        return happened

    def _with_those_that_follow(self, first: ClusterChanged) -> ClusterChanged:
        """Changes in a row are one event: each makes a plan, and when a host dies or joins there are hundreds."""
        changes = list(first.changes)
        while self._events and isinstance(following := self._events[0], ClusterChanged):
            changes.extend(following.changes)
            self._events.popleft()
        return ClusterChanged(tuple(changes))

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _slept(self) -> Iterable[Event]:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        return ()
