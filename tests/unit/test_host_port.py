"""The page of metrics: made once for many, and never older than a moment."""

from __future__ import annotations

from partition_supervisor.control.telemetry import FRESH
from partition_supervisor.host_metrics import HostMetrics
from partition_supervisor.web.host_port import _Page
from tests.fakes.clock import FakeClock


class Made:
    """A page of what `host` says, with how long ago the loop said it."""

    def __init__(self) -> None:
        self.clock = FakeClock(100.0)
        self.host, self.times = HostMetrics(at=100.0), 0
        self.page = _Page(lambda: self.host, self._make, self.clock)

    def _make(self, host: HostMetrics) -> bytes:
        self.times += 1
        return f"silence {self.clock() - host.at:g}".encode()


def test_who_asks_at_the_same_moment_gets_the_same_page() -> None:
    made = Made()
    first = made.page()
    made.clock.advance(FRESH / 2)
    assert (made.page(), made.times) == (first, 1)
    made.host = HostMetrics(at=100.1)
    made.page()
    assert made.times == 2, "the loop has said something new"


def test_a_loop_that_stands_still_is_told_for_how_long() -> None:
    """It says the same as before, for ever; how long ago that was is not the same."""
    made = Made()
    told = []
    for _ in range(3):
        told.append(made.page())
        made.clock.advance(15.0)
    assert told == [b"silence 0", b"silence 15", b"silence 30"]
