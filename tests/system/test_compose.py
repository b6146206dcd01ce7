"""docker/compose.yaml, as people use it: up, broken in every way that the walk-through shows, and down.

It needs a Docker engine, its compose plugin, and images; where one of them is missing these tests are skipped, and
say which. They use a project and ports of their own, so that a cluster that runs already is left alone.

That nothing was lost is judged by Kafka itself: the handler, given the records from the first to the stored offset,
must make the state that is stored beside that offset.
"""

from __future__ import annotations

import json
import os
import runpy
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from partition_supervisor.dev.demo.judge import Gap, Judge
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.documents import Host, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.eventually import eventually

DOCKER = Path(__file__).parents[2] / "docker"
IMAGES = ("apache/kafka:4.3.1", "gcr.io/etcd-development/etcd:v3.6.16", "python:3.13-slim")
HOSTS = ("host-1", "host-2", "host-3")
PORTS = ("KAFKA_PORT", "ETCD_1_PORT", "ETCD_2_PORT", "ETCD_3_PORT")
PARTITIONS = 6
#: Seconds: of the compose file.
LEASE_TTL = 2.0
#: Renewed each fifth of its time, so no lease can end sooner after its holder died.
SOONEST_LEASE = LEASE_TTL * 0.8

pytestmark = pytest.mark.timeout(400)


def docker(*arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)


def what_is_missing() -> str:
    if not shutil.which("docker"):
        return "no docker command"
    if docker("version").returncode:
        return "no Docker engine answers"
    if docker("compose", "version").returncode:
        return "docker has no compose plugin"
    for image in IMAGES:
        if docker("image", "inspect", image).returncode and docker("pull", "-q", image, timeout=300.0).returncode:
            return f"the image {image} is not here and cannot be pulled"
    return ""


