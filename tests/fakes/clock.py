"""A clock that moves only when told to."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """Called, it says how many seconds have passed. Whoever subscribed is told of every advance."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for listener in self._listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)
