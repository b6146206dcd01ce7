"""Changes of a group's keys as the JSON of `/api/v1/events`. Pure; what is not ours is None."""

from __future__ import annotations

import dataclasses
from typing import Any

from partition_workers.etcd.store import Change, KeyRange
from partition_workers.layout.document import Document
from partition_workers.layout.documents import History, Host, Lock, Move, Parked
from partition_workers.layout.keys import Keys
from partition_workers.model import JSON


def watched(keys: Keys) -> KeyRange:
    """Control keys, history, hosts and locks: neighbours in key order, so one watch shows them in revision order.

    Offsets and states come after them, so commits make no traffic here.
    """
    return KeyRange(keys.control, keys.offsets)


def as_json(keys: Keys, change: Change) -> dict[str, JSON] | None:
    """`kind` with what it concerns (topic and partition, or host), and `value`, null when it was deleted."""
    key = change.item.key
    for prefix, kind, document in _kinds(keys):
        if key.startswith(prefix):
            try:
                return {
                    "kind": kind,
                    "revision": change.item.mod_revision,
                    **_concerned(keys, key, prefix, kind),
                    "value": None if change.deleted else _value(document, change.item.value),
                }
            except (ValueError, IndexError):
                return None
    return None


def _kinds(keys: Keys) -> tuple[tuple[str, str, type[Document] | None], ...]:
    return (
        (keys.locks, "lock", Lock),
        (keys.every_history, "history", History),
        (keys.hosts, "host", Host),
        (keys.parked_ones, "parked", Parked),
        (keys.moves, "move", Move),
        (keys.drains, "drain", None),
    )


def _concerned(keys: Keys, key: str, prefix: str, kind: str) -> dict[str, JSON]:
    if kind in ("host", "drain"):
        return {"host": key.removeprefix(prefix)}
    partition = keys.partition_of(key)
    return {"topic": partition.topic, "partition": partition.number}


def _value(document: type[Document] | None, value: bytes) -> JSON:
    if document is None:
        return True
    fields: dict[str, Any] = dataclasses.asdict(document.decode(value))
    fields.pop("secret", None)  # what hosts tell each other is nobody else's business
    return fields
