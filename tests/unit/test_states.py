"""The life of a worker, as a table."""

from __future__ import annotations

import itertools

import pytest

from workers.errors import Bug
from workers.states import LIFE, Event, Life, State, advance

FINAL = {State.STOPPED, State.PARKED, State.LOST}


def test_final_states_have_no_row_and_all_others_have_one() -> None:
    """Nothing can be told to a worker that has ended, and every other one can go on."""
    assert set(State) - LIFE.keys() == FINAL
    assert all(LIFE.values())


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_leads_where_the_table_says_or_is_a_bug(state: State, event: Event) -> None:
    """An event that is not in a state's row names both in its complaint."""
    row = LIFE.get(state, {})
    if event in row:
        assert advance(state, event) is row[event]
    else:
        with pytest.raises(Bug, match=f"{state}.*{event}"):
            advance(state, event)


def test_every_state_is_reachable() -> None:
    """From the start, by events of the table."""
    reached = {State.STARTING}
    while more := {after for state in reached for after in LIFE.get(state, {}).values()} - reached:
        reached |= more
    assert reached == set(State)


def test_every_event_is_used() -> None:
    """An event that is in no row could never be told."""
    assert {event for row in LIFE.values() for event in row} == set(Event)


@pytest.mark.parametrize("state", sorted(LIFE))
def test_every_life_can_end(state: State) -> None:
    """From each state a final one can be reached."""
    reached = {state}
    while more := {after for each in reached for after in LIFE.get(each, {}).values()} - reached:
        reached |= more
    assert reached & FINAL


@pytest.mark.parametrize("state", sorted(LIFE))
def test_the_lease_can_be_lost_at_any_time(state: State) -> None:
    """Also while a worker starts: Kafka may take longer than the lease lasts."""
    assert advance(state, Event.LOCK_LOST) is State.LOST


def test_there_is_no_way_back_from_owner_to_standby() -> None:
    """A worker that gave its lock away, or lost it, ends."""
    reached = {State.OWNER}
    while more := {after for state in reached for after in LIFE.get(state, {}).values()} - reached:
        reached |= more
    assert not reached & {State.STARTING, State.STANDBY, State.CONFIRMING}


class TestLife:
    def test_each_step_is_shown_with_the_token(self) -> None:
        """The token stays until another is told."""
        shown: list[tuple[State, int]] = []
        life = Life(lambda state, token: shown.append((state, token)))
        life.advance(Event.WARMED_UP)
        life.advance(Event.LOCK_OFFERED)
        life.advance(Event.LOCK_CONFIRMED, 17)
        life.advance(Event.LEASE_LATE)
        assert shown == [(State.STANDBY, 0), (State.CONFIRMING, 0), (State.OWNER, 17), (State.SUSPENDED, 17)]

    def test_a_wrong_event_changes_nothing(self) -> None:
        """The state is what it was, and nothing is shown."""
        shown: list[State] = []
        life = Life(lambda state, _token: shown.append(state))
        with pytest.raises(Bug):
            life.advance(Event.LOCK_CONFIRMED, 17)
        assert (life.state, shown) == (State.STARTING, [])
