"""Whether, since when and why the supervisor ends."""

from __future__ import annotations

import logging

from partition_workers.errors import ExitCode
from partition_workers.log_events import event

log = logging.getLogger(__name__)


#: Seconds for what etcd is still asked once no worker is left.
LAST_CALLS = 1.0
#: Seconds in which all have ended after they were killed.
GIVE_UP_AFTER = 2.0


class Stopping:
    def __init__(self, graceful_timeout: float) -> None:
        self.begun = False
        self.code = ExitCode.OK
        self._has_given_up = False
        self._alone_since: float | None = None
        self._graceful_timeout = graceful_timeout

    def begin(self, code: ExitCode, reason: str) -> bool:
        """False when it had begun already."""
        if self.begun:
            return False
        self.begun, self.code = True, code
        if code is ExitCode.OK:
            log.info("%s: stopping; every worker hands over, at most %g s", reason, self._graceful_timeout)
        else:
            log.error("stopping: %s", reason, extra=event("stopping"))
        return True

    def give_up(self) -> None:
        """All were killed, a while ago."""
        self._has_given_up = True

    def is_done(self, children: int, calls: int, now: float) -> bool:
        """`children`, and `calls` in the background, are left. Once all workers have ended, these calls get a moment
        more, for etcd may be away."""
        if not self.begun:
            return False
        if children:
            self._alone_since = None
            return self._has_given_up
        if self._alone_since is None:
            self._alone_since = now
        return not calls or self._has_given_up or now - self._alone_since >= LAST_CALLS
