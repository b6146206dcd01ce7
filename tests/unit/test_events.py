"""The one place where a supervisor waits: what it gets, and in which order."""

from __future__ import annotations

from partition_supervisor.events import ClusterChanged, Event, SignalArrived
from partition_supervisor.inbox import Inbox
from partition_workers.etcd.store import Change, KeyValue


def changed(revision: int) -> ClusterChanged:
    return ClusterChanged((Change(KeyValue("/key", b"", 1, 1, revision), deleted=False),))


def test_changes_in_a_row_are_one_event_and_nothing_overtakes() -> None:
    inbox = Inbox()
    events: list[Event] = [
        changed(1),
        changed(2),
        SignalArrived(1),
        changed(3),
        SignalArrived(2),
        SignalArrived(3),
        changed(4),
    ]
    for event in events:
        inbox.post(event)

    happened = inbox.wait(0.0)

    together = ClusterChanged(changed(1).changes + changed(2).changes)
    assert happened == [together, *events[2:]]
    inbox.close()
