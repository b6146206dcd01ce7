"""What each signal to the supervisor means."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.control.code_reload import CodeReload
from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.planner import Planner
from partition_supervisor.processes.children import Children
from partition_workers.errors import ExitCode

log = logging.getLogger(__name__)


class Signals:
    """`stop(code, reason)` begins the end, and says whether it had not begun before; `kill_all()` hurries it."""

    def __init__(
        self,
        children: Children,
        planner: Planner,
        membership: Membership,
        dirty: Dirty,
        code_reload: CodeReload,
        stop: Callable[[ExitCode, str], bool],
        kill_all: Callable[[], None],
    ) -> None:
        self._children, self._planner, self._membership, self._dirty = children, planner, membership, dirty
        self._code_reload, self._stop, self._kill_all = code_reload, stop, kill_all

    def obey(self, number: int) -> None:
        match number:
            case signal.SIGTERM:
                self._stop(ExitCode.OK, "SIGTERM")
            case signal.SIGINT:
                if not self._stop(ExitCode.OK, "SIGINT"):
                    log.warning("interrupted again: ending all workers now")
                    self._kill_all()
            case signal.SIGHUP:
                self._code_reload.begin()
            case signal.SIGTTIN | signal.SIGTTOU:
                places = self._planner.resize(+1 if number == signal.SIGTTIN else -1)
                log.info("%s: %d workers from now on", signal.Signals(number).name.removeprefix("SIG"), places)
                self._membership.change(workers=places)
                self._dirty.mark_workers()
            case signal.SIGUSR1:
                for child in self._children:
                    child.signal(signal.SIGUSR1)
