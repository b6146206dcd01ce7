"""Hosts of a cluster on one machine: each is a supervisor in a session of its own, so that it can be killed whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil


class Host:
    """One supervisor and its workers. `arguments` are those of `run`, without the host id."""

    module = "partition_supervisor"

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        self._arguments, self._environment = list(arguments), environment or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", self.module, "run", *self._arguments, "--host-id", self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | self._environment,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal_all(self, number: signal.Signals) -> None:
        """To every process of the host, in one step."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> float:
        """The whole host at once. When, in seconds of time.time()."""
        at = time.time()
        self.signal_all(signal.SIGKILL)
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
        assert self.process is not None, f"{self.name} was not started"
        return self.process.wait(timeout)

    def processes(self) -> list[psutil.Process]:
        """What lives of the host: everything in its session."""
        found = []
        for each in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(each.pid) == self.pid and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
        return found

    def end(self) -> None:
        """Whatever happened: nothing of it is left."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGCONT)
            left = self.processes()
            for each in left:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            psutil.wait_procs(left, timeout=10.0)
            self.wait(10.0)
