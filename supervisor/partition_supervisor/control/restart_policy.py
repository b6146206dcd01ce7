"""When to start a dead worker again: a pure function of its crashes and the clock.

The first restart is immediate: people kill healthy workers to watch the failover, and must be able to do so all day;
so progress forgets all crashes. Without progress the delays double. After more than MOST crashes within WINDOW
seconds the worker rests, visibly, and is tried again slowly.

What progress is depends on what the worker was. An owner has got on when it has committed more than its entrance, or
has handled all there is: one that dies before, be it in open() or at its first record, is followed by one that dies
at the same place, however well both stood by before that. A standby has got on when it stood by for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from partition_workers.retry import backoff

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
JITTER = 0.2
MOST = 5
WINDOW = 60.0
REST = 300.0
#: Seconds as a ready standby that count as progress. Less than those who kill a worker every second leave it; and no
#: code of the handler's runs then that could end it later.
STOOD_BY = 0.5


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


@dataclass(slots=True)
class Crashes:
    """Those of one partition's workers on this host since their last progress: when, in seconds, oldest first."""

    of_owners: list[float] = field(default_factory=list)
    of_others: list[float] = field(default_factory=list)

    def owner_got_on(self) -> None:
        self.of_owners.clear()
        self.of_others.clear()

    def note(self, now: float, was_owner: bool, stood_by: float) -> None:
        """A worker has crashed. `stood_by`: so many seconds it was a ready standby."""
        if was_owner:
            self.of_owners.append(now)
            return
        if stood_by >= STOOD_BY:
            self.of_others.clear()
        self.of_others.append(now)

    def next_restart(self, now: float, chance: float) -> Restart:
        """By whichever of the two gets on worse."""
        kinds = (next_restart(each, now, chance) for each in (self.of_owners, self.of_others))
        return max(kinds, key=lambda each: each.delay)
