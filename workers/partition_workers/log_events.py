"""The names of what the log tells, for machines: they stay when the words change. docs/runbook.md says what to do."""

from __future__ import annotations

from typing import Literal

EventName = Literal[
    "cannot-commit",
    "code-refused",
    "commit-too-large",
    "drained-host-keeps",
    "etcd-listing-failed",
    "etcd-old",
    "etcd-watch-failed",
    "etcd-went-back",
    "foreign-key",
    "handler-failed",
    "handler-waits",
    "host-cut-off",
    "host-dead",
    "host-document-not-written",
    "host-lease-lost",
    "host-unable",
    "host-was-alive",
    "host-well",
    "hosts-differ",
    "hosts-vanished",
    "http-port-failed",
    "kafka-answers",
    "kafka-client-hung",
    "kafka-silent",
    "lock-lost",
    "lock-not-taken",
    "lock-passed-on",
    "log-lines-dropped",
    "offsets-not-copied",
    "owner-began",
    "owner-ended",
    "owner-suspended",
    "partition-handed-to-reader",
    "partition-parked",
    "partitions-gone",
    "partitions-uncovered",
    "peers-cannot-connect",
    "record-dead-lettered",
    "record-skipped",
    "standby-lease-lost",
    "state-large",
    "state-read-slowly",
    "stop-too-slow",
    "stopping",
    "supervisor-failed",
    "too-few-descriptors",
    "worker-cannot-start",
    "worker-crashes-often",
    "worker-ended",
    "worker-held-up",
    "worker-late",
    "worker-not-ready",
    "worker-stuck",
]


def event(name: EventName) -> dict[str, str]:
    """For `extra=` of a line of the log."""
    return {"event": name}
