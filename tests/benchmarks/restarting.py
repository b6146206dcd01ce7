"""General supervisors of processes, each in an environment of its own in the user's cache, with one child.

supervisord's package would shadow ours, so nothing of theirs is imported here; the child is `first_line.py`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.services.cache import cached
from partition_supervisor.dev.services.processes import Processes
from tests.benchmarks import first_line
from tests.benchmarks.fleet import Pipe

CHILD = Path(first_line.__file__)

PACKAGES = {"supervisord": "supervisor==4.3.0", "circus": "circus==0.19.0", "gunicorn": "gunicorn==27.0.1"}

#: Who is measured, by what. The second circus looks ten times a second instead of each five seconds.
SYSTEMS = {
    "gunicorn --preload": "gunicorn",
    "supervisord": "supervisord",
    "circus": "circus",
    "circus, check_delay 0.1": "circus",
}

#: Seconds that a child must have run for supervisord to count it as started, and a little more.
OLD_ENOUGH = 1.2
#: Seconds of the longest period at which one of them looks, up to which kills are put off: circus's.
PERIOD = 5.0

SUPERVISORD = """[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[program:child]
command={python} {child}
"""

CIRCUS = """[circus]
check_delay={delay}
endpoint=ipc://{folder}/endpoint
pubsub_endpoint=ipc://{folder}/pubsub
[watcher:child]
cmd={python} {child}
numprocesses=1
copy_env=True
"""


def environment_of(name: str, say: Callable[[str], None]) -> Path:
    """The folder of its programs; installed now if need be. Raises PartitionSupervisorError if that cannot be."""
    package = PACKAGES[name]

    def install(folder: Path) -> None:
        processes.run("venv", [sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package, "setuptools<81"]
        processes.run("pip", pip, folder)

    with Processes() as processes:
        return cached(f"rival-{package}", install, f"installing {package}", processes, say) / "bin"


class Rival(Host):
    """One of SYSTEMS with one child, which told that it runs."""

    def __init__(self, processes: Processes, system: str, bin_folder: Path, folder: Path) -> None:
        folder.mkdir()
        self._pipe = Pipe(folder)
        super().__init__(processes, system, (), {first_line.PIPE: str(self._pipe.path)})
        self.package = PACKAGES[SYSTEMS[system]]
        self._folder, self._bin = folder, bin_folder
        self.restarts: list[float] = []
        """Milliseconds, each from the kill to the first line of the next child."""
        self._up_since = 0.0
        self._child = 0
        self.start()
        self._wait(0.0)

    def measure(self, ended: threading.Event) -> None:
        """Kill the child with -9 at a random phase of whatever period it looks at; once, and again until `ended`."""
        while True:
            old_enough = max(0.0, self._up_since + OLD_ENOUGH - time.monotonic())
            if ended.wait(old_enough + random.uniform(0.0, PERIOD if self.restarts else 1.0)):
                if self.restarts:
                    return
                time.sleep(max(0.0, self._up_since + OLD_ENOUGH - time.monotonic()))
            killed_at = time.monotonic()
            os.kill(self._child, signal.SIGKILL)
            self._wait(killed_at)
            self.restarts.append((self._up_since - killed_at) * 1000)

    def close(self) -> None:
        self.end()
        with contextlib.suppress(ProcessLookupError):
            assert self._child, "0 would be our own process group"
            os.kill(self._child, signal.SIGKILL)  # circus gives it a session of its own
        self._pipe.close()

    def _wait(self, after: float) -> None:
        self._child, self._up_since = self._pipe.next("born", after, 20.0)

    def command(self) -> list[str]:
        python = self._bin / "python"
        if self.name.startswith("gunicorn"):
            bind = f"unix:{self._folder}/socket"
            return [
                str(python), "-m", "gunicorn", "--preload", "--workers", "1", "--bind", bind,
                "--config", str(CHILD), "--pythonpath", str(CHILD.parent), "first_line:app",
            ]  # fmt: skip
        settings = self._folder / "settings.ini"
        if self.name == "supervisord":
            settings.write_text(SUPERVISORD.format(folder=self._folder, python=python, child=CHILD))
            return [str(python), "-m", "supervisor.supervisord", "-c", str(settings)]
        delay = self.name.rpartition(" ")[2] if " " in self.name else "5"
        settings.write_text(CIRCUS.format(folder=self._folder, python=python, child=CHILD, delay=delay))
        return [str(python), "-m", "circus.circusd", str(settings)]
