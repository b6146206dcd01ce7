"""Sample handlers, to try things out and to copy."""

from __future__ import annotations

from partition_workers import Record, State


def last_value(record: Record, state: State) -> None:
    """The value of each record, under the state key `state`."""
    state["state"] = (record.value() or b"").decode(errors="replace")


def count(_record: Record, state: State) -> None:
    """How many records there were."""
    state["count"] = state.get("count", 0) + 1


def word_count(record: Record, state: State) -> None:
    """How often each word occurred; a state key for each word."""
    for word in (record.value() or b"").decode(errors="replace").split():
        state[word] = state.get(word, 0) + 1
