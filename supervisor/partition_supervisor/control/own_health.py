"""Whether this host may be given anything, as far as it can judge itself: a pure function of what ailed it, and when.

One that has an ailment is given nothing; nor is it for a while after it was last seen. That while doubles each time
an ailment comes back, so a host that is well by half changes few partitions' owners.
"""

from __future__ import annotations

from partition_supervisor.control.growing_pause import GrowingPause, pause_after


class OwnHealth:
    """Times in seconds, of one clock. `first`: how long it must have been well at first."""

    def __init__(self, first: float) -> None:
        self.is_able, self.reason = True, ""
        self._first = first
        self._pause: GrowingPause | None = None

    def see(self, ailment: str, now: float) -> bool:
        """What ails it at this moment; nothing, if that is empty. Whether it became able, or unable."""
        if ailment:
            was_able = self.is_able
            self._pause = pause_after(self._pause, now, self._first)
            self.is_able = False
            if was_able:
                self.reason = ailment
            return was_able
        if self.is_able or self._pause is None or not self._pause.is_over(now):
            return False
        self.is_able, self.reason = True, ""
        return True
