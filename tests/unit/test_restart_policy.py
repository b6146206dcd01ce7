"""When a dead worker is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.control.restart_policy import (
    JITTER,
    LONGEST_DELAY,
    MOST,
    REST,
    STOOD_BY,
    WINDOW,
    Crashes,
    Restart,
    next_restart,
)

CHANCES = st.floats(0, 1, exclude_max=True)
CRASHES = st.lists(st.floats(0, 1e6), max_size=40).map(sorted)


@given(CRASHES, st.floats(0, 1e6), CHANCES)
def test_no_delay_is_negative_or_longer_than_the_longest(crashes: list[float], later: float, chance: float) -> None:
    """Whatever the history, the delay lies between nothing and the longest one with its jitter, or it is the rest."""
    restart = next_restart(crashes, (crashes[-1] if crashes else 0) + later, chance)
    assert restart.delay >= 0
    if restart.resting:
        assert restart.delay == REST
    else:
        assert restart.delay <= LONGEST_DELAY * (1 + JITTER)


@given(st.floats(0, 1e6), CHANCES)
def test_the_first_restart_is_immediate(at: float, chance: float) -> None:
    """One crash, or none that counts, costs no delay."""
    assert next_restart([at], at, chance) == Restart(0.0)
    assert next_restart([], at, chance) == Restart(0.0)


@given(CRASHES, CHANCES)
def test_it_rests_after_too_many_crashes_in_the_window_and_only_then(crashes: list[float], chance: float) -> None:
    """More than five crashes within sixty seconds, this one included."""
    now = crashes[-1] if crashes else 0.0
    recent = sum(1 for at in crashes if now - at < WINDOW)
    assert next_restart(crashes, now, chance).resting == (recent > MOST)


def test_delays_double_up_to_the_longest() -> None:
    """Crashes that are spread so widely that none of them is in the window of another still slow it down."""
    found = [next_restart([at * WINDOW for at in range(n)], (n - 1) * WINDOW, 0.5).delay for n in range(2, 14)]
    assert found == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])


@given(st.integers(2, 5), CHANCES)
def test_jitter_stays_around_the_delay(crashes: int, chance: float) -> None:
    """At most a fifth less or more."""
    middle = next_restart([0.0] * crashes, 0.0, 0.5).delay
    assert middle * (1 - JITTER) <= next_restart([0.0] * crashes, 0.0, chance).delay <= middle * (1 + JITTER)


@given(CRASHES, CHANCES)
def test_progress_forgets_all_crashes(crashes: list[float], chance: float) -> None:
    """After progress the list begins anew, and so do the delays, however many crashes there were before."""
    now = crashes[-1] if crashes else 0.0
    next_restart(crashes, now, chance)
    assert next_restart([now], now, chance) == Restart(0.0)


def test_a_thousand_crashes_are_no_number_too_large() -> None:
    """The doubling ends before it overflows."""
    crashes = [at * WINDOW for at in range(5000)]
    assert next_restart(crashes, crashes[-1], 0.5).delay == LONGEST_DELAY


def test_an_owner_that_gets_nowhere_is_a_crash_however_long_standbys_stood_by() -> None:
    """A standby runs nothing of the handler's, so it proves nothing about it."""
    crashes = Crashes()
    for moment in range(MOST):
        crashes.note(float(moment), was_owner=True, stood_by=0.9)
        assert not crashes.next_restart(float(moment), 0.5).resting
        crashes.note(moment + 0.5, was_owner=False, stood_by=STOOD_BY)
    crashes.note(float(MOST), was_owner=True, stood_by=0.9)
    assert crashes.next_restart(float(MOST), 0.5).resting


@given(st.lists(st.floats(STOOD_BY, 100.0), max_size=200))
def test_a_standby_that_stood_by_is_started_again_at_once(lives: list[float]) -> None:
    """Whoever kills one every second, or every hour, sees the next one at once."""
    crashes, now = Crashes(), 0.0
    for stood_by in lives:
        now += stood_by
        crashes.note(now, was_owner=False, stood_by=stood_by)
        assert crashes.next_restart(now, 0.5) == Restart(0.0)


def test_standbys_that_die_as_soon_as_they_are_ready_rest() -> None:
    """Being ready for a moment is no progress."""
    crashes = Crashes()
    for moment in range(MOST + 1):
        crashes.note(float(moment), was_owner=False, stood_by=STOOD_BY / 2)
    assert crashes.next_restart(float(MOST), 0.5).resting
    crashes.owner_got_on()
    assert crashes.next_restart(float(MOST), 0.5) == Restart(0.0)
