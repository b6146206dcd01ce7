"""Asking until somebody answers, and how long to wait in between."""

from __future__ import annotations

import random
from itertools import islice, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.cluster.retry import until_etcd_answers
from partition_workers.errors import Denied, Lost, Refused, Retry, Unreachable
from partition_workers.retry import backoff, delays, time_is_up, until_answered


class Silent:
    """Answers with how often it was asked, but not before the `times`-th question was without an answer."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.asked, self._times, self._error = 0, times, error or Retry("nobody is there")

    def __call__(self) -> int:
        self.asked += 1
        if self.asked <= self._times:
            raise self._error
        return self.asked


@given(st.integers(0, 10), st.integers(0, 10))
def test_it_is_asked_once_more_than_there_are_pauses_and_no_more_than_needed(silent: int, pauses: int) -> None:
    """The last error is raised as it is; each one was told, and followed by its pause."""
    asked, waited, complaints = Silent(silent), list[float](), list[Retry]()

    def ask() -> int:
        return until_answered(asked, map(float, range(pauses)), wait=waited.append, complain=complaints.append)

    if silent <= pauses:
        assert ask() == silent + 1
    else:
        with pytest.raises(Retry, match="nobody is there"):
            ask()
    assert asked.asked == min(silent, pauses) + 1
    assert waited == list(range(min(silent, pauses)))
    assert len(complaints) == len(waited)


def test_who_has_given_up_is_not_asked_for_again() -> None:
    """It may have happened during the pause."""
    asked, reasons = Silent(10), iter([False, False, True])
    with pytest.raises(Retry):
        until_answered(asked, repeat(0.0), lambda: next(reasons))
    assert asked.asked == 3


def test_an_answer_that_is_no_retry_is_an_answer() -> None:
    """A lease that is gone does not come back."""
    asked = Silent(10, Lost("gone"))
    with pytest.raises(Lost):
        until_answered(asked, repeat(0.0))
    assert asked.asked == 1


def test_etcd_that_is_silent_for_too_long_is_unreachable_by_name() -> None:
    """What is wrong, where, and what to look at."""
    with pytest.raises(Unreachable, match=r"at here:2379 \(nobody is there\).*--etcd-endpoints"):
        until_etcd_answers(Silent(1_000_000), 0.1, "here:2379")
    assert until_etcd_answers(Silent(2), 10.0, "here:2379") == 3


def test_whoever_is_not_let_in_is_told_at_once_what_to_look_at() -> None:
    def denied() -> None:
        raise Denied("etcd at here:2379 refused Txn: etcdserver: permission denied")

    with pytest.raises(Refused, match=r"permission denied: .*--etcd-user .* read and write below --etcd-prefix"):
        until_etcd_answers(denied, 3600.0, "here:2379")


def test_time_is_up_when_it_is() -> None:
    assert time_is_up(0.0)()
    assert not time_is_up(60.0)()


@given(st.integers(0, 5000), st.floats(0.001, 10), st.floats(10, 1000), st.floats(0, 1, exclude_max=True))
def test_delays_double_up_to_the_longest_and_are_spread(
    attempts: int, first: float, most: float, chance: float
) -> None:
    """Never outside of the jitter around the doubled one, however many attempts there were."""
    middle = backoff(attempts, first, most, 0.5, 0.2)
    assert middle == pytest.approx(min(first * 2.0 ** min(attempts, 500), most))
    assert middle * 0.8 <= backoff(attempts, first, most, chance, 0.2) * (1 + 1e-9)
    assert backoff(attempts, first, most, chance, 0.2) <= middle * 1.2 * (1 + 1e-9)


def test_delays_are_those_of_the_one_formula() -> None:
    """With chances of their own."""
    found = list(islice(delays(0.1, 1.0, 0.2, random.Random(7)), 6))
    chances = random.Random(7)
    assert found == [backoff(attempts, 0.1, 1.0, chances.random(), 0.2) for attempts in range(6)]
