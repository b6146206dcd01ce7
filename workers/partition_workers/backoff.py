"""Delays between attempts: doubling, capped, with jitter so that a crowd does not march in step."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float, most: float, jitter: float = 0.2, rng: random.Random | None = None) -> Iterator[float]:
    """Seconds to wait before each further attempt, for ever: `first`, doubling up to `most`, each +- `jitter`."""
    uniform = (rng or random).uniform
    delay = first
    while True:
        yield delay * uniform(1 - jitter, 1 + jitter)
        delay = min(delay * 2, most)
