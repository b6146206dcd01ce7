"""What follows from what the two witnesses say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.cluster.peer_evidence import (
    LATE,
    SLOW_ANSWER,
    LeaseAge,
    SecondWitness,
    Verdict,
    contradicted_by,
    judge,
    may_be_contradicted,
    suspects_itself,
)
from partition_supervisor.suspicion import FirstWitness
from partition_workers.etcd.store import LeaseTime

LIVES, UNKNOWN, DEAD = Verdict
#: The renewals of an owner whose lease is of 5 s.
EVERY = 1.0
FRESH, OLD, ENDED = SecondWitness(0.0, 1.0), SecondWitness(1.6, 2.0), SecondWitness(math.inf, math.inf)


def refused(seconds: float, others: int = 1, answering: int = 0) -> FirstWitness:
    return FirstWitness(True, seconds, others, answering)


def silent(seconds: float, others: int = 1, answering: int = 0) -> FirstWitness:
    return FirstWitness(False, seconds, others, answering)


@pytest.mark.parametrize(
    ("first", "second", "believed", "expected"),
    [
        # Its kernel refuses at once: within the first second etcd cannot say more.
        (refused(0.001), None, True, DEAD),
        (refused(0.9), FRESH, True, DEAD),
        # A refusal long after the connection ended: etcd is asked.
        (refused(1.5), None, True, UNKNOWN),
        (refused(1.5), FRESH, True, LIVES),
        (refused(1.5), OLD, True, DEAD),
        (refused(3.0), OLD, True, LIVES),
        (refused(3.0), ENDED, True, DEAD),
        # It has refused before, and was alive: the same as silence.
        (refused(0.001), None, False, UNKNOWN),
        (refused(1.5), FRESH, False, LIVES),
        (refused(1.5), SecondWitness(1.0, 2.0), False, UNKNOWN),
        (refused(1.7), OLD, False, DEAD),
        # Silent: both have to say so.
        (silent(1.2), None, True, UNKNOWN),
        (silent(1.2), FRESH, True, UNKNOWN),  # it may have been renewed after the last heartbeat
        (silent(2.5), FRESH, True, LIVES),
        (silent(5.4), SecondWitness(5.0, 5.3), True, DEAD),  # renewed after the last heartbeat, and then no more
        (silent(1.2), SecondWitness(1.5, 2.0), True, UNKNOWN),
        (silent(1.2), OLD, True, DEAD),
        (silent(1.2), ENDED, True, DEAD),
        (silent(0.9), OLD, True, UNKNOWN),
        (silent(60.0), FRESH, True, LIVES),
        # It may be we who are cut off: most of at least two others.
        (refused(0.001, others=2, answering=1), None, True, DEAD),
        (refused(0.001, others=2, answering=0), None, True, UNKNOWN),
        (refused(0.001, others=3, answering=2), None, True, DEAD),
        (refused(0.001, others=3, answering=1), None, True, UNKNOWN),
        (refused(0.001, others=4, answering=2), None, True, DEAD),
        (silent(1.2, others=2, answering=0), OLD, True, UNKNOWN),
        (silent(1.2, others=2, answering=1), OLD, True, DEAD),
        (silent(2.5, others=2, answering=0), FRESH, True, LIVES),
    ],
)
def test_what_the_witnesses_say(
    first: FirstWitness, second: SecondWitness | None, believed: bool, expected: Verdict
) -> None:
    assert judge(first, second, EVERY, believed) is expected


@given(
    st.booleans(), st.floats(0, 100), st.integers(1, 20), st.integers(0, 20), st.floats(0, 100), st.floats(0, 1),
    st.floats(0.4, 20), st.booleans(),
)  # fmt: skip
def test_who_was_renewed_since_is_never_dead(
    refuses: bool,
    seconds: float,
    others: int,
    answering: int,
    least: float,
    more: float,
    every: float,
    believed: bool,
) -> None:
    """Nor is anybody when it may be we who are cut off, nor one of whom neither witness speaks."""
    first = FirstWitness(refuses, seconds, others, min(answering, others))
    second = SecondWitness(least, least + more)
    verdict = judge(first, second, every, believed)
    if second.most < contradicted_by(first) or suspects_itself(first.others, first.answering):
        assert verdict is not Verdict.DEAD
    if not refuses:
        assert verdict is not Verdict.DEAD or least > LATE * every
        assert judge(first, None, every, believed) is Verdict.UNKNOWN
    if not may_be_contradicted(first):
        assert seconds <= 1.0


@given(
    ttl=st.sampled_from([2, 5, 60]),
    renewals=st.lists(st.floats(0.05, 3.0), max_size=10),
    questions=st.lists(st.tuples(st.floats(0.0, 1.5), st.floats(0.0, 0.2), st.floats(0.0, 0.2)), max_size=40),
)
def test_the_age_of_a_lease_lies_within_its_bounds(
    ttl: int, renewals: list[float], questions: list[tuple[float, float, float]]
) -> None:
    """However often it is renewed and asked for, and however long the question and the answer take."""
    renewed = [sum(renewals[:number]) for number in range(len(renewals) + 1)]
    now, age = 0.0, LeaseAge()
    for pause, there, back in questions:
        asked = now + pause
        seen = asked + there
        now = seen + back
        last = max(each for each in renewed if each <= seen)
        left = ttl - (seen - last)
        if left <= 0:
            assert age.hear(asked, now, LeaseTime(0, 0)) == ENDED
            return
        heard = age.hear(asked, now, LeaseTime(ttl, int(left)))
        if now - asked > SLOW_ANSWER:
            assert heard is None
            continue
        assert heard is not None
        assert heard.least <= seen - last + back + 1e-9
        assert heard.most >= seen - last - 1e-9


def test_an_owner_without_power_is_late_in_time() -> None:
    """Asked eight times a second, its lease is known to be older than a renewal and a half within a tick of it."""
    age = LeaseAge()
    for tick in range(100):
        now = 0.07 + tick * 0.125
        heard = age.hear(now, now + 0.002, LeaseTime(5, int(5 - now)))
        assert heard is not None
        if heard.least > LATE * EVERY:
            assert LATE <= now <= LATE + 0.26
            return
    raise AssertionError("it was never late")


def test_after_an_election_more_is_left_than_was_granted() -> None:
    """etcd then gives every lease its whole time again, and more."""
    age = LeaseAge()
    age.hear(0.0, 0.0, LeaseTime(5, 1))
    assert age.hear(0.1, 0.1, LeaseTime(5, 6)) == SecondWitness(0.0, 0.0)
