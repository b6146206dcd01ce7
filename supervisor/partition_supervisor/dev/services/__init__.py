"""Kafka and etcd for development, demo and tests: one call, whatever this machine has.

    with services.start() as running:
        print(running.bootstrap_servers, running.etcd_endpoints)

The first kind that can be had is taken, from the truest to the most portable: addresses that were given,
local processes, Docker, and stand-ins from Python packages. Everything binds to loopback, on free ports, in a
temporary folder, and ends with the process that started it, even when that is killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from partition_supervisor.dev.services import docker, embedded, local
from partition_supervisor.dev.services.part import Announce, Kind, Part
from partition_supervisor.dev.services.processes import Processes
from partition_workers.errors import Misconfigured, Unreachable

__all__ = ["BOOTSTRAP_SERVERS", "ETCD_ENDPOINTS", "KINDS", "Services", "prepare", "start"]

KINDS = ("auto", "given", "local", "docker", "embedded")
BOOTSTRAP_SERVERS = "PARTITION_SUPERVISOR_BOOTSTRAP_SERVERS"
ETCD_ENDPOINTS = "PARTITION_SUPERVISOR_ETCD_ENDPOINTS"

TITLES = {"given": "given", "local": "local processes", "docker": "Docker", "embedded": "embedded stand-ins"}
LADDER: dict[str, Kind] = {"local": local, "docker": docker, "embedded": embedded}

T = TypeVar("T")


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Services:
    """Kafka and etcd that answer. Stop them, or leave them to end with this process."""

    def __init__(self, kind: str, kafka: Part, etcd: Part, processes: Processes | None = None) -> None:
        self.kind = kind
        self.bootstrap_servers = kafka.addresses
        self.etcd_endpoints = etcd.addresses
        self.description = f"{TITLES[kind]}: {kafka.description}, {etcd.description}"
        self._answers = {**kafka.answers, **etcd.answers}
        self._processes = processes

    @property
    def processes(self) -> dict[str, int]:
        """The pid of each process that runs here now: "kafka", "etcd-1", "etcd-2", ..."""
        return self._processes.running() if self._processes else {}

    def restart(self, name: str) -> None:
        """Start a process again, with its data and address, killing it if it runs; return when it answers."""
        if not self._processes or name not in self._answers:
            can = ", ".join(self._answers) or "none"
            raise Misconfigured(f"cannot restart {name!r}; processes that can be restarted: {can}")
        self._processes.restart(name)
        self._processes.wait_for(name, self._answers[name])

    def stop(self) -> None:
        """End all that was started and return when it is gone. What was given stays."""
        if self._processes:
            self._processes.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    kind: str = "auto",
    *,
    bootstrap_servers: str | None = None,
    etcd_endpoints: str | None = None,
    etcd_members: int = 3,
    ports: Mapping[str, Sequence[int]] | None = None,
    announce: Announce = to_stderr,
) -> Services:
    """Return as soon as both answer.

    An address that is given is used, and only the other service is started. "auto" and "given" look for
    addresses in the environment too; the other kinds start what they are asked for. `ports`: where "kafka" and the
    members of "etcd" shall listen, if nobody else does.
    """
    given = _given(kind, bootstrap_servers, etcd_endpoints)
    wanted = frozenset({"kafka", "etcd"}) - given.keys()

    def launch(kind: str, by: Kind) -> Services:
        processes = Processes(ports)
        with ThreadPoolExecutor(2) as pool:
            try:
                starting = {}
                if "kafka" in wanted:
                    starting["kafka"] = pool.submit(by.start_kafka, processes, announce)
                if "etcd" in wanted:
                    starting["etcd"] = pool.submit(by.start_etcd, processes, etcd_members, announce)
                parts = given | {name: part.result() for name, part in starting.items()}
            except BaseException:
                processes.stop()
                raise
        return Services(kind, parts["kafka"], parts["etcd"], processes)

    started = _climb(kind, wanted, launch, announce) if wanted else Services("given", given["kafka"], given["etcd"])
    announce(f"Kafka and etcd: {started.description}")
    return started


def prepare(kind: str = "auto", *, announce: Announce = to_stderr) -> str:
    """Download and build what a start would, so that it is quick then; return the kind that was taken."""
    given = _given(kind, None, None)
    wanted = frozenset({"kafka", "etcd"}) - given.keys()

    def fetch(kind: str, by: Kind) -> str:
        with Processes() as processes:
            by.prepare(wanted, processes, announce)
        return kind

    return _climb(kind, wanted, fetch, announce) if wanted else "given"


def _given(kind: str, bootstrap_servers: str | None, etcd_endpoints: str | None) -> dict[str, Part]:
    if kind in ("auto", "given"):
        bootstrap_servers = bootstrap_servers or os.environ.get(BOOTSTRAP_SERVERS)
        etcd_endpoints = etcd_endpoints or os.environ.get(ETCD_ENDPOINTS)
    given = {}
    if bootstrap_servers:
        given["kafka"] = Part(bootstrap_servers, f"Kafka at {bootstrap_servers}")
    if etcd_endpoints:
        given["etcd"] = Part(etcd_endpoints, f"etcd at {etcd_endpoints}")
    return given


def _climb(kind: str, wanted: frozenset[str], attempt: Callable[[str, Kind], T], announce: Announce) -> T:
    """Make the attempt with the first kind that can be had, or only with the one asked for by name."""
    if kind == "given":
        names = " and ".join({"kafka": BOOTSTRAP_SERVERS, "etcd": ETCD_ENDPOINTS}[name] for name in sorted(wanted))
        raise Misconfigured(f"addresses should be given and are not: set {names}")
    if kind not in KINDS:
        raise Misconfigured(f"no kind of services is called {kind!r}; there are {', '.join(KINDS)}")
    obstacles = []
    for name in LADDER if kind == "auto" else [kind]:
        obstacle = LADDER[name].missing(wanted)
        if not obstacle:
            try:
                return attempt(name, LADDER[name])
            except (Misconfigured, Unreachable) as error:
                if kind != "auto":
                    raise
                announce(f"{TITLES[name]}: {error}")
                obstacle = "to work, see above"
        obstacles.append(f"{TITLES[name]} need{'s' * (name == 'docker')} {obstacle}")
    raise Misconfigured(f"no Kafka and etcd to be had: {'. '.join(obstacles)}")
