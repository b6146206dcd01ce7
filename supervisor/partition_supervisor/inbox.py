"""The one place where a supervisor waits for everything that can happen to it."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from collections.abc import Callable, Iterable

from partition_supervisor.events import Event
from partition_workers.clock import Clock, boottime

#: So many posted events are given out in one round. Each takes some microseconds, for plans are made once a round.
MOST_POSTED = 256


class Inbox:
    """Everything that happens comes here: from threads and signal handlers by `post`, from pipes by `watch`.

    Pipes are looked at in every round, and what they bring comes first: exits, for somebody waits for the next
    record, and reports, for leases are judged by them. Of what was posted, a round gets so much as is done in a
    moment; so posts that keep coming hold up neither.
    """

    def __init__(self, clock: Clock = boottime) -> None:
        #: When the pipes were last looked at, by `clock`. What waited in them then was given out.
        self.read_at = clock()
        self._clock, self._was_read = clock, False
        self._posted: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._slept)

    def post(self, event: Event) -> None:
        """Safe in any thread and in a signal handler."""
        self._posted.append(event)
        with contextlib.suppress(BlockingIOError):  # full: it wakes us all the same
            os.write(self._wake_write, b"!")

    def watch(self, fd: int, read: Callable[[], Iterable[Event]]) -> None:
        """Call `read` whenever `fd` has something."""
        self._selector.register(fd, selectors.EVENT_READ, read)

    def unwatch(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def wait(self, seconds: float | None) -> list[Event]:
        """What happened; an empty list when nothing did in so many seconds (None: wait for ever)."""
        self._selector.select(0 if self._posted else seconds)
        self._was_read = True
        self.read_at = self._clock()  # and then they are looked at: whatever was there by then is found
        happened = [event for key, _ in self._selector.select(0) for event in key.data()]
        happened.extend(self._posted.popleft() for _ in range(min(len(self._posted), MOST_POSTED)))
        return happened

    def is_read(self, within: float) -> bool:
        """Whether the pipes were looked at in the last so many seconds, or nobody has begun to. In any thread."""
        return not self._was_read or self._clock() - self.read_at < within

    def silence(self) -> float:
        """Seconds since the pipes were looked at; 0: nobody has begun to. In any thread."""
        return max(0.0, self._clock() - self.read_at) if self._was_read else 0.0

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _slept(self) -> Iterable[Event]:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        return ()
