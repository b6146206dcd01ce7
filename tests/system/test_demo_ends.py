"""Whatever ends a demo, a storm or a benchmark: no supervisor, worker or service outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev import services as services_module
from partition_supervisor.dev.services import Services
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]

#: By name: the program, and how many workers are all of its workers.
PROGRAMS = {
    "demo": (("partition_supervisor", "demo", "--kind", "embedded"), 8),
    "storm": (("tests.faults.storm", "kills"), 8),
    "benchmark": (("tests.benchmarks", "processes", "--quick", "--kind", "embedded"), 8),
}

#: Makes its standard input its controlling terminal, and becomes the program.
AT_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""


class Started:
    """A program at a terminal of its own, in a folder of its own, where all that it starts stays."""

    def __init__(self, program: str, folder: Path, services: Services) -> None:
        arguments, self.workers = PROGRAMS[program]
        addresses = {
            services_module.BOOTSTRAP_SERVERS: services.bootstrap_servers,
            services_module.ETCD_ENDPOINTS: services.etcd_endpoints,
        }
        self._folder = folder
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self.terminal, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_ITS_TERMINAL, *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=folder,
            env=os.environ | addresses | {"TMPDIR": str(self._temporary), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(theirs)

    def close_terminal(self) -> None:
        with suppress(OSError):
            os.close(self.terminal)

    def all(self) -> list[str]:
        """What runs in our folder, by its title."""
        found = []
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                if each.cwd().startswith(str(self._folder)):
                    found.append(" ".join(each.cmdline()))
        return found

    def is_complete(self) -> bool:
        """Its hosts run, with all of their workers."""
        assert self.process.poll() is None, f"it has ended: {os.read(self.terminal, 65536).decode()}"
        titles = self.all()
        supervisors = sum(title.startswith("partition-supervisor: supervisor") for title in titles)
        return supervisors >= 2 and sum(" standby" in title or " owner" in title for title in titles) >= self.workers

    def is_gone(self) -> bool:
        left = self.all()
        if left:
            print(*left, "", sep="\n")  # shown when that stays so
        return not left

    def folders(self) -> list[Path]:
        return list(self._temporary.iterdir())


@pytest.fixture
def start(services: Services) -> Iterator[Callable[[str], Started]]:
    with tempfile.TemporaryDirectory(prefix="ends-") as folder:
        made: list[Started] = []

        def started(program: str) -> Started:
            made.append(Started(program, Path(folder), services))
            eventually("its hosts run, with all of their workers", made[0].is_complete, deadline=60.0)
            return made[0]

        yield started
        for each in made:
            each.process.kill()
            each.close_terminal()
            each.process.wait()


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_nothing_outlives_it_when_it_is_killed(start: Callable[[str], Started], program: str) -> None:
    started = start(program)
    started.process.kill()
    started.process.wait()
    eventually("no process is left", started.is_gone)
    if program != "benchmark":  # what it measures with is kept in a folder, too
        eventually("no folder is left", lambda: not started.folders())


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_nothing_outlives_its_terminal(start: Callable[[str], Started], program: str) -> None:
    started = start(program)
    started.close_terminal()
    eventually("no process is left", started.is_gone, deadline=60.0)
    eventually("no folder is left", lambda: not started.folders())
