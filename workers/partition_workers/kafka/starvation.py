"""Whether nothing comes because there is nothing: when to ask, and what the answer means. Times in seconds."""

from __future__ import annotations

#: Until it is looked into that nothing comes; then twice that, and so on, up to the last.
FIRST_LOOK, LAST_LOOK = 1.0, 10.0


class Starvation:
    """`since`: when there began to be more than comes, or nobody to say so; None: all that there is has come."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._look_at: float | None = None  # None: records have just come
        self._looks = 0
        self._suspicious = False

    def begin(self, now: float) -> None:
        """It was assigned, and should come."""
        self._look_at, self._looks, self._suspicious = now + FIRST_LOOK, 0, False

    def feed(self) -> None:
        """Records came."""
        self._look_at = self.since = None

    def rest(self, now: float) -> None:
        """The client says that there is nothing more; that it does so shows that it is well."""
        self._look_at, self._looks, self.since = now + LAST_LOOK, 0, None

    def is_due(self, now: float) -> bool:
        """Whether to ask now where the partition ends."""
        if self._look_at is None:
            self._look_at, self._looks = now + FIRST_LOOK, 0
        return now >= self._look_at

    def unanswered(self, now: float) -> None:
        self._look_again(now)
        self.since = self.since or now
        self._suspicious = False

    def answered(self, now: float, more: bool) -> bool:
        """Whether to assign anew: there is more, and was a moment ago, so it had the time to get here."""
        self._look_again(now)
        self.since = (self.since or now) if more else None
        if more and not self._suspicious:
            self._suspicious, self._look_at = True, now + FIRST_LOOK / 2
            return False
        self._suspicious = False
        return more

    def _look_again(self, now: float) -> None:
        self._looks += 1
        self._look_at = now + min(FIRST_LOOK * 2**self._looks, LAST_LOOK)
