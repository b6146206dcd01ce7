"""What etcd has to do, told by etcd itself, and what it can do."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import dataclass

from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import Compare, Delete, Put, Target, Txn

_ROOT = "/partition-supervisor-bench-commits/"

#: Commits under way at one time, one for each of as many keys.
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Counters:
    """Of all members together, since they started."""

    requests: float
    """Calls, and messages of streams."""
    cpu_seconds: float
    at: float


def look(endpoints: str) -> Counters:
    requests = cpu = 0.0
    for endpoint in parse_endpoints(endpoints):
        with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5.0) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name.startswith("grpc_server_msg_received_total"):
                    requests += float(value)
                elif name == "process_cpu_seconds_total":
                    cpu += float(value)
    return Counters(requests, cpu, time.monotonic())


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
