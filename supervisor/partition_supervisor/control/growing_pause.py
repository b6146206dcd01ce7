"""A pause after trouble, twice as long each time the trouble comes back, and forgotten when it stays away."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds of a pause at the most.
LONGEST = 300.0
#: Seconds without trouble, counted from the end of a pause, after which the next one is a first one again; or twice
#: the pause, if that is more.
FORGOTTEN_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class GrowingPause:
    """From `since` on, for so many `seconds`."""

    since: float
    seconds: float

    @property
    def until(self) -> float:
        return self.since + self.seconds

    def is_over(self, now: float) -> bool:
        return now >= self.until

    def is_forgotten(self, now: float) -> bool:
        return now >= self.until + max(FORGOTTEN_AFTER, 2 * self.seconds)


def pause_after(before: GrowingPause | None, now: float, first: float) -> GrowingPause:
    """Trouble came `now`. While a pause lasts it is the same trouble, and the pause begins anew."""
    if before is None or before.is_forgotten(now):
        return GrowingPause(now, first)
    if not before.is_over(now):
        return GrowingPause(now, before.seconds)
    return GrowingPause(now, min(2 * before.seconds, LONGEST))