class Composed:
    """The compose file under a project of its own; `options` are those before the subcommand."""

    def __init__(self, *options: str) -> None:
        self.project = f"test-{secrets.token_hex(4)}"
        with ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            self.ports = {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}
        self._options = options
        endpoints = tuple(f"127.0.0.1:{self.ports[name]}" for name in PORTS[1:])
        self.keys = Keys.of("partition-supervisor", "partition-supervisor")
        self.store = Etcd(EtcdOptions(endpoints))
        self.judge = Judge(self.store, self.keys, "events", PARTITIONS)

    def __call__(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a subcommand of docker compose; what it printed."""
        command = ["docker", "compose", "-f", str(DOCKER / "compose.yaml"), "-p", self.project, *self._options]
        environment = os.environ | {name: str(port) for name, port in self.ports.items()}
        ran = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )
        assert not ran.returncode, f"docker compose {' '.join(arguments)}: {ran.stderr}{ran.stdout}"
        return ran.stdout

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def inspect(self, service: str, what: str) -> str:
        return docker("inspect", "-f", f"{{{{{what}}}}}", self.container(service)).stdout.strip()

    def health(self) -> dict[str, str]:
        lines = self("ps", "--format", "json").splitlines()
        return {each["Service"]: each["Health"] for each in map(json.loads, lines)}

    def whole(self) -> None:
        """Wait until every partition has an owner and two standbys, and each host owns two."""

        def is_whole() -> bool:
            standbys = self.judge.standbys()
            return set(standbys.values()) == {len(HOSTS) - 1} and all(self.owned_by(host) == 2 for host in HOSTS)

        eventually("each host owns two partitions, and each partition has two standbys", is_whole, 45.0)

    def hosts(self) -> dict[str, Host]:
        items = self.store.list(self.keys.hosts).items
        return {each.key.removeprefix(self.keys.hosts): Host.decode(each.value) for each in items}

    def owned_by(self, host: str) -> int:
        return sum(lock.host == host for lock in self.judge.owners().values())

    def tokens_of(self, host: str) -> dict[Partition, int]:
        tokens = self.judge.tokens()
        return {partition: tokens[partition] for partition, lock in self.judge.owners().items() if lock.host == host}

    def gaps(self, tokens: dict[Partition, int], at: float, deadline: float) -> list[Gap]:
        """How each of these partitions went on after the fault at `at` (seconds, time.time())."""
        found: dict[Partition, Gap] = {}

        def all_found() -> bool:
            for partition, token in tokens.items():
                gap = self.judge.gap(partition, token, at)
                if gap is not None:
                    found[partition] = gap
            return len(found) == len(tokens)

        eventually("each partition has another owner, who has handled a record", all_found, deadline)
        print("\n".join(f"{gap.partition} -> {gap.host}: {gap.phases}" for gap in found.values()))
        return list(found.values())

    def goes_on(self) -> None:
        """Wait until a record of each partition is processed that was not yet."""
        before = self.judge.offsets()
        eventually(
            "records of every partition are processed",
            lambda: all(offset > before.get(partition, 0) for partition, offset in self.judge.offsets().items()),
            15.0,
        )

    def adds_up(self) -> None:
        """State and offset, read at one revision, are what the handler makes of the records."""
        listing = {each.key: each.value for each in self.store.list(self.keys.root).items}
        for partition in self.judge.partitions:
            offset = StoredOffset.decode(listing[self.keys.offset(partition)]).offset
            prefix = self.keys.state(partition)
            stored = {key.removeprefix(prefix): json.loads(value) for key, value in listing.items()
                      if key.startswith(prefix)}  # fmt: skip
            assert stored == self.fold(partition, offset), f"{partition} at {offset}"

    def fold(self, partition: Partition, count: int) -> dict[str, Any]:
        handle = runpy.run_path(str(DOCKER / "handlers" / "app.py"))["handle"]
        state: dict[str, Any] = {}
        consumer = Consumer(
            {"bootstrap.servers": f"127.0.0.1:{self.ports['KAFKA_PORT']}", "group.id": "test", "log_level": 2,
             "enable.auto.commit": False, "auto.offset.reset": "error"}
        )  # fmt: skip
        consumer.assign([TopicPartition(*partition, 0)])
        until = time.monotonic() + 20.0
        while state.get("records", 0) < count:
            assert time.monotonic() < until, f"{partition} has fewer than {count} records"
            for record in consumer.consume(min(500, count - state.get("records", 0)), 1.0):
                assert record.error() is None, record.error()
                handle(record, state)
        consumer.close()
        return state

    def left(self) -> list[str]:
        """What Docker still has of the project."""
        mine = ("--filter", f"label=com.docker.compose.project={self.project}", "--quiet")
        answers = (docker("ps", "--all", *mine), docker("volume", "ls", *mine), docker("network", "ls", *mine))
        return [line for answer in answers for line in answer.stdout.splitlines()]


@contextmanager
def composed(*options: str) -> Iterator[Composed]:
    if missing := what_is_missing():
        pytest.skip(missing)
    made = Composed(*options)
    try:
        made("up", "--build", "--wait", timeout=300.0)
        yield made
    finally:
        print(made("logs", "--no-color", *HOSTS))
        made.store.close()
        made("down", "--volumes", "--timeout", "5", timeout=120.0)
        assert not made.left()


@pytest.fixture(scope="module")
def compose() -> Iterator[Composed]:
    """One cluster for all: each test mends what it broke."""
    with composed() as made:
        yield made


@pytest.fixture
def busy(compose: Composed) -> Composed:
    """A whole cluster that processes records; afterwards it is whole again, and adds up."""
    compose.whole()
    compose.goes_on()
    return compose


def test_everything_is_healthy_and_the_records_are_processed(busy: Composed) -> None:
    """`up --wait` is all: each container that stays is healthy, each host owns its share, the state adds up."""
    health = busy.health()
    assert set(health) == {"kafka", "etcd-1", "etcd-2", "etcd-3", *HOSTS, "producer"}
    assert set(health.values()) == {"healthy"}
    busy.adds_up()


def test_docker_kill_of_a_consumer(busy: Composed) -> None:
    """All its processes die at once, and within a second others have gone on; no lease ends so soon."""
    tokens = busy.tokens_of("host-1")

    at = time.time()
    busy("kill", "host-1")

    for gap in busy.gaps(tokens, at, LEASE_TTL + 3.0):
        assert gap.host != "host-1"
        assert gap.phases["first record"] < 1000
    busy("up", "--wait", "--no-recreate", "host-1")
    busy.whole()
    busy.adds_up()


def test_docker_stop_of_a_consumer_hands_over(busy: Composed) -> None:
    """TERM reaches the supervisor through PID 1; it is done long before Docker would kill it."""
    tokens = busy.tokens_of("host-2")

    at = time.time()
    busy("stop", "host-2")

    assert busy.inspect("host-2", ".State.ExitCode") == "0"
    for gap in busy.gaps(tokens, at, LEASE_TTL + 3.0):
        (before,) = [each for each in busy.judge.history(gap.partition) if each.token == tokens[gap.partition]]
        assert before.ending == "handed-over"
    busy("up", "--wait", "--no-recreate", "host-2")
    busy.whole()
    busy.adds_up()


def test_the_workers_of_a_dead_supervisor_release_before_the_container_ends(busy: Composed) -> None:
    """PID 1 goes last: were it to end with the supervisor, nobody could finish what is in hand."""
    tokens = busy.tokens_of("host-3")

    at = time.time()
    busy("exec", "-T", "host-3", "sh", "-c", f"kill -9 {busy.hosts()['host-3'].pid}")

    for gap in busy.gaps(tokens, at, LEASE_TTL + 3.0):
        assert gap.phases["lock taken"] < SOONEST_LEASE * 1000
    eventually("Docker has started it again", lambda: busy.inspect("host-3", ".RestartCount") == "1", 15.0)
    busy.whole()
    busy.adds_up()


def test_pid_1_passes_on_the_signals_that_other_inits_keep(busy: Composed) -> None:
    """TTOU: one worker less; TTIN: one more."""

    def standbys() -> int:
        return sum(busy.judge.standbys().values())

    busy("kill", "--signal", "TTOU", "host-1")
    eventually("one standby less", lambda: standbys() == PARTITIONS * (len(HOSTS) - 1) - 1)
    busy("kill", "--signal", "TTIN", "host-1")
    busy.whole()


def test_an_etcd_member_dies(busy: Composed) -> None:
    """Two of three go on; the third comes back with its data."""
    busy("kill", "etcd-1")

    busy.goes_on()
    busy.goes_on()
    busy("up", "--wait", "--no-recreate", "etcd-1")
    busy.whole()
    busy.adds_up()


def test_docker_pause_of_a_consumer(busy: Composed) -> None:
    """A frozen owner is replaced when its lease ends; thawed, it finds that out and adds nothing."""
    tokens = busy.tokens_of("host-1")

    at = time.time()
    busy("pause", "host-1")

    assert all(gap.host != "host-1" for gap in busy.gaps(tokens, at, LEASE_TTL + 5.0))
    busy("unpause", "host-1")
    busy.whole()
    busy.adds_up()


def test_a_consumer_is_cut_off(busy: Composed) -> None:
    """No network: it suspends itself, others take over; connected again, it comes back by itself."""
    tokens = busy.tokens_of("host-2")
    network, container = f"{busy.project}_default", busy.container("host-2")

    at = time.time()
    assert not docker("network", "disconnect", network, container).returncode

    assert all(gap.host != "host-2" for gap in busy.gaps(tokens, at, LEASE_TTL + 5.0))
    assert not docker("network", "connect", network, container).returncode
    busy.whole()
    busy.adds_up()


def test_each_consumer_beside_a_gateway_of_its_own() -> None:
    """The profile `sidecar`: an etcd member freezes, another dies, then a gateway; the state adds up."""
    with composed("--env-file", str(DOCKER / "sidecar.env")) as beside:
        beside.whole()
        beside.goes_on()
        assert {beside.health()[f"gateway-{number}"] for number in (1, 2, 3)} == {"healthy"}

        beside("pause", "etcd-1")
        beside.goes_on()
        beside("unpause", "etcd-1")
        beside.whole()

        beside("kill", "etcd-2")
        beside.goes_on()
        beside("up", "--wait", "--no-recreate", "etcd-2")
        beside("restart", "--timeout", "0", "gateway-1")
        beside.goes_on()

        beside.whole()
        beside.adds_up()
