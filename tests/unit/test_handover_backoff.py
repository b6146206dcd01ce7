"""Who did not take what it was given is offered nothing for a while: a table, and a thousand random sequences."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.control.growing_pause import FORGOTTEN_AFTER, LONGEST, GrowingPause, pause_after
from partition_supervisor.control.handover_backoff import FIRST, FIRST_AFTER_DEATH, HandoverBackoff
from partition_workers.model import Partition

P, Q = Partition("t", 0), Partition("t", 1)
EVER = 1e9


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(None, 100.0, 5.0, id="the first trouble"),
        pytest.param(GrowingPause(100.0, 5.0), 105.0, 10.0, id="again, when the pause is over"),
        pytest.param(GrowingPause(100.0, 5.0), 104.9, 5.0, id="the same trouble, while it lasts"),
        pytest.param(GrowingPause(100.0, 80.0), 260.0, 160.0, id="doubled again"),
        pytest.param(GrowingPause(100.0, 200.0), 301.0, LONGEST, id="at the most"),
        pytest.param(GrowingPause(100.0, LONGEST), 500.0, LONGEST, id="not longer"),
        pytest.param(GrowingPause(100.0, 5.0), 105.0 + FORGOTTEN_AFTER, 5.0, id="forgotten after a while"),
        pytest.param(GrowingPause(0.0, 200.0), 599.0, LONGEST, id="a long one is remembered longer"),
        pytest.param(GrowingPause(0.0, 200.0), 600.0, 5.0, id="but not for ever"),
    ],
)
def test_a_pause_doubles_while_trouble_comes_back(before: GrowingPause | None, now: float, expected: float) -> None:
    assert pause_after(before, now, 5.0) == GrowingPause(now, expected)


def test_nothing_more_is_offered_to_a_host_that_did_not_take_it() -> None:
    """Not that partition, and no other one."""
    backoff = HandoverBackoff()
    assert backoff.may_be_offered(P, "b", "1", 0.0)
    assert backoff.failed(P, "b", "1", 10.0).seconds == FIRST
    for partition in (P, Q):
        assert not backoff.may_be_offered(partition, "b", "1", 10.0 + FIRST - 0.1)
        assert backoff.may_be_offered(partition, "b", "1", 10.0 + FIRST)
        assert backoff.may_be_offered(partition, "c", "1", 10.0)


def test_another_life_of_the_host_knows_nothing_of_it() -> None:
    backoff = HandoverBackoff()
    backoff.failed(P, "b", "first", 10.0)
    assert backoff.may_be_offered(P, "b", "second", 10.0)
    assert backoff.failed(P, "b", "second", 10.0).seconds == FIRST


def test_a_worker_that_died_under_its_supervisor_says_nothing_about_other_partitions() -> None:
    """People kill workers all day. Another one is about to be ready; but it may die in the same way."""
    backoff = HandoverBackoff()
    assert backoff.failed(P, "b", "1", 10.0, died=True).seconds == FIRST_AFTER_DEATH
    assert backoff.may_be_offered(Q, "b", "1", 10.0)
    assert not backoff.may_be_offered(P, "b", "1", 10.5)
    assert backoff.failed(P, "b", "1", 12.0, died=True).seconds == 2 * FIRST_AFTER_DEATH


@pytest.mark.parametrize(
    ("since", "until", "proves"),
    [
        pytest.param(11.0, 11.0 + FIRST, True, id="for as long as the pause"),
        pytest.param(11.0, 10.9 + FIRST, False, id="not as long"),
        pytest.param(9.0, EVER, False, id="it had taken that before"),
    ],
)
def test_what_it_owned_for_as_long_is_its_proof(since: float, until: float, proves: bool) -> None:
    backoff = HandoverBackoff()
    backoff.failed(P, "b", "1", 10.0)
    backoff.owned(P, "b", since, until)
    assert backoff.may_be_offered(P, "b", "1", 10.1) == proves
    assert backoff.failed(P, "b", "1", 10.1 + FIRST).seconds == (FIRST if proves else 2 * FIRST)


def test_the_one_partition_that_a_host_cannot_take_is_not_proved_by_others() -> None:
    """It takes everything else, again and again: that one is offered to it ever more seldom all the same."""
    backoff, now, offers = HandoverBackoff(), 0.0, []
    while now < 3600.0:
        if backoff.may_be_offered(Q, "b", "1", now):
            backoff.owned(Q, "b", now, now + 2 * FIRST)
        if backoff.may_be_offered(P, "b", "1", now):
            offers.append(now)
            assert backoff.failed(P, "b", "1", now).seconds >= FIRST
            assert backoff.may_be_offered(Q, "b", "1", now + FIRST), "the host's own pause never grows"
        now += 1.0
    assert len(offers) <= 6 + 3600 / LONGEST


@dataclass
class Offered:
    """What one sick host was offered: when, and how long the pause after it was to be."""

    at: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)


STEPS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([P, Q]), st.sampled_from(["fails", "fails", "dies", "takes it"])),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=1000)
def test_a_sick_host_is_offered_a_partition_at_most_once_in_each_pause(
    steps: list[tuple[int, Partition, str]],
) -> None:
    """However it fails, and whatever it takes between: what was offered in vain waits for its pause; and each pause
    is twice the one before, unless it had the partition for that long, or there was no trouble for a while."""
    backoff, now = HandoverBackoff(), 0
    offered = {P: Offered(), Q: Offered()}
    for seconds, partition, what in steps:
        now += seconds
        if not backoff.may_be_offered(partition, "b", "1", now):
            continue
        if what == "takes it":
            taken, now = now, now + seconds
            backoff.owned(partition, "b", taken, now)
            if offered[partition].pauses and seconds >= offered[partition].pauses[-1]:
                offered[partition].pauses.clear()
            continue
        pause = backoff.failed(partition, "b", "1", now, died=what == "dies")
        of = offered[partition]
        if of.pauses:
            assert now >= of.at[-1] + of.pauses[-1]
            if now < of.at[-1] + of.pauses[-1] + FORGOTTEN_AFTER:
                assert pause.seconds == min(2 * of.pauses[-1], LONGEST)
        of.at.append(now)
        of.pauses.append(pause.seconds)
