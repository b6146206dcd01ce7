"""Kafka and etcd as containers, through testcontainers, wherever a Docker daemon answers.

testcontainers would start a container of its own (Ryuk) to remove ours when we die. Our guard does that
already, by a label that all our containers carry, so Ryuk is switched off for them and its image need not be
had.

Ports are chosen by us, not by Docker: both servers tell their clients where to reach them, and have to know
it before they start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from partition_supervisor.dev.services import etcd
from partition_supervisor.dev.services.local import ETCD, KAFKA, kafka_settings
from partition_supervisor.dev.services.part import Announce, Part, etcd_answers, kafka_answers
from partition_supervisor.dev.services.processes import PortTaken, Processes, with_free_ports
from partition_workers.errors import PartitionSupervisorError, Unreachable

KAFKA_IMAGE = f"apache/kafka:{KAFKA}"
ETCD_IMAGE = f"gcr.io/etcd-development/etcd:v{ETCD}"

LABEL = "partition-supervisor.services"


def missing(_: frozenset[str]) -> str:
    if not find_spec("testcontainers"):
        return "the package testcontainers (pip install 'partition-supervisor[docker]')"
    docker = _sdk()
    try:
        docker.from_env(timeout=5).ping()
    except (docker.errors.DockerException, OSError):
        return "a Docker daemon that answers (start Docker, or set DOCKER_HOST)"
    # Here, where there is one thread: of two that import it at the same time Python stops one with a deadlock error.
    import_module("testcontainers.core.network")
    import_module("testcontainers.core.container")
    return ""


def prepare(wanted: frozenset[str], _: Processes, announce: Announce) -> None:
    for name, image in (("kafka", KAFKA_IMAGE), ("etcd", ETCD_IMAGE)):
        if name in wanted:
            _pull(image, announce)


def start_kafka(processes: Processes, announce: Announce) -> Part:
    _pull(KAFKA_IMAGE, announce)

    def attempt(ports: list[int]) -> str:
        with _containers(processes) as new:
            kafka = new(KAFKA_IMAGE, {9092: ports[0]})
            address = f"{_host()}:{ports[0]}"
            settings = kafka_settings(
                listeners="PLAINTEXT://:9092,INTERNAL://localhost:9094,CONTROLLER://localhost:9093",
                advertised=f"PLAINTEXT://{address},INTERNAL://localhost:9094",
                controller="localhost:9093",
                data="/tmp/kraft-combined-logs",  # noqa: S108  a path inside the container
            )
            for name, value in settings.items():
                kafka.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
            kafka.with_env("KAFKA_HEAP_OPTS", "-Xmx768m")
            kafka.start()
            _wait_for("kafka", kafka, partial(kafka_answers, address), processes)
        return address

    return Part(with_free_ports(1, attempt, first=processes.ports.get("kafka", ())), KAFKA_IMAGE)


def start_etcd(processes: Processes, members: int, announce: Announce) -> Part:
    _pull(ETCD_IMAGE, announce)
    names = [f"etcd-{number}" for number in range(1, members + 1)]
    peers = {name: f"http://{name}:2380" for name in names}

    def attempt(ports: list[int]) -> list[str]:
        from testcontainers.core.network import Network

        with _containers(processes) as new:
            endpoints = [f"{_host()}:{port}" for port in ports]
            network = Network(docker_network_kw={"labels": _labels(processes)}).create()
            started = []
            for name, port, endpoint in zip(names, ports, endpoints, strict=True):
                member = new(ETCD_IMAGE, {2379: port})
                everywhere = (
                    "--listen-client-urls=http://0.0.0.0:2379",
                    "--listen-peer-urls=http://0.0.0.0:2380",
                )
                flags = etcd.flags(name, f"http://{endpoint}", peers)
                member.with_network(network).with_network_aliases(name)
                member.with_command(["/usr/local/bin/etcd", *everywhere, *flags]).start()
                started.append(member)
            for name, member, endpoint in zip(names, started, endpoints, strict=True):
                _wait_for(name, member, partial(etcd_answers, endpoint), processes)
        return endpoints

    return Part(",".join(with_free_ports(members, attempt)), f"{ETCD_IMAGE} x {members}")


def _labels(processes: Processes) -> dict[str, str]:
    return {LABEL: processes.folder.name}


@contextmanager
def _containers(processes: Processes) -> Iterator[Callable[[str, dict[int, int]], Any]]:
    """Makes containers that go with their owner, and go at once if one of them cannot be started."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    docker = _sdk()
    made: list[Any] = []

    def new(image: str, ports: dict[int, int]) -> Any:
        container: Any = DockerContainer(image).with_kwargs(labels=_labels(processes))
        for inside, outside in ports.items():
            on_loopback = _host() == "127.0.0.1"
            container.ports[f"{inside}/tcp"] = ("127.0.0.1", outside) if on_loopback else outside
        made.append(container)
        return container

    testcontainers_config.ryuk_disabled = True
    docker_host = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
    processes.take_along(f"{LABEL}={processes.folder.name}", docker_host)
    try:
        yield new
    except (docker.errors.DockerException, PartitionSupervisorError) as error:
        for container in made:
            with suppress(docker.errors.DockerException):
                container.stop()
        if isinstance(error, PartitionSupervisorError):
            raise
        taken = any(words in str(error) for words in ("already allocated", "already in use"))
        raise (PortTaken if taken else Unreachable)(f"Docker refused: {error}") from error


def _wait_for(name: str, container: Any, answers: Callable[[], bool], processes: Processes) -> None:
    deadline = time.monotonic() + 90.0
    while not answers():
        processes.running()  # raises when the owner stopped everything meanwhile
        inner = container.get_wrapped_container()
        inner.reload()
        if inner.status in ("exited", "dead") or time.monotonic() > deadline:
            last_lines = inner.logs(tail=12).decode(errors="replace")
            raise Unreachable(f"the container of {name} is {inner.status} and does not answer:\n{last_lines}")
        time.sleep(0.1)


def _pull(image: str, announce: Announce) -> None:
    docker = _sdk()
    client = docker.from_env()
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        announce(f"pulling {image} (once) ...")
        started = time.monotonic()
        try:
            client.images.pull(image)
        except docker.errors.DockerException as error:
            raise Unreachable(f"Docker cannot pull {image}: {error}") from error
        announce(f"pulling {image}: done in {time.monotonic() - started:.0f} s")
    finally:
        client.close()


def _sdk() -> Any:
    return import_module("docker")  # the project's folder docker/ hides the package from type checkers


@cache
def _host() -> str:
    from testcontainers.core.docker_client import DockerClient

    host = str(DockerClient().host())
    return "127.0.0.1" if host == "localhost" else host
