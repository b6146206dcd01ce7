"""How everything grows: with partitions on two hosts, and with hosts at a fixed number of partitions.

Each partition has an owner and one standby, so the number of workers grows with partitions only. Records come for
four partitions, whatever there are: what is seen to grow is the cost of the others being there. What a size costs
that this machine cannot hold is computed from the slopes (`extrapolation.py`).
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import psutil

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.control.placement import plan
from partition_supervisor.dev.demo.load import Load
from partition_supervisor.listing import Snapshot, read_all
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Cause, Lock, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.benchmarks import etcd_load
from tests.benchmarks.extrapolation import Limits, Measured, Size, extrapolate, plane
from tests.benchmarks.fleet import PATIENCE, Fleet, idle, weigh
from tests.benchmarks.trials import Bench, Trial

#: Where both rows cross.
PARTITIONS, HOSTS = 16, 2
FULL = ((4, 2), (16, 2), (64, 2), (16, 1), (16, 4), (16, 8), (256, 2))
QUICK = ((16, 2), (16, 4), (4, 2))
#: Partitions that get records, and how many a second each.
FED, RATE = 4, 100.0
#: What plan() is asked, and the last: what is computed on paper.
PLANNED = ((4, 2), (64, 2), (256, 2), (1000, 10), (10_000, 100))
READ = (100, 1000, 10_000)
#: MiB/s of a network of 1 Gbit/s.
NETWORK = 119.0

Facts = dict[str, float | int | str]


def measure(bench: Bench) -> Iterator[Trial]:
    until = time.monotonic() + bench.seconds
    values: dict[str, dict[Size, float]] = defaultdict(dict)
    plan_ms = 0.0
    for partitions, hosts in PLANNED:
        plan_ms = _plan_ms(partitions, hosts)
        yield _trial("plan()", plan_ms, "ms", partitions, hosts)
    reading: dict[int, tuple[float, float, int]] = {}
    for partitions in READ[:2] if bench.quick else READ:
        read_ms, picture_ms, size = reading[partitions] = _reading(bench.etcd_endpoints, partitions)
        facts: Facts = {"taking it in, ms": round(picture_ms, 2), "bytes": size}
        yield _trial("reading all locks and standbys", read_ms, "ms", partitions, 1, facts)
    commits = etcd_load.commits_a_second(bench.etcd_endpoints, 1.0 if bench.quick else 3.0)
    yield Trial("growth", f"ours, {etcd_load.AT_ONCE} keys", "commits that etcd took", commits, "1/s")
    for partitions, hosts in QUICK if bench.quick else FULL:
        if not bench.quick and time.monotonic() > until:
            bench.say(f"growth: no time for {partitions} partitions on {hosts} hosts")
            continue
        for trial in _size(bench, partitions, hosts):
            yield trial
            values[trial.metric][partitions, hosts] = trial.value
    if len(values["memory in all"]) < 3:
        bench.say("growth: too few sizes for slopes, so nothing is computed on paper")
        return
    _, picture_ms, size = reading[max(reading)]
    measured = Measured(
        workers_cpu=plane(values["idle cpu of all workers"], PARTITIONS, HOSTS),
        supervisors_cpu=plane(values["idle cpu of all supervisors"], PARTITIONS, HOSTS),
        memory=plane(values["memory in all"], PARTITIONS, HOSTS),
        etcd_requests=plane(values["etcd requests, idle"], PARTITIONS, HOSTS),
        etcd_cpu=plane(values["etcd cpu, idle"], PARTITIONS, HOSTS),
        listing_bytes=size / max(reading),
        picture_ms=picture_ms / max(reading),
        plan_ms=plan_ms,
        commits=commits,
    )
    yield from _on_paper(measured, *PLANNED[-1])


def _on_paper(measured: Measured, partitions: int, hosts: int) -> Iterator[Trial]:
    limits = Limits(os.cpu_count() or 1, psutil.virtual_memory().total / 2**20, NETWORK)
    system = f"on paper: {partitions:,} partitions, {hosts} hosts"
    for rank, cost in enumerate(extrapolate(measured, partitions, hosts, limits), 1):
        facts: Facts = {
            "partitions": partitions, "hosts": hosts, "limit": round(cost.limit, 1),
            "times the limit": round(cost.share, 3), "breaks as number": rank,
        }  # fmt: skip
        yield Trial("growth", system, cost.what, cost.value, cost.unit, facts)
    requests = measured.etcd_requests.at(partitions, hosts)
    yield Trial(
        "growth", system, "etcd requests, idle", requests, "1/s", {"partitions": partitions, "hosts": hosts}
    )  # fmt: skip


def _size(bench: Bench, partitions: int, hosts: int) -> Iterator[Trial]:
    bench.say(f"growth: {partitions} partitions, {hosts} hosts")
    window, kills = (2.0, 3) if bench.quick else (8.0, 10)
    names = tuple(f"host-{number}" for number in range(hosts))
    addresses = bench.bootstrap_servers, bench.etcd_endpoints
    with Fleet(*addresses, partitions, names, workers=2 * partitions // hosts) as fleet:
        try:
            owned, ready = fleet.start()  # two cores do not always bear 512 workers
        except TimeoutError as error:
            bench.say(f"growth: nothing more is measured of this size: {error}\n{fleet.logs()[-3000:]}")
            facts: Facts = {"at least": str(error)}
            yield _trial("last command -> every standby ready", PATIENCE, "s", partitions, hosts, facts)
            return
        yield _trial("command -> every partition owned", owned, "s", partitions, hosts)
        yield _trial("last command -> every standby ready", ready, "s", partitions, hosts)
        yield from _idle(bench, fleet, partitions, hosts, window)
        load = Load(bench.bootstrap_servers, fleet.topic, FED, FED * RATE)
        began = time.monotonic()
        load.start()
        try:
            fleet.pipe.all_of({f"record-{number}" for number in range(FED)}, began, 30.0)
            yield from _gaps(bench, fleet, kills, partitions, hosts)
        finally:
            load.stop()


def _gaps(bench: Bench, fleet: Fleet, kills: int, partitions: int, hosts: int) -> Iterator[Trial]:
    """So many, or as many as come before the cluster is not whole again within a minute."""
    for number in range(kills):
        time.sleep(random.uniform(0.2, 0.6))  # the random phase
        gap, facts = _gap(fleet, random.choice(fleet.partitions[:FED]))
        yield _trial("gap", gap, "ms", partitions, hosts, facts)
        try:
            fleet.wait_until_complete(60.0)
        except TimeoutError as error:
            bench.say(f"growth: no more than {number + 1} kills: {error}\n{fleet.logs()[-3000:]}")
            return


def _gap(fleet: Fleet, partition: Partition) -> tuple[float, Facts]:
    """Where more processes than processors can bear are asked for, a gap may be longer than anybody waits."""
    begun = time.monotonic()
    try:
        return fleet.gap(partition), {}
    except TimeoutError as error:
        return (time.monotonic() - begun) * 1000, {"at least": str(error)}


def _idle(bench: Bench, fleet: Fleet, partitions: int, hosts: int, window: float) -> Iterator[Trial]:
    before = etcd_load.look(bench.etcd_endpoints)
    used = idle([fleet], window)[0].values()
    after = etcd_load.look(bench.etcd_endpoints)
    passed = after.at - before.at
    pids = [*fleet.owners(), *fleet.standbys(), *(pid for host in fleet.hosts for pid in fleet.others(host))]
    memory = sum(pss for _, pss in weigh(pids))
    workers = sum(each.owners + each.standbys for each in used)
    facts: Facts = {"owners": round(sum(each.owners for each in used), 2)}
    yield _trial("idle cpu of all workers", workers, "%", partitions, hosts, facts)
    yield _trial("idle cpu of all supervisors", sum(each.others for each in used), "%", partitions, hosts)
    yield _trial("memory in all", memory, "MiB", partitions, hosts)
    requests = (after.requests - before.requests) / passed
    yield _trial("etcd requests, idle", requests, "1/s", partitions, hosts)
    cpu = (after.cpu_seconds - before.cpu_seconds) / passed * 100
    yield _trial("etcd cpu, idle", cpu, "%", partitions, hosts)


def _trial(metric: str, value: float, unit: str, partitions: int, hosts: int, facts: Facts | None = None) -> Trial:
    words = f"ours, {partitions:,} partitions, {hosts} host{'s' * (hosts > 1)}"
    return Trial("growth", words, metric, value, unit, {"partitions": partitions, "hosts": hosts} | (facts or {}))


def _plan_ms(partitions: int, hosts: int) -> float:
    """Of a cluster at rest: every supervisor asks this at each change of a lock or a standby."""
    places = {f"host-{number:03}": 2 * partitions // hosts for number in range(hosts)}
    all_of_them = [Partition("events", number) for number in range(partitions)]
    first = plan(places, all_of_them, {}, {})
    taken = []
    for _ in range(3 if partitions > 1000 else 9):
        begun = time.perf_counter()
        again = plan(places, all_of_them, first.owners, first.standbys)
        taken.append((time.perf_counter() - begun) * 1000)
        assert again.owners == first.owners
    return median(taken)


def _reading(endpoints: str, partitions: int) -> tuple[float, float, int]:
    """What a supervisor does every few seconds: milliseconds to read it all, and to take it in; and its bytes."""
    store, keys = Etcd(EtcdOptions(parse_endpoints(endpoints), timeout=10.0)), Keys(f"/bench-{secrets.token_hex(4)}")
    try:
        puts = [put for number in range(partitions) for put in _documents(keys, Partition("events", number))]
        for start in range(0, len(puts), 100):
            store.transact(Txn((), tuple(puts[start : start + 100])))
        read, took_in, size, cluster = [], [], 0, ClusterState(keys)
        for _ in range(6):
            begun = time.perf_counter()
            result = store.transact(read_all(keys))
            items = tuple(item for found in result.answers for item in found)
            middle = time.perf_counter()
            cluster.list_anew(Snapshot(result.revision, items))
            read.append((middle - begun) * 1000)
            took_in.append((time.perf_counter() - middle) * 1000)
            size = sum(len(item.key) + len(item.value) for item in items)
        return median(read), median(took_in[1:]), size  # at first all of it is new
    finally:
        store.transact(Txn((), (Delete(f"{keys.root}/", prefix=True),)))
        store.close()


def _documents(keys: Keys, partition: Partition) -> tuple[Put, Put]:
    owner, other = (Standby(secrets.token_hex(16), host, 12345, "7587a1b2c3d4e5f6", now()) for host in ("a", "b"))
    lock = Lock.naming(owner, Cause.ACQUIRED)
    return Put(keys.lock(partition), lock.encode()), Put(keys.standby(partition, other.worker), other.encode())
