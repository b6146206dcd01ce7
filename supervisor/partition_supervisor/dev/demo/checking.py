"""The handler of the demo: it expects the numbers 0, 1, 2, ... and keeps account of everything else.

The account is in the state, so it is as durable as the state: at the end it can be compared with what was produced.
"""

from __future__ import annotations

from typing import Any


def check(record: Any, state: Any) -> None:
    number = int(record.value().split(b" ", 1)[0])
    expected = state.get("next", 0)
    if number > expected:
        state["lost"] = state.get("lost", 0) + number - expected
    elif number < expected:
        state["doubled"] = state.get("doubled", 0) + 1
    state["next"] = number + 1
    state["count"] = state.get("count", 0) + 1
    state["sum"] = (state.get("sum", 0) * 31 + number) % 2_147_483_647  # depends on the order of all before it


def expected_sum(count: int) -> int:
    """What `sum` must be after the numbers 0 to count - 1, each once and in order."""
    total = 0
    for number in range(count):
        total = (total * 31 + number) % 2_147_483_647
    return total
