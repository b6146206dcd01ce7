"""HUP: the handler's code as it is now, for all workers; but only if it can be used.

It is tried first, in a fork server of its own and apart from the loop. If it cannot be imported, takes too long, or
ends the process, one error says so, and everything goes on with the code that runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.control.restarts import Restarts
from partition_supervisor.control.rolling_restart import RollingRestart
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.children import Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Server
from partition_workers.errors import PartitionSupervisorError
from partition_workers.log_events import event

log = logging.getLogger(__name__)


class CodeReload:
    def __init__(
        self,
        fork_server: ForkServer,
        background: BackgroundCalls,
        children: Children,
        restarts: Restarts,
        rolling_restart: RollingRestart,
        stopping: Stopping,
        adopted: Callable[[], None],
    ) -> None:
        """`adopted()` is called when there is new code."""
        self._fork_server, self._background, self._children = fork_server, background, children
        self._restarts, self._rolling_restart, self._stopping = restarts, rolling_restart, stopping
        self._adopted = adopted
        self._is_trying = self._once_more = self._is_rolling = False

    @property
    def is_under_way(self) -> bool:
        """Until all workers have the new code, or it was refused."""
        self._is_rolling = self._is_rolling and self._rolling_restart.is_under_way
        return self._is_trying or self._is_rolling

    def begin(self) -> None:
        """Asked for while it is under way, it is done once more: the code may have changed since."""
        if self._is_trying or self._stopping.begun:
            self._once_more = self._is_trying
            return
        log.info("SIGHUP: trying the handler's code as it is now")
        self._is_trying = True
        self._background.run(self._try, self._tried)

    def _try(self) -> Server | Exception:
        try:
            return self._fork_server.reload()
        except (PartitionSupervisorError, OSError, EOFError, RuntimeError) as error:
            return error

    def _tried(self, result: Server | Exception) -> None:
        self._is_trying = False
        if isinstance(result, Exception):
            log.error("the new code cannot be used, and the old goes on: %s", result, extra=event("code-refused"))
        else:
            log.info("the new code can be used: new workers, one after the other")
            self._fork_server.adopt(result)
            self._adopted()
            self._restarts.forget_crashes()
            self._is_rolling = True
            for child in self._children:
                self._rolling_restart.add(child, "its code is loaded anew")
        if self._once_more:
            self._once_more = False
            self.begin()
