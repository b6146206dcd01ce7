"""Workers that cannot be started: whatever the reason, the supervisor lives, and failover goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from tests.commands import COMMAND, environment
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.handlers.reloaded import BROKEN, GOOD
from tests.injected import with_fault

pytestmark = pytest.mark.timeout(180)

ONE = ("host-a",)


def kill_an_owner(cluster: DemoCluster) -> int:
    """Its pid."""
    pid = next(iter(cluster.judge.owners().values())).pid
    os.kill(pid, signal.SIGKILL)
    return pid


def all_owned_without(cluster: DemoCluster, *pids: int) -> bool:
    owners = {lock.pid for lock in cluster.judge.owners().values()}
    return len(owners) == 4 and not owners & set(pids)


def fork_servers(pid: int) -> list[psutil.Process]:
    """Those of a supervisor."""
    return [each for each in psutil.Process(pid).children() if "forkserver" in " ".join(each.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_fork_server_that_is_gone_or_does_not_answer_is_replaced(
    make_cluster: MakeCluster, number: signal.Signals
) -> None:
    """Owners go on, the dead one's partition is taken over by the other host at once; and its place is filled."""
    cluster = make_cluster(options=("--rebalance-delay", "3600"))
    cluster.start()
    cluster.load.start()
    pids = [server.pid for host in cluster.hosts.values() for server in fork_servers(host.pid)]
    for pid in pids:
        os.kill(pid, number)
    dead = kill_an_owner(cluster)
    eventually("it was taken over", lambda: all_owned_without(cluster, dead), deadline=3)
    cluster.wait_until_complete(30.0)
    assert all(host.is_running for host in cluster.hosts.values())
    assert all(verdict.is_good for verdict in cluster.finish())


