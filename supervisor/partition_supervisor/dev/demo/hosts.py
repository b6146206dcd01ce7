"""Hosts of a cluster on one machine, each of which can be killed whole.

They are started by a guard (`services/guard.py`), so that none of them outlives whoever wanted it, however that ends.
A host's processes are in many sessions, for each worker has one of its own; and whoever is an orphan has no parent
that could be asked. What they have in common is where their standard error leads: to the log of their host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from partition_supervisor.admin.settings import CONFIG_VARIABLE, VARIABLE_PREFIX
from partition_supervisor.dev.services.processes import Processes

#: How variables begin that say something to the command; those of etcdctl do too.
_SETTINGS = (VARIABLE_PREFIX, "ETCDCTL_")


def without_settings() -> dict[str, str]:
    """This process's environment without what it says to the command: a machine may have settings of another group,
    in variables or in a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return kept | {CONFIG_VARIABLE: os.devnull}


class Host:
    """One supervisor and its workers. `arguments` are those of `run`, without the host id."""

    module = "partition_supervisor"

    def __init__(
        self,
        processes: Processes,
        name: str,
        arguments: Sequence[str],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, processes.log(name)
        self._processes, self._arguments, self._environment = processes, list(arguments), environment or {}
        self._pid: int | None = None

    def start(self) -> None:
        """Now, or again after its end; the log goes on."""
        self._pid = self._processes.start(
            self.name, self.command(), without_settings() | self._environment, Path.cwd(), keep_log=True
        )

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module, "run", *self._arguments, "--host-id", self.name]

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._pid is not None, f"{self.name} was not started"
        return self._pid

    @property
    def is_running(self) -> bool:
        return self._pid is not None and self._processes.exit_code(self.name) is None

    def signal_all(self, number: signal.Signals) -> float:
        """To every process of the host, as good as at once: all are looked for, which takes some 20 ms, before the
        first gets it. When that was, in seconds of time.time()."""
        found = [each.pid for each in self.processes()]
        at = time.time()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return at

    def kill(self) -> float:
        """The whole host at once. When, in seconds of time.time()."""
        at = self.signal_all(signal.SIGKILL)
        self.wait(10.0)
        return at

    def kill_supervisor(self) -> float:
        """The supervisor alone; its workers notice."""
        at = time.time()
        os.kill(self.pid, signal.SIGKILL)
        self.wait(10.0)
        return at

    def stop(self) -> None:
        """Ask it to hand over and end."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float) -> int:
        """The supervisor's exit code; negative: the signal that killed it. Raises TimeoutError."""
        until = time.monotonic() + timeout
        while (code := self._processes.exit_code(self.name)) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name} did not end within {timeout:g} s")
            time.sleep(0.005)
        return code

    def processes(self) -> list[psutil.Process]:
        """What lives of the host, the supervisor first."""
        found, log = [], os.path.realpath(self.log)
        for each in psutil.process_iter() if self._pid is not None else ():
            with contextlib.suppress(OSError, psutil.Error):
                if os.readlink(f"/proc/{each.pid}/fd/2") == log and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
        return sorted(found, key=lambda each: each.pid != self._pid)

    def end(self) -> None:
        """Whatever happened: nothing of it is left."""
        if self._pid is not None:
            self.signal_all(signal.SIGCONT)
            left = self.processes()
            for each in left:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            self.wait(10.0)
            psutil.wait_procs(left, timeout=10.0)
