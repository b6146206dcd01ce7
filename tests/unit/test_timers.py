"""What the loop does again and again, on the standard library's scheduler."""

from __future__ import annotations

from sched import scheduler

from partition_supervisor.control.timers import every
from tests.fakes.clock import FakeClock


def test_what_is_done_every_so_often_goes_on() -> None:
    """A freeze is not made up for: it is done once, and then at its pace again."""
    clock = FakeClock()
    timers, done = scheduler(clock), []
    every(timers, 2, lambda: done.append(clock()))
    for _ in range(4):
        clock.advance(1)
        timers.run(blocking=False)
    assert done == [2, 4]
    clock.advance(100)
    assert timers.run(blocking=False) == 2
    assert done == [2, 4, 104]
