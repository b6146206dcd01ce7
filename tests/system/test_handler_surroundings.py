"""What handlers do to the process around them: to its log, its output, its children, its threads, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from ast import literal_eval
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.services import Services
from partition_workers.ending import WITHIN
from tests.commands import COMMAND, environment
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.system.test_handlers import assert_nothing_was_lost

pytestmark = pytest.mark.timeout(120)


#: What no child of a handler may have ignored.
ORDINARY = (
    signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGTERM,
)  # fmt: skip


def start(make_cluster: MakeCluster, folder: Path, handler: str, kind: str = "", *options: str) -> DemoCluster:
    cluster = make_cluster(
        handler=f"tests.handlers.surroundings:{handler}",
        environment={"FOLDER": str(folder), "KIND": kind, "PYTHONUNBUFFERED": ""},
        options=options, rate=1000.0,
    )  # fmt: skip
    cluster.start()
    return cluster


def is_past(cluster: DemoCluster, offset: int) -> bool:
    return cluster.judge.offset(cluster.judge.partitions[0]).offset > offset


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("handler", "kind"), [("logs", "logging"), ("LogsLater", "")])
def test_a_handler_that_configures_logging_silences_nobody(
    make_cluster: MakeCluster, tmp_path: Path, handler: str, kind: str
) -> None:
    """At its import or in open(): what workers say is in the supervisor's log, what it says itself in its own."""
    cluster = start(make_cluster, tmp_path, handler, kind, "--on-error", "skip", "--max-retries", "1")
    cluster.load.start()
    eventually("it is passed over", lambda: is_past(cluster, 150), deadline=30)
    eventually("it is said", lambda: "was skipped" in cluster.logs())
    assert "the handler failed at" in cluster.logs()
    assert "mine: it will fail" in (tmp_path / "mine.log").read_text()
    assert "the handler failed at" in (tmp_path / "mine.log").read_text(), "its root handler gets ours as well"


