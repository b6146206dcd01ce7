"""Hosts of a demo, a test or a benchmark: started again, waited for, and ended with whoever wanted them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.services.processes import Processes
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]

#: A supervisor with two workers, of which one has a process group of its own; nobody listens to TERM.
FAMILY = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for name in ("worker", "worker of another group"):
    if os.fork() == 0:
        if "group" in name:
            os.setpgid(0, 0)
        break
else:
    name = "supervisor"
os.write(1, f"{name}\\n".encode())
while True:
    signal.pause()
"""

#: Whoever starts that host, tells the pid of its session, and waits.
OWNER = """
import signal
from partition_supervisor.dev.services.processes import Processes
from tests.unit.test_hosts import Family
host = Family(Processes(), "a", ())
host.start()
print(host.pid, flush=True)
signal.pause()
"""


class Family(Host):
    def command(self) -> list[str]:
        return [sys.executable, "-c", FAMILY]

    def is_complete(self, lives: int = 1) -> bool:
        return self.log.exists() and len(self.log.read_text().splitlines()) == 3 * lives


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as made:
        yield made


@pytest.fixture
def host(processes: Processes) -> Family:
    made = Family(processes, "a", ())
    made.start()
    eventually("it is complete", made.is_complete)
    return made


def test_nothing_of_it_is_left_when_it_is_ended(host: Host) -> None:
    """Whatever process group it is in."""
    host.end()
    assert not host.is_running
    assert host.processes() == []


def test_it_can_be_started_again_and_its_log_goes_on(host: Family) -> None:
    first = host.pid
    host.kill_supervisor()
    assert host.wait(10.0) == -signal.SIGKILL
    assert len(host.processes()) == 2
    host.end()
    host.start()
    eventually("it is complete again", lambda: host.is_complete(lives=2))
    assert host.pid != first
    assert host.log.read_text().count("supervisor") == 2
    host.end()


def test_who_does_not_end_in_time_is_said(host: Host) -> None:
    with pytest.raises(TimeoutError, match="a did not end within 0 s"):
        host.wait(0.0)
    host.end()


def test_the_end_of_the_guard_is_that_of_its_hosts(processes: Processes, host: Host) -> None:
    """As of everything else that it has started; and the folder goes."""
    processes.stop()
    eventually("no process is left", lambda: not host.processes())
    assert not processes.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_nothing_outlives_who_started_it(number: signal.Signals, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        session = int(owner.stdout.readline())
        eventually("three processes", lambda: len(of_session(session)) == 3)
        owner.send_signal(number)
        owner.wait()
        eventually("no process is left", lambda: not of_session(session))
        eventually("no folder is left", lambda: not list(tmp_path.iterdir()))


def of_session(leader: int) -> list[int]:
    found = []
    for each in psutil.process_iter():
        try:
            if os.getsid(each.pid) == leader and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
        except (OSError, psutil.Error):
            continue
    return found
