"""What is to be done later, in order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.control.timers import Timers
from tests.fakes.clock import FakeClock


@given(st.lists(st.integers(0, 10)))
def test_actions_are_done_in_order_of_time_and_of_asking(delays: list[int]) -> None:
    """Two that are due at the same time are done as they were asked for."""
    clock = FakeClock()
    timers, done = Timers(clock), []
    for number, delay in enumerate(delays):
        timers.after(delay, lambda number=number: done.append(number))  # type: ignore[misc]
    clock.advance(10)
    timers.run_due()
    assert done == sorted(range(len(delays)), key=lambda number: delays[number])


def test_nothing_is_done_before_its_time() -> None:
    """And at its time it is done once."""
    clock = FakeClock()
    timers, done = Timers(clock), []
    timers.after(5, lambda: done.append("done"))
    clock.advance(4.9)
    timers.run_due()
    assert done == []
    clock.advance(0.1)
    timers.run_due()
    timers.run_due()
    assert done == ["done"]


def test_what_is_done_every_so_often_goes_on() -> None:
    """A freeze is not made up for: it is done once, and then at its pace again."""
    clock = FakeClock()
    timers, done = Timers(clock), []
    timers.every(2, lambda: done.append(clock()))
    for _ in range(4):
        clock.advance(1)
        timers.run_due()
    assert done == [2, 4]
    clock.advance(100)
    timers.run_due()
    assert done == [2, 4, 104]
    assert timers.next_at() == 106


def test_the_next_time_is_that_of_the_earliest() -> None:
    """An hour from now when there is nothing to do."""
    clock = FakeClock(10)
    timers = Timers(clock)
    assert timers.next_at() == 3610
    timers.after(9, lambda: None)
    timers.after(3, lambda: None)
    assert timers.next_at() == 13


def test_an_action_may_ask_for_another() -> None:
    """One that is due already is done in the same round."""
    clock = FakeClock()
    timers, done = Timers(clock), []
    timers.after(1, lambda: timers.after(0, lambda: done.append("then")))
    clock.advance(1)
    timers.run_due()
    assert done == ["then"]
