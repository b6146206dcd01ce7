"""Hosts of one group to be weighed, timed and broken: ours, or the same with spawned workers."""

from __future__ import annotations

import os
import random
import secrets
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services.processes import Processes
from partition_workers.layout.documents import Standby
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.benchmarks import first_line
from tests.benchmarks.collecting import COLLECTED
from tests.benchmarks.footprint import cpu_seconds, memory
from tests.benchmarks.sightings import Sightings

ROOT = Path(__file__).parents[2]
HANDLER = "tests.benchmarks.collecting:Count"
#: Seconds for a fleet to be whole.
PATIENCE = 120.0


class SpawningHost(Host):
    module = "tests.benchmarks.spawning"


class Pipe:
    """Where processes tell of their first line and their first record (`first_line.py`)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pipe"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._text = b""

    def next(self, what: str, after: float, deadline: float) -> tuple[int, float]:
        """The first such line that was told after that moment: the pid and the moment (CLOCK_MONOTONIC, seconds)."""
        return self.all_of({what}, after, deadline)[what]

    def all_of(self, names: set[str], after: float, deadline: float) -> dict[str, tuple[int, float]]:
        """The same of several, whatever their order."""
        found: dict[str, tuple[int, float]] = {}
        until = time.monotonic() + deadline
        while found.keys() != names:
            if not select.select([self._fd], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"not within {deadline:g} s: {', '.join(sorted(names - found.keys()))}")
            *lines, self._text = (self._text + os.read(self._fd, 65536)).split(b"\n")
            for line in lines:
                name, pid, at = line.decode().split()
                if name in names and float(at) > after:
                    found.setdefault(name, (int(pid), float(at)))
        return found

    def close(self) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Killed:
    """Milliseconds from the kill to the replacement's first line of Python, and until it is a ready standby."""

    was: str
    first_line: float
    ready: float


