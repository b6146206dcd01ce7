"""What processes cost: to start, to replace, to have.

Ours beside the same program with spawned workers, and, for the restart of a dead child, beside general supervisors.
Two hosts each: the first owns every partition, the second has a standby for each.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from partition_supervisor.dev.demo.load import Load
from partition_supervisor.dev.services.processes import Processes
from partition_workers.errors import PartitionSupervisorError
from tests.benchmarks import etcd_load
from tests.benchmarks.budgets import FEWEST
from tests.benchmarks.fleet import Fleet, Killed, idle, weigh
from tests.benchmarks.restarting import SYSTEMS, Rival, environment_of
from tests.benchmarks.trials import Bench, Trial

#: Workers on each of the two hosts.
SMALL = 4
FULL, QUICK = (SMALL, 16, 64), (SMALL, 64)
#: Idle processes of one kind that are weighed, at most.
WEIGHED = 16


def measure(bench: Bench) -> Iterator[Trial]:
    until = time.monotonic() + bench.seconds
    sizes = QUICK if bench.quick else FULL
    window = 4.0 if bench.quick else 12.0
    for workers in sizes:
        spawning = not bench.only_ours and not (bench.quick and workers > SMALL)
        with ExitStack() as stack:
            fleets = {}
            for name in ("ours", "spawn") if spawning else ("ours",):
                bench.say(f"processes: {name}, two hosts of {workers} workers each")
                fleet = Fleet(bench.bootstrap_servers, bench.etcd_endpoints, workers, spawn=name == "spawn")
                fleets[name] = stack.enter_context(fleet)
                yield from _start(fleet, name, workers)
                if name == "ours" and spawning and workers == sizes[-1]:
                    yield from _idle(fleets, workers, window)  # that of spawn may need minutes, and the time be over
            yield from _idle(fleets, workers, window)
            for name, fleet in fleets.items():
                yield from _weigh(fleet, name, workers)
            if workers == SMALL:
                yield from _restarts(bench, fleets, until)
                for name, fleet in fleets.items():
                    yield from _weigh(fleet, name, workers)  # again, or there were four of spawn in a quick run
                    yield from _weigh_after_traffic(bench, fleet, name)


def _start(fleet: Fleet, name: str, workers: int) -> Iterator[Trial]:
    owned, ready = fleet.start()
    facts: dict[str, float | int | str] = {"workers": workers, "partitions": workers, "hosts": 2}
    system = f"{name}, {workers} workers"
    yield Trial("processes", system, "command -> every partition owned", owned, "s", facts)
    yield Trial("processes", system, "command -> every standby ready", ready, "s", facts)


def _idle(fleets: dict[str, Fleet], workers: int, seconds: float) -> Iterator[Trial]:
    """In the same seconds for all of them. Of a core; a host's supervisor and fork server are included."""
    for name, hosts in zip(fleets, idle(list(fleets.values()), seconds), strict=True):
        for host, kind in (("a", "owners"), ("b", "standbys")):
            used = hosts[host]
            facts: dict[str, float | int | str] = {
                "workers": workers, "partitions": workers, "hosts": 2, "seconds": seconds,
                "supervisor": round(used.others, 3),
            }  # fmt: skip
            total = used.owners + used.standbys + used.others
            yield Trial("processes", f"{name}, {workers} {kind}", "idle cpu", total, "%", facts)


def _weigh(fleet: Fleet, name: str, workers: int) -> Iterator[Trial]:
    for kind, pids in (("standby", fleet.standbys()), ("owner", fleet.owners())):
        fleet.collect(pids)
        system = {"ours": {"standby": "ours, idle worker", "owner": "ours, idle owner"},
                  "spawn": {"standby": "spawn", "owner": "spawn, idle owner"}}[name][kind]  # fmt: skip
        for uss, pss in weigh(pids[:WEIGHED]):
            facts: dict[str, float | int | str] = {"workers": workers, "kind": kind, "pss": round(pss, 2)}
            yield Trial("processes", system, "uss", uss, "MiB", facts)
    everything = sum(pss for host in fleet.hosts for _, pss in weigh(fleet.others(host)))
    everything += sum(pss for _, pss in weigh([*fleet.owners(), *fleet.standbys()]))
    facts = {"workers": workers, "partitions": workers, "hosts": 2, "all": round(everything, 1)}
    yield Trial(
        "processes", f"{name}, {workers} workers a host", "memory in all, a worker", everything / (2 * workers),
        "MiB", facts,
    )  # fmt: skip


def _weigh_after_traffic(bench: Bench, fleet: Fleet, name: str) -> Iterator[Trial]:
    seconds, rate = (2.0, 2000.0) if bench.quick else (10.0, 4000.0)
    load = Load(bench.bootstrap_servers, fleet.topic, len(fleet.partitions), rate)
    load.start()
    time.sleep(seconds)  # the traffic
    load.stop()
    fleet.collect(fleet.owners())
    for uss, pss in weigh(fleet.owners()):
        facts: dict[str, float | int | str] = {"workers": SMALL, "records": sum(load.produced), "pss": round(pss, 2)}
        yield Trial("processes", f"{name}, owner after traffic", "uss", uss, "MiB", facts)


def _restarts(bench: Bench, fleets: dict[str, Fleet], until: float) -> Iterator[Trial]:
    """Ours round by round, with the rivals beside, each at its own pace, for theirs takes seconds."""
    rounds = 3 if bench.quick else 30
    rivals: list[Rival] = []
    processes = Processes()
    try:
        for number, system in enumerate(() if bench.only_ours else SYSTEMS):
            try:
                programs, folder = environment_of(SYSTEMS[system], bench.say), processes.folder / str(number)
                rivals.append(Rival(processes, system, programs, folder))
            except (PartitionSupervisorError, TimeoutError) as error:
                bench.say(f"processes: {system} cannot be measured: {error}")
        half_way = time.monotonic() + (until - time.monotonic()) / 2
        with _measuring(rivals):
            for number in range(rounds):
                yield from etcd_load.writes("processes", bench.etcd_endpoints)
                yield from _replace(fleets["ours"], "ours")
                if "spawn" in fleets and number % 3 == 0:
                    yield from _replace(fleets["spawn"], "spawn")
                if number >= FEWEST // 2 and time.monotonic() > half_way:  # each round has two
                    break
        for rival in rivals:
            if not rival.restarts:
                bench.say(f"processes: {rival.name} restarted nothing in that time")
            for restart in rival.restarts:
                yield Trial("processes", rival.name, "restart", restart, "ms", {"package": rival.package})
    finally:
        for rival in rivals:
            rival.close()
        processes.stop()


@contextmanager
def _measuring(rivals: list[Rival]) -> Iterator[None]:
    ended = threading.Event()
    threads = [threading.Thread(target=rival.measure, args=(ended,)) for rival in rivals]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        ended.set()
        for each in threads:
            each.join()


def _replace(fleet: Fleet, name: str) -> Iterator[Trial]:
    for kill in (fleet.kill_standby, fleet.kill_owner):
        time.sleep(random.uniform(0.1, 0.4))  # the random phase
        yield from _told(kill(), name)


def _told(killed: Killed, name: str) -> Iterator[Trial]:
    yield Trial("processes", f"{name}, replacement", "ready", killed.ready, "ms", {"killed": killed.was})
    yield Trial("processes", f"{name}, {killed.was}", "restart", killed.first_line, "ms", {"killed": killed.was})