def test_what_is_printed_appears_at_once_and_once(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """At the import once for each host; in a handler when it is printed, though the worker dies right after."""
    cluster = start(make_cluster, tmp_path, "prints", "printing")
    cluster.load.start()
    eventually("it is printed", lambda: cluster.logs().count("printed by the handler\n") == 1)
    eventually("it is committed", lambda: is_past(cluster, 101))
    for lock in cluster.judge.owners().values():
        os.kill(lock.pid, signal.SIGKILL)
    cluster.wait_until_complete()
    assert cluster.logs().count("printed at the import\n") == len(cluster.hosts)
    assert cluster.logs().count("printed by the handler\n") == 1


def test_a_line_for_each_record_costs_lines_and_no_memory(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """How many were dropped is said."""
    cluster = start(make_cluster, tmp_path, "logs_every_record")
    cluster.load.start()
    eventually("some thousand are handled", lambda: is_past(cluster, 2000), deadline=40)
    worker = psutil.Process(cluster.judge.owners()[cluster.judge.partitions[0]].pid)
    before = worker.memory_info().rss
    eventually("and some thousand more", lambda: is_past(cluster, 4000), deadline=40)
    assert worker.memory_info().rss - before < 30_000_000
    cluster.load.stop()
    eventually("it is said", lambda: "of the handler's log were dropped" in cluster.logs(), deadline=20)


def test_a_replaced_standard_error_costs_nothing(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """USR1 still shows where each worker is: it goes to the descriptor."""
    cluster = start(make_cluster, tmp_path, "prints", "stderr")
    cluster.load.start()
    os.kill(cluster.judge.owners()[cluster.judge.partitions[0]].pid, signal.SIGUSR1)
    eventually("its stack is shown", lambda: "Thread 0x" in cluster.logs())
    assert_nothing_was_lost(cluster)


def test_closed_standard_streams_lead_nowhere(services: Services, topic: str) -> None:
    """`2>&-`: descriptor 2 is none of ours."""
    command = [
        *COMMAND, "run", "partition_workers.samples:count", "-t", topic, "-b", services.bootstrap_servers, "-e",
        services.etcd_endpoints, "--group", topic,
    ]  # fmt: skip
    shell = subprocess.Popen(["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *command], env=environment())
    try:
        supervisor = psutil.Process(shell.pid)
        workers = eventually("there are workers", lambda: supervisor.children(recursive=True)[4:], deadline=20)
        for each in [supervisor, *workers]:  # Python's own tracker of resources closes the other two
            assert os.readlink(f"/proc/{each.pid}/fd/2") == "/dev/null"
    finally:
        shell.terminate()
        assert shell.wait(40.0) == 0


def test_a_standard_error_that_nobody_reads_holds_up_nobody(
    services: Services, topic: str, make_cluster: MakeCluster
) -> None:
    """A takeover, and a stop."""
    command = [
        *COMMAND, "run", "tests.handlers.surroundings:logs_every_record", "-t", topic, "-b",
        services.bootstrap_servers, "-e", services.etcd_endpoints, "--group", topic, "--log-level", "debug",
    ]  # fmt: skip
    judge = make_cluster(rate=1000.0)  # for its load and its judge: nothing of it is started
    judge.judge._keys = judge.keys.of("partition-supervisor", topic)
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as supervisor:
        try:
            judge.load.start()
            eventually("much is handled", lambda: is_past(judge, 1500), deadline=40)
            owner = judge.judge.owners()[judge.judge.partitions[0]]
            os.kill(owner.pid, signal.SIGKILL)
            offset = judge.judge.offset(judge.judge.partitions[0]).offset
            eventually("it goes on", lambda: is_past(judge, offset + 500), deadline=20)
            supervisor.terminate()
            begun = time.monotonic()
            assert supervisor.wait(40.0) == 0
            assert time.monotonic() - begun < 15
        finally:
            supervisor.kill()


def test_children_of_a_handler_end_with_their_worker(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """kill -9 of the worker, or a stop; but one that made itself a session stays, as whoever made it wanted."""
    cluster = start(make_cluster, tmp_path, "Children")
    cluster.load.start()
    eventually("it works", lambda: is_past(cluster, 100), deadline=20)
    owner = cluster.judge.owners()[cluster.judge.partitions[0]]
    children = literal_eval((tmp_path / f"{owner.pid}.children").read_text())
    ignored = int((tmp_path / "ignored").read_text().split()[1], 16)
    assert not [number for number in ORDINARY if ignored >> (number - 1) & 1]
    try:
        os.kill(children["forked"], signal.SIGTERM)
        eventually("a forked child obeys TERM", lambda: gone(children["forked"]))
        os.kill(owner.pid, signal.SIGKILL)
        eventually("they are gone", lambda: gone(children["popen"]) and gone(children["pooled"]))
        assert not gone(children["daemon"])
    finally:
        for found in tmp_path.glob("*.children"):
            os.kill(literal_eval(found.read_text())["daemon"], signal.SIGKILL)
    assert_nothing_was_lost(cluster)


def test_a_thread_that_is_no_daemon_holds_nobody_up(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The worker ends by itself within the stated time, with a word of the thread, and the lease is not to blame."""
    cluster = start(make_cluster, tmp_path, "Threads", "", "--lease-ttl", "2")
    cluster.load.start()
    eventually("it works", lambda: is_past(cluster, 100), deadline=20)
    owner = cluster.judge.owners()[cluster.judge.partitions[0]]
    os.kill(owner.pid, signal.SIGTERM)
    eventually("it has gone", lambda: gone(owner.pid), deadline=WITHIN + 5)
    eventually("it is said", lambda: "mine-that-sleeps" in cluster.logs())
    assert "late with its lease" not in cluster.logs()
    assert "SIGKILL" not in cluster.logs()
    assert_nothing_was_lost(cluster)


def test_a_handler_that_never_lets_go_does_not_outlive_its_supervisor(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """No thread and no signal handler of it runs: the kernel ends it, soon after its lease."""
    cluster = start(make_cluster, tmp_path, "never_lets_go", "", "--lease-ttl", "3")
    cluster.load.start()
    stuck = tmp_path / "stuck"
    pid = int(eventually("it is stuck", lambda: stuck.exists() and stuck.read_text(), deadline=20))
    for host in cluster.hosts.values():
        os.kill(host.pid, signal.SIGKILL)
    eventually("it is gone", lambda: gone(pid), deadline=3 + 2 + 3)
