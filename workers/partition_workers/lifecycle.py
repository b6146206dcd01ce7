"""The life of a worker, as a table.

A worker is made for one partition and belongs to it for life. It warms up, waits as a standby, may become the
owner, and ends. There is no way back from owner to standby: a worker that gave its lock away, or lost it, ends, and
its supervisor makes a fresh one. That costs 17 ms, and no line of code has to wonder what an earlier ownership left
behind.

`CONFIRMING` is the doubtful time between being told that the lock is ours, or trying to take it, and etcd's own
word. `LOADING` is an owner that reads a state too large for one answer: the lock is its own, and no record is handled
yet. `SUSPENDED` is the one that everybody forgets: still the owner for all we know, but late with the lease; no
record is started until etcd has said that the lock is ours. `LEAVING` finishes what is in hand.

A state without a row is final. An event that is not in a state's row is a bug, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from partition_workers.errors import Bug


class LifecycleState(StrEnum):
    STARTING = "starting"
    STANDBY = "standby"
    CONFIRMING = "confirming"
    LOADING = "loading"
    OWNER = "owner"
    SUSPENDED = "suspended"
    LEAVING = "leaving"
    STOPPED = "stopped"
    PARKED = "parked"
    LOST = "lost"


class LifecycleEvent(StrEnum):
    WARMED_UP = "warmed up"
    LOCK_OFFERED = "lock offered"
    LOCK_MISSED = "lock missed"
    STATE_IS_LARGE = "state is large"
    LOCK_CONFIRMED = "lock confirmed"
    LEASE_LATE = "lease late"
    LOCK_CHECKED = "lock checked"
    TOLD_TO_LEAVE = "told to leave"
    LEFT = "left"
    GAVE_UP = "gave up"
    LOCK_LOST = "lock lost"


TRANSITIONS: dict[LifecycleState, dict[LifecycleEvent, LifecycleState]] = {
    LifecycleState.STARTING: {
        LifecycleEvent.WARMED_UP: LifecycleState.STANDBY,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.STANDBY: {
        LifecycleEvent.LOCK_OFFERED: LifecycleState.CONFIRMING,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.CONFIRMING: {
        LifecycleEvent.LOCK_MISSED: LifecycleState.STANDBY,
        LifecycleEvent.STATE_IS_LARGE: LifecycleState.LOADING,
        LifecycleEvent.LOCK_CONFIRMED: LifecycleState.OWNER,
        LifecycleEvent.GAVE_UP: LifecycleState.PARKED,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.LOADING: {
        LifecycleEvent.LOCK_CONFIRMED: LifecycleState.OWNER,
        LifecycleEvent.GAVE_UP: LifecycleState.PARKED,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.OWNER: {
        LifecycleEvent.LEASE_LATE: LifecycleState.SUSPENDED,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.GAVE_UP: LifecycleState.PARKED,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.SUSPENDED: {
        LifecycleEvent.LOCK_CHECKED: LifecycleState.OWNER,
        LifecycleEvent.TOLD_TO_LEAVE: LifecycleState.LEAVING,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
    LifecycleState.LEAVING: {
        LifecycleEvent.LEFT: LifecycleState.STOPPED,
        LifecycleEvent.GAVE_UP: LifecycleState.PARKED,
        LifecycleEvent.LOCK_LOST: LifecycleState.LOST,
    },
}


def advance(state: LifecycleState, event: LifecycleEvent) -> LifecycleState:
    """The state after `event`. Raises Bug for an event that cannot happen in `state`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise Bug(f"a worker that is {state} cannot be told: {event}") from None


class Lifecycle:
    """Where a worker is in its life; `show` is told of each step (for the process title and the log)."""

    def __init__(self, show: Callable[[LifecycleState, int], None] = lambda _state, _token: None) -> None:
        self.state = LifecycleState.STARTING
        self._token = 0
        self._show = show

    def advance(self, event: LifecycleEvent, token: int | None = None) -> None:
        self.state = advance(self.state, event)
        self._token = self._token if token is None else token
        self._show(self.state, self._token)