def test_a_full_process_table_is_waited_out(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The fork fails in the fork server, which dies of it; root has no limit that would do that here."""
    full, app = tmp_path / "full", tmp_path / "app.py"
    app.write_text(
        "import os, sys\nplain = os.fork\n"
        f"def fork():\n    if os.path.exists({str(full)!r}): raise BlockingIOError(11, 'full')\n    return plain()\n"
        "os.fork = fork\n" + GOOD
    )
    cluster = make_cluster(hosts=ONE, handler=f"{app}:handle")
    cluster.start()
    host = cluster.hosts["host-a"]
    full.touch()
    dead = kill_an_owner(cluster)
    eventually("it is said", lambda: "no worker can be started" in host.log.read_text())
    assert host.is_running
    assert len(cluster.judge.owners()) >= 3
    full.unlink()
    eventually("the place is filled", lambda: all_owned_without(cluster, dead), deadline=15)


def test_descriptors_that_run_out_and_come_back(make_cluster: MakeCluster) -> None:
    """`prlimit` of a running supervisor."""
    cluster = make_cluster(hosts=ONE)
    cluster.start()
    host = cluster.hosts["host-a"]
    process = psutil.Process(host.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (40, before[1]))
    dead = kill_an_owner(cluster)
    eventually("it is said", lambda: "no worker can be started" in host.log.read_text())
    assert host.is_running
    process.rlimit(psutil.RLIMIT_NOFILE, before)
    eventually("the place is filled", lambda: all_owned_without(cluster, dead), deadline=15)


def test_too_few_descriptors_for_all_workers_are_said_at_the_start(broker: Services, tmp_path: Path) -> None:
    """As many workers run as there are descriptors for, with room for connections; and TERM ends it with 0."""
    topic = f"many-{secrets.token_hex(3)}"
    create_topic(broker.bootstrap_servers, topic, 64)
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen(
        [*COMMAND, "run", "partition_workers.samples:count", "-t", topic, "-b", broker.bootstrap_servers,
         "-e", broker.etcd_endpoints, "--group", topic, "--host-id", "a"],
        stderr=out, env=environment(), start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)),
    ) as process:  # fmt: skip
        try:
            eventually("it is said", lambda: "the limit is 300: this host runs 39" in log.read_text(), deadline=30)
            eventually("39 partitions are owned", lambda: log.read_text().count(": owner, token") >= 39, deadline=90)
            assert process.poll() is None
            assert "39 places for 64 partitions" in log.read_text()
            assert "Traceback" not in log.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(40.0) == 0
        finally:
            process.kill()


def test_without_pidfds_the_fork_servers_word_serves(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """An old kernel, or a sandbox: a worker's end is seen some milliseconds later."""
    cluster = make_cluster(hosts=ONE, environment=with_fault(tmp_path, "\n        del os.pidfd_open\n"))
    cluster.start()
    dead = kill_an_owner(cluster)
    eventually("the place is filled", lambda: all_owned_without(cluster, dead))
    host = cluster.hosts["host-a"]
    assert "was killed by SIGKILL" in host.log.read_text()
    host.stop()
    assert host.wait(15.0) == 0


@pytest.mark.parametrize("how", BROKEN)
def test_code_that_cannot_be_imported_changes_nothing_at_hup(
    make_cluster: MakeCluster, tmp_path: Path, how: str
) -> None:
    """One error; the dead are replaced as ever, with the code that runs; and once it is mended, HUP takes it."""
    app = tmp_path / "app.py"
    app.write_text(GOOD)
    cluster = make_cluster(hosts=ONE, handler=f"{app}:handle")
    cluster.start()
    host = cluster.hosts["host-a"]
    app.write_text(BROKEN[how])
    os.kill(host.pid, signal.SIGHUP)
    if how == "hangs":
        eventually("it is tried", lambda: len(fork_servers(host.pid)) == 2)
    else:
        eventually("it is said", lambda: "the new code cannot be used" in host.log.read_text())
    dead = kill_an_owner(cluster)
    eventually("the place is filled", lambda: all_owned_without(cluster, dead), deadline=10)
    owners = {lock.pid for lock in cluster.judge.owners().values()}
    if how != "hangs":
        app.write_text(GOOD)
        os.kill(host.pid, signal.SIGHUP)
        eventually("all are new", lambda: all_owned_without(cluster, *owners), deadline=20)
    host.stop()
    assert host.wait(15.0) == 0
    eventually("nothing is left", lambda: not host.processes(), deadline=5)


def test_hup_keeps_partitions_here_and_follows_a_link_that_moved(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """`current ->` as deployments have it; the old release is removed. No partition goes to the other host."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "app.py").write_text(GOOD + f"print('release {release}', flush=True)\n")
    current = tmp_path / "current"
    current.symlink_to("one")
    cluster = make_cluster(handler=f"{current}/app.py:handle", options=("--rebalance-delay", "0.5"))
    cluster.start()
    host = cluster.hosts["host-a"]

    def owned_here() -> int:
        return sum(lock.host == host.name for lock in cluster.judge.owners().values())

    eventually("each owns two", lambda: owned_here() == 2, deadline=20)
    before = {lock.pid for lock in cluster.judge.owners().values() if lock.host == host.name}
    current.unlink()
    current.symlink_to("two")
    (tmp_path / "one" / "app.py").unlink()
    (tmp_path / "one").rmdir()
    os.kill(host.pid, signal.SIGHUP)

    def new() -> set[int]:
        return {lock.pid for lock in cluster.judge.owners().values() if lock.host == host.name}

    eventually("its own workers are new", lambda: len(new()) == 2 and not new() & before, deadline=30)
    histories = [record for p in cluster.judge.partitions for record in cluster.judge.history(p)]
    moved = [r for r in histories if r.pid not in before and r.host != host.name and r.cause == "handed-over"]
    assert len(moved) <= 2, "the two that the second host got when it came"
    assert "release two" in host.log.read_text()


def test_a_log_that_nobody_reads_holds_up_nothing(services: Services, topic: str, tmp_path: Path) -> None:
    """Standard error is a full pipe: the dead are replaced, and TERM ends it in time."""
    app = tmp_path / "app.py"
    app.write_text(
        "import logging, threading, time\nfrom partition_workers import Context\n"
        "class Handler:\n"
        "    def open(self, context):\n"
        "        threading.Thread(target=self.talk, daemon=True).start()\n"
        "    def talk(self):\n"
        "        while True: logging.getLogger('handler').warning('x' * 1000); time.sleep(0.0005)\n"
        "    def handle(self, record, state): pass\n"
    )
    with subprocess.Popen(
        [*COMMAND, "run", f"{app}:Handler", "-t", topic, "-b", services.bootstrap_servers,
         "-e", services.etcd_endpoints, "--group", topic, "--host-id", "a"],
        stderr=subprocess.PIPE, env=environment(), start_new_session=True,
    ) as process:  # fmt: skip
        try:
            supervisor = psutil.Process(process.pid)

            def workers() -> set[int]:
                found = set()
                for each in supervisor.children(recursive=True):
                    with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                        if "owner" in " ".join(each.cmdline()):
                            found.add(each.pid)
                return found

            eventually("all are owned", lambda: len(workers()) == 4, deadline=30)
            time.sleep(3.0)  # until the pipe is full: 64 kB, at some MB a second
            dead = min(workers())
            os.kill(dead, signal.SIGKILL)
            eventually("the place is filled", lambda: len(workers() - {dead}) == 4, deadline=10)
            process.send_signal(signal.SIGTERM)
            eventually("it has ended", lambda: process.poll() is not None, deadline=15)
            assert process.returncode == 0
        finally:
            process.kill()
