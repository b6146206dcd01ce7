"""What etcd has to do, told by etcd itself, and what it can do."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import Compare, Delete, Put, Target, Txn
from tests.benchmarks.trials import Trial

_ROOT = "/partition-supervisor-bench-commits/"

#: Commits under way at one time, one for each of as many keys.
AT_ONCE = 64

#: Who is measured by `writes`, and in what.
WRITES, WRITE = "etcd itself, 3 members", "write"
#: Bytes of a write.
SIZE = 256


@dataclass(frozen=True, slots=True)
class Counters:
    """Of all members together, since they started."""

    requests: float
    """Calls, and messages of streams."""
    cpu_seconds: float
    at: float
    received: float
    """Bytes that clients sent."""
    database: float
    """Bytes of the largest database file."""


def look(endpoints: str) -> Counters:
    requests = cpu = received = database = 0.0
    for endpoint in parse_endpoints(endpoints):
        with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5.0) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name.startswith("grpc_server_msg_received_total"):
                    requests += float(value)
                elif name == "process_cpu_seconds_total":
                    cpu += float(value)
                elif name == "etcd_network_client_grpc_received_bytes_total":
                    received += float(value)
                elif name == "etcd_mvcc_db_total_size_in_bytes":
                    database = max(database, float(value))
    return Counters(requests, cpu, time.monotonic(), received, database)


def writes(benchmark: str, endpoints: str, count: int = 5) -> Iterator[Trial]:
    """One after the other, while nobody else writes: the measure of what else takes long on this machine."""
    for value in write_ms(endpoints, count):
        yield Trial(benchmark, WRITES, WRITE, value, "ms")


def write_ms(endpoints: str, count: int) -> list[float]:
    """Milliseconds of each of so many writes, on a connection that is there."""
    store = Etcd(EtcdOptions(parse_endpoints(endpoints)))
    try:
        put = Txn((), (Put(_ROOT, b"." * SIZE),))
        taken = []
        for _ in range(count + 1):
            begun = time.perf_counter()
            store.transact(put)
            taken.append((time.perf_counter() - begun) * 1000)
        store.transact(Txn((), (Delete(_ROOT),)))
        return taken[1:]
    finally:
        store.close()


def commits_a_second(endpoints: str, seconds: float) -> float:
    """Transactions like commits, with many of them under way, from one process."""
    store = Etcd(EtcdOptions(parse_endpoints(endpoints), timeout=10.0))
    done, until = [0] * AT_ONCE, time.monotonic() + seconds

    def commit(number: int) -> None:
        key = f"{_ROOT}{number}"
        txn = Txn((Compare(key, Target.VERSION, -1),), (), (Put(key, b"." * 160), Put(f"{key}/state", b"1")))
        while time.monotonic() < until:
            store.transact(txn)
            done[number] += 1

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(AT_ONCE)]
    begun = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    passed = time.monotonic() - begun
    store.transact(Txn((), (Delete(_ROOT, prefix=True),)))
    store.close()
    return sum(done) / passed
