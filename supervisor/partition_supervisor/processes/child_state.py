"""What a supervisor knows of one of its workers, as a table.

::

                 became ready          named               took lock           suspended
      STARTING ───────────────> STANDBY ──────> NAMED ───────────────> OWNER ────────────> SUSPENDED
         │                       │  ^             │ │                   │ ^                   │ │
         │                       │  └─ missed ────┘ │                   │ └───── resumed ─────┘ │
         │                       │     lock         │                   │                       │
         │ told to leave         │ told to leave    │                   │ told to leave         │ told to leave
         v                       v                  │                   v           suspended   v
      LEAVING <─────────────── LEAVING <────────────┘             HANDING_OVER <───────> HANDING_OVER_LATE
         │                                   took lock                  ^           resumed
         └──────────────────────────────────────────────────────────────┘

A standby that competes for a free lock goes from STANDBY to OWNER directly. One that has the lock and reads a large
state first says so: it is LOADING on the way to OWNER, and LOADING_TO_LEAVE, whichever of the two came first, on the
way to HANDING_OVER, where it gets only if it was told after its last page. How a worker ends is no state: its exit
may come in each of them, and the state that it ended in says what its end means.

Two things happen at once here. A worker's reports come through its pipe, in the order of its life
(`partition_workers/lifecycle.py`). The supervisor's own orders (NAMED, TOLD_TO_LEAVE) cross them on the way. So a
report may speak of what was before an order, and then changes nothing: a worker that was told to leave may say that
it has become ready, that it missed a lock, or that it took one, which it then hands over. And it may be named in the
lock, which another host has seen to be possible in etcd, before its report that it is ready is read here. An event
that is not in a state's row cannot happen however orders and reports cross; it is a bug, and says so.
"""

from __future__ import annotations

from enum import StrEnum

from partition_workers.errors import Bug


class ChildState(StrEnum):
    STARTING = "starting"
    STANDBY = "standby"
    NAMED = "named"
    LOADING = "loading its state"
    OWNER = "owner"
    SUSPENDED = "suspended"
    LEAVING = "leaving"
    LOADING_TO_LEAVE = "loading its state, and told to leave"
    HANDING_OVER = "handing over"
    HANDING_OVER_LATE = "handing over, late with its lease"


class ChildEvent(StrEnum):
    BECAME_READY = "became ready"
    NAMED = "named in the lock"
    MISSED_LOCK = "missed the lock"
    LOADS_STATE = "loads its state"
    TOOK_LOCK = "took the lock"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    TOLD_TO_LEAVE = "told to leave"


_S, _E = ChildState, ChildEvent

TRANSITIONS: dict[ChildState, dict[ChildEvent, ChildState]] = {
    _S.STARTING: {
        _E.BECAME_READY: _S.STANDBY,
        _E.NAMED: _S.NAMED,
        _E.TOLD_TO_LEAVE: _S.LEAVING,
    },
    _S.STANDBY: {
        _E.NAMED: _S.NAMED,
        _E.MISSED_LOCK: _S.STANDBY,
        _E.LOADS_STATE: _S.LOADING,
        _E.TOOK_LOCK: _S.OWNER,
        _E.TOLD_TO_LEAVE: _S.LEAVING,
    },
    _S.NAMED: {
        _E.BECAME_READY: _S.NAMED,
        _E.NAMED: _S.NAMED,
        _E.MISSED_LOCK: _S.STANDBY,
        _E.LOADS_STATE: _S.LOADING,
        _E.TOOK_LOCK: _S.OWNER,
        _E.TOLD_TO_LEAVE: _S.LEAVING,
    },
    _S.LOADING: {
        _E.NAMED: _S.LOADING,
        _E.TOOK_LOCK: _S.OWNER,
        _E.TOLD_TO_LEAVE: _S.LOADING_TO_LEAVE,
    },
    _S.OWNER: {
        _E.NAMED: _S.OWNER,
        _E.SUSPENDED: _S.SUSPENDED,
        _E.TOLD_TO_LEAVE: _S.HANDING_OVER,
    },
    _S.SUSPENDED: {
        _E.NAMED: _S.SUSPENDED,
        _E.RESUMED: _S.OWNER,
        _E.TOLD_TO_LEAVE: _S.HANDING_OVER_LATE,
    },
    _S.LEAVING: {
        _E.BECAME_READY: _S.LEAVING,
        _E.NAMED: _S.LEAVING,
        _E.MISSED_LOCK: _S.LEAVING,
        _E.LOADS_STATE: _S.LOADING_TO_LEAVE,
        _E.TOOK_LOCK: _S.HANDING_OVER,
        _E.TOLD_TO_LEAVE: _S.LEAVING,
    },
    _S.LOADING_TO_LEAVE: {
        _E.NAMED: _S.LOADING_TO_LEAVE,
        _E.TOOK_LOCK: _S.HANDING_OVER,
        _E.TOLD_TO_LEAVE: _S.LOADING_TO_LEAVE,
    },
    _S.HANDING_OVER: {
        _E.NAMED: _S.HANDING_OVER,
        _E.SUSPENDED: _S.HANDING_OVER_LATE,
        _E.TOLD_TO_LEAVE: _S.HANDING_OVER,
    },
    _S.HANDING_OVER_LATE: {
        _E.NAMED: _S.HANDING_OVER_LATE,
        _E.RESUMED: _S.HANDING_OVER,
        _E.TOLD_TO_LEAVE: _S.HANDING_OVER_LATE,
    },
}

#: Could become the owner now.
READY = frozenset({_S.STANDBY, _S.NAMED})
#: Has the lock, as far as it has said.
OWNING = frozenset({_S.LOADING, _S.OWNER, _S.SUSPENDED, _S.LOADING_TO_LEAVE, _S.HANDING_OVER, _S.HANDING_OVER_LATE})
#: Has said that it starts no record, because it is late with its lease.
LATE = frozenset({_S.SUSPENDED, _S.HANDING_OVER_LATE})
#: Handles records, as far as it has said. An owner that is late has none begun; one that loads has not come to any.
HANDLING = frozenset({_S.OWNER, _S.HANDING_OVER})
#: Was told to leave.
GOING = frozenset({_S.LEAVING, _S.LOADING_TO_LEAVE, _S.HANDING_OVER, _S.HANDING_OVER_LATE})


def advance(state: ChildState, event: ChildEvent) -> ChildState:
    """The state after `event`. Raises Bug for an event that cannot happen in `state`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise Bug(f"a worker that is {state} cannot have this happen to it: {event}") from None
