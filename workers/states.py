"""The life of a worker, as a table.

A worker is made for one partition and belongs to it for life. It warms up, waits as a standby, may become the
owner, and ends. There is no way back from owner to standby: a worker that gave its lock away, or lost it, ends, and
its supervisor makes a fresh one. That costs 17 ms, and no line of code has to wonder what an earlier ownership left
behind.

`CONFIRMING` is the doubtful time between being told that the lock is ours, or trying to take it, and etcd's own
word. `SUSPENDED` is the one that everybody forgets: still the owner for all we know, but late with the lease; no
record is started until etcd has said that the lock is ours. `LEAVING` finishes what is in hand.

A state without a row is final. An event that is not in a state's row is a bug, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from workers.errors import Bug


class State(StrEnum):
    STARTING = "starting"
    STANDBY = "standby"
    CONFIRMING = "confirming"
    OWNER = "owner"
    SUSPENDED = "suspended"
    LEAVING = "leaving"
    STOPPED = "stopped"
    PARKED = "parked"
    LOST = "lost"


class Event(StrEnum):
    WARMED_UP = "warmed up"
    LOCK_OFFERED = "lock offered"
    LOCK_MISSED = "lock missed"
    LOCK_CONFIRMED = "lock confirmed"
    LEASE_LATE = "lease late"
    LOCK_CHECKED = "lock checked"
    TOLD_TO_LEAVE = "told to leave"
    LEFT = "left"
    GAVE_UP = "gave up"
    LOCK_LOST = "lock lost"


LIFE: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.WARMED_UP: State.STANDBY,
        Event.TOLD_TO_LEAVE: State.LEAVING,
        Event.LOCK_LOST: State.LOST,
    },
    State.STANDBY: {
        Event.LOCK_OFFERED: State.CONFIRMING,
        Event.TOLD_TO_LEAVE: State.LEAVING,
        Event.LOCK_LOST: State.LOST,
    },
    State.CONFIRMING: {
        Event.LOCK_MISSED: State.STANDBY,
        Event.LOCK_CONFIRMED: State.OWNER,
        Event.GAVE_UP: State.PARKED,
        Event.TOLD_TO_LEAVE: State.LEAVING,
        Event.LOCK_LOST: State.LOST,
    },
    State.OWNER: {
        Event.LEASE_LATE: State.SUSPENDED,
        Event.TOLD_TO_LEAVE: State.LEAVING,
        Event.GAVE_UP: State.PARKED,
        Event.LOCK_LOST: State.LOST,
    },
    State.SUSPENDED: {
        Event.LOCK_CHECKED: State.OWNER,
        Event.TOLD_TO_LEAVE: State.LEAVING,
        Event.LOCK_LOST: State.LOST,
    },
    State.LEAVING: {
        Event.LEFT: State.STOPPED,
        Event.GAVE_UP: State.PARKED,
        Event.LOCK_LOST: State.LOST,
    },
}


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises Bug for an event that cannot happen in `state`."""
    try:
        return LIFE[state][event]
    except KeyError:
        raise Bug(f"a worker that is {state} cannot be told: {event}") from None


class Life:
    """Where a worker is in its life; `show` is told of each step (for the process title and the log)."""

    def __init__(self, show: Callable[[State, int], None] = lambda _state, _token: None) -> None:
        self.state = State.STARTING
        self._token = 0
        self._show = show

    def advance(self, event: Event, token: int | None = None) -> None:
        self.state = advance(self.state, event)
        self._token = self._token if token is None else token
        self._show(self.state, self._token)
