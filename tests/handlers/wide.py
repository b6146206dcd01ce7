"""A handler that checks like the demo's, and counts under many keys with each record."""

from __future__ import annotations

from typing import Any

from partition_supervisor.dev.demo.checking import check

#: Keys that a record changes, and keys in all.
WIDTH, KEYS = 1500, 4000


def expected(records: int) -> dict[str, int]:
    """What is counted under each key after so many."""
    full, rest = divmod(records * WIDTH, KEYS)
    return {name(n): full + (n < rest) for n in range(KEYS) if full or n < rest}


def name(number: int) -> str:
    return f"key{number:04}"


def count(record: Any, state: Any) -> None:
    check(record, state)
    first = record.offset() * WIDTH
    for number in range(first, first + WIDTH):
        key = name(number % KEYS)
        state[key] = state.get(key, 0) + 1
