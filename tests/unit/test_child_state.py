"""What a supervisor knows of a worker, as a table; and what may cross on the way between the two."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.processes.child_state import (
    GOING,
    HANDLING,
    LATE,
    OWNING,
    READY,
    TRANSITIONS,
    ChildEvent,
    ChildState,
    advance,
)
from partition_workers.errors import Bug

#: What a worker may report next, by what it reported last: its pipe keeps the order.
REPORTS: dict[ChildEvent | None, tuple[ChildEvent, ...]] = {
    None: (ChildEvent.BECAME_READY,),
    ChildEvent.BECAME_READY: (ChildEvent.MISSED_LOCK, ChildEvent.TOOK_LOCK, ChildEvent.LOADS_STATE),
    ChildEvent.MISSED_LOCK: (ChildEvent.MISSED_LOCK, ChildEvent.TOOK_LOCK, ChildEvent.LOADS_STATE),
    ChildEvent.LOADS_STATE: (ChildEvent.TOOK_LOCK,),
    ChildEvent.TOOK_LOCK: (ChildEvent.SUSPENDED,),
    ChildEvent.SUSPENDED: (ChildEvent.RESUMED,),
    ChildEvent.RESUMED: (ChildEvent.SUSPENDED,),
}
ORDERS = (ChildEvent.NAMED, ChildEvent.TOLD_TO_LEAVE)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ChildState, ChildEvent)))
def test_every_event_leads_where_the_table_says_or_is_a_bug(state: ChildState, event: ChildEvent) -> None:
    """An event that is not in a state's row names both in its complaint."""
    if event in TRANSITIONS[state]:
        assert advance(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(Bug, match=f"{state}.*{event}"):
            advance(state, event)


def test_every_state_has_a_row_and_is_reachable_and_every_event_is_used() -> None:
    """From the start, by events of the table."""
    reached = {ChildState.STARTING}
    while more := {after for state in reached for after in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(ChildState) == set(TRANSITIONS)
    assert {event for row in TRANSITIONS.values() for event in row} == set(ChildEvent)


@given(st.lists(st.one_of(st.sampled_from(ORDERS), st.integers(0, 2)), max_size=12))
def test_however_orders_and_reports_cross_the_table_knows_what_it_means(history: list[ChildEvent | int]) -> None:
    """Orders at any time, between reports in the order of a worker's life: none of it is a bug."""
    state, last, told, took = ChildState.STARTING, None, False, False
    for each in history:
        event = each if isinstance(each, ChildEvent) else REPORTS[last][each % len(REPORTS[last])]
        if event not in ORDERS:
            last = event
        state = advance(state, event)
        told |= event is ChildEvent.TOLD_TO_LEAVE
        took |= event in (ChildEvent.TOOK_LOCK, ChildEvent.LOADS_STATE)
        assert (state in GOING) == told
        assert (state in OWNING) == took
        assert (state in LATE) == (last is ChildEvent.SUSPENDED)
        assert (state in HANDLING) == (last in (ChildEvent.TOOK_LOCK, ChildEvent.RESUMED))
        assert state not in READY or not (told or took)


@pytest.mark.parametrize("state", ChildState)
def test_every_worker_can_be_told_to_leave_and_named_at_any_time(state: ChildState) -> None:
    """A person's signal, a move, another host's word do not wait for the right moment; nobody comes back from it."""
    assert advance(state, ChildEvent.NAMED) in {state, ChildState.NAMED}
    leaving = advance(state, ChildEvent.TOLD_TO_LEAVE)
    assert leaving in GOING
    assert set(TRANSITIONS[leaving].values()) <= GOING
    assert (leaving in OWNING) == (state in OWNING), "who owns is told apart until the end"
