"""The life of a worker, as a table."""

from __future__ import annotations

import itertools

import pytest

from partition_workers.errors import Bug
from partition_workers.lifecycle import TRANSITIONS, Lifecycle, LifecycleEvent, LifecycleState, advance

FINAL = {LifecycleState.STOPPED, LifecycleState.PARKED, LifecycleState.LOST}


def test_final_states_have_no_row_and_all_others_have_one() -> None:
    """Nothing can be told to a worker that has ended, and every other one can go on."""
    assert set(LifecycleState) - TRANSITIONS.keys() == FINAL
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LifecycleState, LifecycleEvent)))
def test_every_event_leads_where_the_table_says_or_is_a_bug(state: LifecycleState, event: LifecycleEvent) -> None:
    """An event that is not in a state's row names both in its complaint."""
    row = TRANSITIONS.get(state, {})
    if event in row:
        assert advance(state, event) is row[event]
    else:
        with pytest.raises(Bug, match=f"{state}.*{event}"):
            advance(state, event)


def test_every_state_is_reachable() -> None:
    """From the start, by events of the table."""
    reached = {LifecycleState.STARTING}
    while more := {after for state in reached for after in TRANSITIONS.get(state, {}).values()} - reached:
        reached |= more
    assert reached == set(LifecycleState)


def test_every_event_is_used() -> None:
    """An event that is in no row could never be told."""
    assert {event for row in TRANSITIONS.values() for event in row} == set(LifecycleEvent)


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
def test_every_life_can_end(state: LifecycleState) -> None:
    """From each state a final one can be reached."""
    reached = {state}
    while more := {after for each in reached for after in TRANSITIONS.get(each, {}).values()} - reached:
        reached |= more
    assert reached & FINAL


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
def test_the_lease_can_be_lost_at_any_time(state: LifecycleState) -> None:
    """Also while a worker starts: Kafka may take longer than the lease lasts."""
    assert advance(state, LifecycleEvent.LOCK_LOST) is LifecycleState.LOST


def test_there_is_no_way_back_from_owner_to_standby() -> None:
    """A worker that gave its lock away, or lost it, ends."""
    reached = {LifecycleState.OWNER}
    while more := {after for state in reached for after in TRANSITIONS.get(state, {}).values()} - reached:
        reached |= more
    assert not reached & {LifecycleState.STARTING, LifecycleState.STANDBY, LifecycleState.CONFIRMING}


class TestLife:
    def test_each_step_is_shown_with_the_token(self) -> None:
        """The token stays until another is told."""
        shown: list[tuple[LifecycleState, int]] = []
        life = Lifecycle(lambda state, token: shown.append((state, token)))
        life.advance(LifecycleEvent.WARMED_UP)
        life.advance(LifecycleEvent.LOCK_OFFERED)
        life.advance(LifecycleEvent.LOCK_CONFIRMED, 17)
        life.advance(LifecycleEvent.LEASE_LATE)
        assert shown == [
            (LifecycleState.STANDBY, 0),
            (LifecycleState.CONFIRMING, 0),
            (LifecycleState.OWNER, 17),
            (LifecycleState.SUSPENDED, 17),
        ]

    def test_a_wrong_event_changes_nothing(self) -> None:
        """The state is what it was, and nothing is shown."""
        shown: list[LifecycleState] = []
        life = Lifecycle(lambda state, _token: shown.append(state))
        with pytest.raises(Bug):
            life.advance(LifecycleEvent.LOCK_CONFIRMED, 17)
        assert (life.state, shown) == (LifecycleState.STARTING, [])
