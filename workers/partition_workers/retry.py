"""Trying again: how long to wait between attempts, and asking until somebody answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TypeVar

from partition_workers.errors import Retry

T = TypeVar("T")

#: Delays are spread by so much of themselves, so that many who wait for the same thing do not come back in step.
JITTER = 0.2


def backoff(attempts: int, first: float, most: float, chance: float, jitter: float = JITTER) -> float:
    """Seconds to wait: `first` while `attempts` is 0, doubled for each one, at the most `most`; and +- `jitter`.

    `chance` in [0, 1) says where in that spread.
    """
    return min(first * 2.0 ** min(attempts, 60), most) * (1 - jitter + 2 * jitter * chance)


def delays(first: float, most: float, jitter: float = JITTER, rng: random.Random | None = None) -> Iterator[float]:
    """Seconds to wait before each further attempt, for ever: `first`, doubling up to `most`, each +- `jitter`."""
    chance = (rng or random).random
    for attempts in count():
        yield backoff(attempts, first, most, chance(), jitter)


def time_is_up(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since this call."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def until_answered(
    ask: Callable[[], T],
    pauses: Iterable[float],
    given_up: Callable[[], bool] = lambda: False,
    wait: Callable[[float], object] | None = None,
    complain: Callable[[Retry], object] = lambda _error: None,
) -> T:
    """Ask, and while that raises Retry, ask again after each of `pauses` (seconds).

    `wait` is how a pause is spent (default: time.sleep); `complain` is told of each Retry. Raises the last one when
    the pauses have ended, or when after one of them `given_up()` is true. Other errors pass through.

    Who writes must know that an earlier attempt may have landed though its answer was lost.
    """
    for pause in pauses:
        try:
            return ask()
        except Retry as error:
            complain(error)
            (wait or time.sleep)(pause)
            if given_up():
                raise
    return ask()
