"""Whether, since when and why the supervisor ends."""

from __future__ import annotations

import logging

from partition_workers.errors import ExitCode

log = logging.getLogger(__name__)


class Stopping:
    def __init__(self, graceful_timeout: float) -> None:
        self.begun = False
        self.code = ExitCode.OK
        self._graceful_timeout = graceful_timeout

    def begin(self, code: ExitCode, reason: str) -> bool:
        """False when it had begun already."""
        if self.begun:
            return False
        self.begun, self.code = True, code
        if code is ExitCode.OK:
            log.info("%s: stopping; every worker hands over, at most %g s", reason, self._graceful_timeout)
        else:
            log.error("stopping: %s", reason)
        return True

    def is_done(self, children: int, background: int) -> bool:
        return self.begun and not children and not background
