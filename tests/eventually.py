"""Waiting for something that should become true soon, with a name for it and a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(what: str, check: Callable[[], T], deadline: float = 10.0) -> T:
    """Return the first truthy answer of `check`; fail, naming `what`, after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (answer := check()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what} (last answer: {answer!r})")
        time.sleep(0.02)
    return answer
