"""Sample handlers, to try things out and to copy."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message


def last_value(record: Message, state: Any) -> None:
    """The value of each record, under the state key `state`."""
    state["state"] = (record.value() or b"").decode(errors="replace")


def count(_record: Message, state: Any) -> None:
    """How many records there were."""
    state["count"] = state.get("count", 0) + 1


def word_count(record: Message, state: Any) -> None:
    """How often each word occurred; a state key for each word."""
    for word in (record.value() or b"").decode(errors="replace").split():
        state[word] = state.get(word, 0) + 1
