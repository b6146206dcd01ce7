"""Partitions with large states fail over, through a way to etcd that is slow. On real processes, small numbers.

At full size, by hand: `python -m tests.faults.large_states`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.services import Services
from partition_workers.etcd.options import parse_endpoints
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import History, Size, StoredOffset, now
from partition_workers.model import Partition
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.fakes.slow_line import Bottleneck, SlowLine
from tests.handlers.wide import expected

pytestmark = pytest.mark.timeout(180)

FAST, SLOW = 100e6, 1.2e6
#: Of each partition: 1.5 MB in values of 30 kB. All of them take five seconds on the slow way, more than a lease.
VALUES, VALUE = 50, 30_000
FILLER = json.dumps("." * (VALUE - 2)).encode()
LEASE = 3


@pytest.fixture
def way() -> Bottleneck:
    """Through which all hosts reach all members of etcd."""
    return Bottleneck(FAST)


@pytest.fixture
def lines(services: Services, way: Bottleneck) -> Iterator[list[SlowLine]]:
    """One to each member."""
    made = [SlowLine(each, way) for each in parse_endpoints(services.etcd_endpoints)]
    yield made
    for each in made:
        each.close()


def start(make_cluster: MakeCluster, lines: list[SlowLine], noted: bool) -> DemoCluster:
    """Three hosts, of which one owns everything: somebody could always be named instead of who is slow."""
    endpoints = ",".join(each.endpoint for each in lines)
    options = ("--etcd-endpoints", endpoints, "--lease-ttl", str(LEASE), "--rebalance-delay", "3600")
    cluster = make_cluster(hosts=("a", "b", "c"), options=options, rate=200.0)
    for partition in cluster.judge.partitions:
        fill(cluster, partition, noted)
    cluster.start(deadline=60.0)
    cluster.load.start()
    eventually("records are committed", lambda: min(each.offset for each in offsets(cluster)) > 20)
    return cluster


def fill(cluster: DemoCluster, partition: Partition, noted: bool) -> None:
    prefix = cluster.keys.state(partition)
    for number in range(VALUES):
        cluster.store.transact(Txn((), (Put(f"{prefix}filler/{number}", FILLER),)))
    size = Put(cluster.keys.size(partition), Size(VALUES, VALUES * VALUE, now()).encode())
    offset = Put(cluster.keys.offset(partition), StoredOffset(0, 1, 1, "", now()).encode())
    cluster.store.transact(Txn((), (offset, *((size,) if noted else ()))))


def offsets(cluster: DemoCluster) -> list[StoredOffset]:
    return [cluster.judge.offset(each) for each in cluster.judge.partitions]


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
def test_all_fail_over_together_however_long_it_takes(
    make_cluster: MakeCluster, way: Bottleneck, lines: list[SlowLine], noted: bool
) -> None:
    """Whoever gets a lock keeps it until it has loaded, though that takes longer than its lease lasts, and others
    would be ready at once. The size of the states may not have been noted yet."""
    cluster = start(make_cluster, lines, noted)
    owners, tokens = cluster.judge.owners_and_tokens()
    way.set_rate(SLOW)

    for lock in owners.values():
        os.kill(lock.pid, signal.SIGKILL)

    def since_then(partition: Partition) -> list[History]:
        return [each for each in cluster.judge.history(partition) if each.token > tokens[partition]]

    def all_go_on() -> bool:
        return all(any(each.gap for each in since_then(partition)) for partition in tokens)

    eventually("all have handled records under another token, and noted their gap", all_go_on, deadline=90.0)
    way.set_rate(FAST)
    for partition in cluster.judge.partitions:
        since = since_then(partition)
        assert len(since) == 1, "nobody took it from who was loading"
        assert since[0].gap["state_loaded"] - since[0].gap["lock_taken"] > 500
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


def test_what_commits_changed_under_many_keys_survives_kills_and_stops(make_cluster: MakeCluster) -> None:
    """Each commit is stored as one value, and folded later: killed with much of it not folded, and handed over."""
    cluster = make_cluster(hosts=("a", "b"), handler="tests.handlers.wide:count", rate=400.0)
    cluster.start()
    cluster.load.start()
    for kill in range(3):
        tokens, before = cluster.judge.tokens(), offsets(cluster)
        eventually("commits are stored as values", lambda: entries(cluster) > 0)
        for lock in cluster.judge.owners().values():
            os.kill(lock.pid, signal.SIGKILL if kill < 2 else signal.SIGTERM)
        eventually("others go on", partial(goes_on, cluster, tokens, before))
    produced = cluster.load.stop()
    eventually("all is handled", lambda: cluster.judge.caught_up(produced), deadline=30.0)
    eventually("all is folded", lambda: entries(cluster) == 0, deadline=30.0)
    assert [verdict for verdict in cluster.judge.verdicts(produced) if not verdict.is_good] == []
    for partition in cluster.judge.partitions:
        state = cluster.judge.state(partition)
        counted = {key: value for key, value in state.items() if key.startswith("key")}
        assert counted == expected(produced[partition.number])


def entries(cluster: DemoCluster) -> int:
    return sum(len(cluster.store.list(cluster.keys.changes(each)).items) for each in cluster.judge.partitions)


def goes_on(cluster: DemoCluster, tokens: dict[Partition, int], before: list[StoredOffset]) -> bool:
    have_moved = all(token != tokens[partition] for partition, token in cluster.judge.tokens().items())
    return have_moved and all(a.offset > b.offset + 5 for a, b in zip(offsets(cluster), before, strict=True))
