"""When to start a dead worker again: a pure function of its crashes and the clock.

The first restart is immediate: people kill healthy workers to watch the failover, and must be able to do so all day;
so progress (a commit, or having become a ready standby) forgets all crashes. Without progress the delays double.
After more than MOST crashes within WINDOW seconds the worker rests, visibly, and is tried again slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partition_workers.retry import backoff

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
JITTER = 0.2
MOST = 5
WINDOW = 60.0
REST = 300.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after `delay` seconds; `resting`: it crashed too often to be tried at the usual pace."""

    delay: float
    resting: bool = False


def next_restart(crashes: Sequence[float], now: float, chance: float) -> Restart:
    """`crashes`: when it crashed since its last progress, oldest first, this crash included (seconds).

    `chance` in [0, 1) spreads the delays, so that many workers do not come back in step.
    """
    recent = [at for at in crashes if now - at < WINDOW]
    if len(recent) > MOST:
        return Restart(REST, resting=True)
    if len(crashes) <= 1:
        return Restart(0.0)
    return Restart(backoff(len(crashes) - 2, FIRST_DELAY, LONGEST_DELAY, chance, JITTER))