class Fleet:
    """Started host by host, so that the first host owns what it has places for. Nothing moves by itself."""

    def __init__(
        self,
        bootstrap_servers: str,
        etcd_endpoints: str,
        partitions: int,
        hosts: Sequence[str] = ("a", "b"),
        workers: int = 0,
        spawn: bool = False,
        more: Sequence[str] = (),
    ) -> None:
        """`more`: further options of `run`."""
        self.topic, group = f"bench-{secrets.token_hex(4)}", f"bench-{secrets.token_hex(4)}"
        create_topic(bootstrap_servers, self.topic, partitions)
        self._processes = Processes()
        self.folder = self._processes.folder
        self.partitions = [Partition(self.topic, number) for number in range(partitions)]
        self.keys = Keys.of("partition-supervisor", group)
        self.sightings = Sightings(etcd_endpoints, self.keys)
        self.pipe = Pipe(self.folder)
        arguments = [
            HANDLER, "--topic", self.topic, "--group", group, "--bootstrap-servers", bootstrap_servers,
            "--etcd-endpoints", etcd_endpoints, "--rebalance-delay", "3600", "--connect-timeout", "60",
            *(("--workers", str(workers)) if workers else ()), *more,
        ]  # fmt: skip
        environment = {COLLECTED: str(self.folder), first_line.PIPE: str(self.pipe.path)}
        make = SpawningHost if spawn else Host
        self.hosts = {name: make(self._processes, name, arguments, environment) for name in hosts}
        self.standbys_in_all = (workers or partitions) * len(hosts) - partitions

    def start(self, deadline: float = PATIENCE) -> tuple[float, float]:
        """Seconds from the command to the last lock, and from the last command to the last standby."""
        begun = at = time.monotonic()
        owned = 0.0
        partitions = len(self.partitions)
        per_host = (self.standbys_in_all + partitions) // len(self.hosts)
        for number, host in enumerate(self.hosts.values(), 1):
            at = time.monotonic()
            host.start()
            wanted = min(partitions, number * per_host)
            last = self._wait_for_owners(wanted, deadline)
            owned = owned or (last - begun if wanted == partitions else 0.0)
        return owned, self.wait_until_complete(deadline) - at

    def _wait_for_owners(self, count: int, deadline: float) -> float:
        locks = self.sightings.locks
        return self.sightings.wait_for(f"{count} partitions have an owner", lambda: len(locks) >= count, deadline)

    def wait_until_complete(self, deadline: float = 30.0) -> float:
        """Until every partition has an owner and every standby is ready. When."""
        seen = self.sightings

        def complete() -> bool:
            return len(seen.locks) == len(self.partitions) and len(seen.waiting()) >= self.standbys_in_all

        return seen.wait_for(f"owners and {self.standbys_in_all} standbys", complete, deadline)

    def owners(self) -> list[int]:
        return [lock.pid for lock in list(self.sightings.locks.values())]

    def standbys(self) -> list[int]:
        return [standby.pid for standby in self.sightings.waiting()]

    def others(self, host: str) -> list[int]:
        """What a host runs besides workers: supervisor, fork server, resource tracker."""
        workers = {*self.owners(), *self.standbys()}
        return [each.pid for each in self.hosts[host].processes() if each.pid not in workers]

    def kill_standby(self) -> Killed:
        return self._kill(random.choice(self.sightings.waiting()), "standby")

    def kill_owner(self) -> Killed:
        lock = random.choice(list(self.sightings.locks.values()))
        return self._kill(Standby(lock.worker, lock.host, lock.pid, lock.lease), "owner")

    def gap(self, partition: Partition) -> float:
        """kill -9 of its owner: milliseconds until somebody else handles a record of it."""
        victim = self.sightings.locks[partition].pid
        at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        _, handled = self.pipe.next(f"record-{partition.number}", at, 30.0)
        return (handled - at) * 1000

    def _kill(self, victim: Standby, was: str) -> Killed:
        seen, before = self.sightings, set(self.sightings.ready_at)
        at = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)

        def replacements() -> list[str]:
            """New ready workers on the victim's host."""
            found = [(worker, seen.standbys.get(worker)) for worker in seen.ready_at if worker not in before]
            return [worker for worker, place in found if place is not None and place[1].host == victim.host]

        seen.wait_for("a killed worker's replacement is ready", lambda: bool(replacements()), 30.0)
        ready = seen.ready_at[replacements()[0]] - at
        self.wait_until_complete()
        return Killed(was, (self.pipe.next("born", at, 10.0)[1] - at) * 1000, ready * 1000)

    def collect(self, pids: Sequence[int]) -> None:
        """Every one of them has collected its garbage since."""
        for pid in pids:
            (self.folder / str(pid)).unlink(missing_ok=True)
            os.kill(pid, signal.SIGUSR2)
        wait_for(
            "workers have collected their garbage",
            lambda: all((self.folder / str(pid)).exists() for pid in pids), 30.0,
        )  # fmt: skip

    def logs(self) -> str:
        return "".join(f"--- {each.name}\n{each.log.read_text(errors='replace')}" for each in self.hosts.values())

    def close(self) -> None:
        for host in self.hosts.values():
            host.end()
        self.sightings.close()
        self.pipe.close()
        self._processes.stop()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Idle:
    """Percent of a core, of all of a kind together."""

    owners: float
    standbys: float
    others: float


def idle(fleets: Sequence[Fleet], seconds: float) -> list[dict[str, Idle]]:
    """What each host of each fleet uses while nothing happens, all in the same seconds."""
    groups = [(fleet, name, _kinds(fleet, name)) for fleet in fleets for name in fleet.hosts]
    begun = time.monotonic()
    before = [[cpu_seconds(pids) for pids in kinds] for _, _, kinds in groups]
    time.sleep(seconds)
    after = [[cpu_seconds(pids) for pids in kinds] for _, _, kinds in groups]
    passed = time.monotonic() - begun
    found: dict[int, dict[str, Idle]] = {id(fleet): {} for fleet in fleets}
    for (fleet, name, _), first, last in zip(groups, before, after, strict=True):
        used = [(end - start) / passed * 100 for start, end in zip(first, last, strict=True)]
        found[id(fleet)][name] = Idle(*used)
    return [found[id(fleet)] for fleet in fleets]


def _kinds(fleet: Fleet, host: str) -> tuple[list[int], list[int], list[int]]:
    owners = [lock.pid for lock in list(fleet.sightings.locks.values()) if lock.host == host]
    standbys = [each.pid for each in fleet.sightings.waiting() if each.host == host]
    return owners, standbys, fleet.others(host)


def weigh(pids: Sequence[int]) -> list[tuple[float, float]]:
    """MiB of each: its own (USS), and its part (PSS)."""
    return [memory(pid) for pid in pids]
