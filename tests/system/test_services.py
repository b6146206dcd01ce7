"""Kafka and etcd for development, seen from outside: they answer, and they leave nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from partition_supervisor.dev import services
from partition_workers.errors import Misconfigured
from tests.eventually import eventually

COMMAND = (sys.executable, "-m", "partition_supervisor", "services", "--port-base", "0")
CHOSEN = os.environ.get("PARTITION_SUPERVISOR_TEST_SERVICES", "auto").replace("given", "embedded")
FIRST_START_S = 600  # includes what is downloaded and built once

pytestmark = pytest.mark.timeout(FIRST_START_S + 60)


@dataclass
class Running:
    """The command, and what it has started."""

    command: subprocess.Popen[str]
    bootstrap_servers: str
    etcd_endpoints: list[str]
    temporary: Path

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.command.pid).children(recursive=True)

    def leaves_nothing(self, processes: list[psutil.Process]) -> None:
        eventually("all processes are gone", lambda: not any(process.is_running() for process in processes))
        eventually("the temporary folder is gone", lambda: not list(self.temporary.iterdir()))
        for address in (self.bootstrap_servers, *self.etcd_endpoints):
            eventually(f"{address} is closed", partial(refuses, address))


def environment(temporary: Path, **changes: str) -> dict[str, str]:
    names = (services.BOOTSTRAP_SERVERS, services.ETCD_ENDPOINTS)
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    return inherited | {"TMPDIR": str(temporary)} | changes


@contextmanager
def running(temporary: Path, *arguments: str, **changes: str) -> Iterator[Running]:
    command = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environment(temporary, **changes)
    )
    with command:
        assert command.stdout
        try:
            servers = command.stdout.readline().rstrip("\n").removeprefix(f"{services.BOOTSTRAP_SERVERS}=")
            endpoints = command.stdout.readline().rstrip("\n").removeprefix(f"{services.ETCD_ENDPOINTS}=")
            yield Running(command, servers, endpoints.split(","), temporary)
        finally:
            command.kill()


def refused(temporary: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=environment(temporary, **changes),
        timeout=60,
        check=False,
    )


def refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def healthy(endpoint: str) -> bool:
    connection = http.client.HTTPConnection(endpoint, timeout=5)
    try:
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read())["health"] == "true")
    finally:
        connection.close()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short path, because some servers put sockets into their folders."""
    with tempfile.TemporaryDirectory(prefix="services-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", sorted({"embedded", CHOSEN}))
def test_prints_two_addresses_that_answer_and_leaves_nothing_when_terminated(kind: str, temporary: Path) -> None:
    with running(temporary, "--kind", kind) as started:
        admin = AdminClient({"bootstrap.servers": started.bootstrap_servers})
        assert len(admin.list_topics(timeout=10).brokers) == 1
        assert len(started.etcd_endpoints) == 3
        assert all(healthy(endpoint) for endpoint in started.etcd_endpoints)

        processes = started.descendants()
        started.command.send_signal(signal.SIGTERM)
        assert started.command.wait(timeout=20) == 0
        assert started.command.stdout
        assert started.command.stdout.read() == ""
        started.leaves_nothing(processes)


@pytest.mark.parametrize("kind", sorted({"embedded", CHOSEN}))
def test_leaves_nothing_when_killed(kind: str, temporary: Path) -> None:
    with running(temporary, "--kind", kind, "--etcd-members", "1") as started:
        processes = started.descendants()
        started.command.kill()
        started.command.wait()
        started.leaves_nothing(processes)


def test_a_forked_child_of_the_owner_keeps_nothing_alive(temporary: Path) -> None:
    """It has a copy of the pipe to the guard, so the pipe alone would not tell that the owner has ended."""
    program = (
        "import os, signal; from partition_supervisor.dev import services;"
        "started = services.start('embedded', etcd_members=1); child = os.fork();"
        "child or signal.pause(); print(child, *started.processes.values(), flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment(temporary)
    ) as owner:
        assert owner.stdout
        child, *pids = map(int, owner.stdout.readline().split())
        processes = [psutil.Process(pid) for pid in pids]
        owner.kill()
        owner.wait()
        try:
            assert psutil.pid_exists(child)
            eventually("all processes are gone", lambda: not any(one.is_running() for one in processes))
            eventually("the temporary folder is gone", lambda: not list(temporary.iterdir()))
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_children_of_a_killed_guard_go_with_it(temporary: Path) -> None:
    with running(temporary, "--kind", "embedded", "--etcd-members", "1") as started:
        guard, *others = started.descendants()
        guard.kill()
        eventually("all processes are gone", lambda: not any(process.is_running() for process in others))


@pytest.mark.parametrize("kind", ["auto", "embedded"])
def test_python_packages_are_enough(kind: str, temporary: Path, tmp_path: Path) -> None:
    hidden = {"PATH": str(tmp_path), "JAVA_HOME": "", "KAFKA_HOME": "", "DOCKER_HOST": "unix:///nowhere"}
    with running(temporary, "--kind", kind, "--etcd-members", "1", **hidden) as started:
        assert AdminClient({"bootstrap.servers": started.bootstrap_servers}).list_topics(timeout=10).brokers
        assert all(healthy(endpoint) for endpoint in started.etcd_endpoints)


def test_addresses_in_the_environment_are_used_as_they_are(temporary: Path) -> None:
    given = {services.BOOTSTRAP_SERVERS: "kafka.example:9092", services.ETCD_ENDPOINTS: "etcd.example:2379"}
    with running(temporary, **given) as started:
        assert started.bootstrap_servers == "kafka.example:9092"
        assert started.etcd_endpoints == ["etcd.example:2379"]
        assert started.descendants() == []


def test_only_what_was_not_given_is_started() -> None:
    with services.start("embedded", bootstrap_servers="kafka.example:9092", etcd_members=1) as started:
        assert started.bootstrap_servers == "kafka.example:9092"
        assert list(started.processes) == ["etcd-1"]


def test_an_unknown_kind_is_a_wrong_usage(temporary: Path) -> None:
    assert refused(temporary, "--kind", "nonsense").returncode == 2


@pytest.mark.parametrize(("kind", "needed"), [("docker", "a Docker daemon that answers"), ("local", "java")])
def test_a_kind_that_cannot_be_had_says_what_is_missing(
    kind: str, needed: str, temporary: Path, tmp_path: Path
) -> None:
    hidden = {"PATH": str(tmp_path), "JAVA_HOME": "", "KAFKA_HOME": "", "DOCKER_HOST": "unix:///nowhere"}
    ended = refused(temporary, "--kind", kind, **hidden)
    assert ended.returncode == 78
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert needed in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_an_etcd_member_can_be_restarted_with_its_data_and_address(signum: signal.Signals) -> None:
    with services.start("embedded") as started:
        before = started.processes
        endpoint = started.etcd_endpoints.split(",")[1]
        os.kill(before["etcd-2"], signum)
        if signum == signal.SIGKILL:
            eventually("the member is gone", lambda: "etcd-2" not in started.processes)

        started.restart("etcd-2")

        assert healthy(endpoint)
        after = started.processes
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} == {"etcd-2"}


def test_what_cannot_be_restarted_is_said() -> None:
    with services.start("embedded", etcd_members=1) as started, pytest.raises(Misconfigured, match="etcd-1"):
        started.restart("etcd-2")
