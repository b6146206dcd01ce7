"""A supervisor lives, or it ends and nothing of it is left. Real processes; what fails is done to them from outside.

An error in the loop or in a thread cannot be made from outside: `sitecustomize` of the test puts it there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.services import Services
from tests.commands import COMMAND, environment
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.injected import with_fault

pytestmark = pytest.mark.timeout(180)

#: Seconds from an error to the end, and what a loaded machine may add to it.
END_WITHIN, SLACK = 3.0, 2.0

#: Once the file of the test exists, this fails in a running supervisor.
FAULTS = {
    "the loop": """
        import partition_supervisor.control.loop as module
        plain = module.Supervisor._go_on
        def fail(self):
            if over():
                raise ZeroDivisionError("in the loop")
            plain(self)
        module.Supervisor._go_on = fail
    """,
    "a thread": """
        import partition_supervisor.cluster.watcher as module
        plain = module.EtcdWatcher.look
        def fail(self):
            if over():
                raise ZeroDivisionError("in a thread")
            return plain(self)
        module.EtcdWatcher.look = fail
    """,
    "the keeper of leases": """
        import partition_supervisor.cluster.membership as module
        plain = module.LeaseKeeper._answered
        def fail(self, renewal):
            if over():
                raise ZeroDivisionError("in the keeper of leases")
            return plain(self, renewal)
        module.LeaseKeeper._answered = fail
    """,
}


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are not zombies: here nobody may reap orphans."""
    found = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def ends(host: Host, code: int, within: float = END_WITHIN + SLACK) -> float:
    """Seconds until its supervisor has ended; and nothing is left of it."""
    begun = time.monotonic()
    processes = host.processes()
    assert host.wait(within) == code
    took = time.monotonic() - begun
    eventually("nothing is left", lambda: not living(processes), deadline=1.0 + SLACK)
    return took


@pytest.mark.parametrize("where", FAULTS)
def test_an_unexpected_error_ends_the_supervisor_and_all_it_started(
    make_cluster: MakeCluster, tmp_path: Path, where: str
) -> None:
    """Code 1, the traceback in the log, workers have committed and let go; the other host goes on."""
    cluster = make_cluster(options=("--lease-ttl", "2"), environment=with_fault(tmp_path, FAULTS[where]))
    first, second = cluster.hosts.values()
    first.start()
    eventually("the first owns everything", lambda: len(cluster.judge.owners()) == 4, deadline=30)
    cluster.load.start()
    (tmp_path / "now").touch()

    took = ends(first, 1, END_WITHIN + SLACK + 2.0)  # the watch looks once in a while

    text = first.log.read_text()
    assert "CRITICAL" in text
    assert "ZeroDivisionError" in text
    assert took < END_WITHIN + SLACK + 2.0
    (tmp_path / "now").unlink()
    second.start()
    eventually("the second goes on", lambda: {o.host for o in cluster.judge.owners().values()} == {second.name}
               and len(cluster.judge.owners()) == 4, deadline=30)  # fmt: skip
    assert all(verdict.is_good for verdict in cluster.finish())


# --- a start, and a stop, while nobody answers


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("who", ["kafka", "etcd", "import"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_that_waits(
    services: Services, topic: str, silent: str, tmp_path: Path, who: str, number: signal.Signals
) -> None:
    """At once, with 0: whoever stops a supervisor does not care how far it has got."""
    handler = tmp_path / "handler.py"
    handler.write_text("import time\ntime.sleep(600)\n" if who == "import" else "def handle(r, s): pass\n")
    kafka = silent if who == "kafka" else services.bootstrap_servers
    etcd = silent if who == "etcd" else services.etcd_endpoints
    with subprocess.Popen(
        [*COMMAND, "run", f"{handler}:handle", "-t", topic, "-b", kafka, "-e", etcd, "--connect-timeout", "60"],
        stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    ) as process:  # fmt: skip
        try:
            family = psutil.Process(process.pid)
            eventually("it has begun", lambda: len(family.children(recursive=True)) >= 2, deadline=20)
            time.sleep(1.0)  # for it to get to where it waits; nothing can be seen of that
            processes = family.children(recursive=True)
            begun = time.monotonic()
            process.send_signal(number)
            assert process.wait(2.0 + SLACK) == 0
            assert time.monotonic() - begun < 1.5 + SLACK
            eventually("nothing is left", lambda: not living(processes), deadline=1.0 + SLACK)
        finally:
            process.kill()


def test_term_ends_a_supervisor_while_etcd_is_away(make_cluster: MakeCluster, services: Services) -> None:
    """Workers cannot hand over then; they end with their leases at the latest, and nobody waits for etcd then."""
    cluster = make_cluster(hosts=("host-a",), options=("--lease-ttl", "2", "--graceful-timeout", "3"))
    cluster.start()
    host = cluster.hosts["host-a"]
    members = [pid for name, pid in services.processes.items() if name.startswith("etcd")]
    assert members
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(host.pid, signal.SIGTERM)
        ends(host, 0, 3.0 + 2.0 + 2.0 + SLACK)
    finally:
        for pid in members:
            os.kill(pid, signal.SIGCONT)


def test_a_loop_that_stands_still_is_ended_by_signals(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Its leases run out meanwhile, so the others do not count on it; owners go on. TERM has a deadline all the same,
    a third Ctrl-C waits for nothing."""
    fault = """
        import partition_supervisor.control.loop as module
        import time
        plain = module.Supervisor._go_on
        def hold(self):
            while over():
                time.sleep(0.1)
            plain(self)
        module.Supervisor._go_on = hold
    """
    cluster = make_cluster(
        options=("--lease-ttl", "3", "--rebalance-delay", "3600"), environment=with_fault(tmp_path, fault)
    )
    first, _ = cluster.hosts.values()
    first.start()
    eventually("the first owns everything", lambda: len(cluster.judge.owners()) == 4, deadline=30)
    owners = {partition: lock.pid for partition, lock in cluster.judge.owners().items()}
    (tmp_path / "now").touch()
    key = cluster.keys.host(first.name)
    eventually("its host's lease is gone", lambda: cluster.store.get(key) is None, deadline=3 + 1 + SLACK)
    assert {partition: lock.pid for partition, lock in cluster.judge.owners().items()} == owners
    begun = time.monotonic()
    for _ in range(3):
        os.kill(first.pid, signal.SIGINT)
        time.sleep(0.05)
    assert first.wait(1.0 + SLACK) == 1
    assert time.monotonic() - begun < 1.0 + SLACK
    (tmp_path / "now").unlink()
