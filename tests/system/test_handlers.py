"""Handlers that raise, hang, exit, die: one partition has trouble, and no record is lost or handled twice for it."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_workers.layout.documents import Parked
from partition_workers.model import Partition
from tests.conftest import MakeCluster
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(120)

BAD = 150  # the number of the record at which there is trouble, in partition 0


def start(make_cluster: MakeCluster, handler: str, environment: dict[str, str], *options: str) -> DemoCluster:
    cluster = make_cluster(
        handler=f"tests.handlers.misbehaving:{handler}",
        environment={"TROUBLE_AT": str(BAD), **environment},
        options=options,
        rate=1000.0,
    )
    cluster.start()
    cluster.load.start()
    return cluster


def parked(cluster: DemoCluster) -> dict[Partition, Parked]:
    items = cluster.store.list(cluster.keys.parked_ones).items
    return {cluster.keys.partition_of(each.key): Parked.decode(each.value) for each in items}


def assert_nothing_was_lost(cluster: DemoCluster) -> None:
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


@pytest.mark.parametrize("handler", ["raises", "exits", "exits_hard", "dies_of_a_signal"])
def test_trouble_that_passes_costs_nothing(make_cluster: MakeCluster, tmp_path: Path, handler: str) -> None:
    """An exception, sys.exit, os._exit or SIGSEGV, once: the record is handled again, and counted once."""
    once = tmp_path / "happened"
    cluster = start(make_cluster, handler, {"TROUBLE_ONCE": str(once)})

    eventually("the trouble has happened", once.exists)

    assert_nothing_was_lost(cluster)


@pytest.mark.parametrize("handler", ["clings", "ClingsWhenOpened"])
def test_a_successor_that_lets_nothing_run_at_first_is_not_passed_over(
    make_cluster: MakeCluster, handler: str
) -> None:
    """Three times as long as whoever named it waits for a word of it: the word is on its way by then. Were it not,
    the next one would be named, cling as long, and be passed over too, for ever."""
    cluster = start(make_cluster, handler, {}, "--rebalance-delay", "3600")
    trouble = cluster.judge.partitions[0]
    eventually("it is processed", lambda: cluster.judge.offsets().get(trouble, 0) > 0)
    for _ in range(3):
        cluster.wait_until_complete()
        token, offset = cluster.judge.tokens()[trouble], cluster.judge.offsets()[trouble]

        os.kill(cluster.judge.owners()[trouble].pid, signal.SIGKILL)

        goes_on = partial(is_beyond, cluster, trouble, offset + 500)  # more than was there when it began
        eventually("it goes on", goes_on, deadline=15.0)
        later = [each.cause for each in cluster.judge.history(trouble) if each.token > token]
        assert later == ["taken-over"]
    assert_nothing_was_lost(cluster)


def is_beyond(cluster: DemoCluster, partition: Partition, offset: int) -> bool:
    return cluster.judge.offsets()[partition] > offset


@pytest.mark.parametrize(
    ("handler", "reason"),
    [("raises", "this record is bad"), ("puts_a_set", "is not JSON"), ("puts_too_much", "StateTooLarge")],
)
def test_a_record_that_cannot_be_handled_parks_its_partition(
    make_cluster: MakeCluster, handler: str, reason: str
) -> None:
    """Everything before it is committed, the reason is in etcd, the other partitions go on."""
    cluster = start(make_cluster, handler, {}, "--max-retries", "1")
    trouble = cluster.judge.partitions[0]

    found = eventually("the partition is parked", lambda: parked(cluster))

    assert found.keys() == {trouble}
    assert found[trouble].offset == BAD
    assert reason in found[trouble].reason
    assert trouble not in cluster.judge.owners()
    state = cluster.judge.state(trouble)
    assert (state["next"], state["count"]) == (BAD, BAD)
    others = cluster.judge.partitions[1:]
    before = cluster.judge.offsets()
    eventually("the others go on", lambda: all(cluster.judge.offsets()[p] > before[p] + 100 for p in others))
    assert trouble not in cluster.judge.owners()


def test_a_handler_that_hangs_is_ended_and_its_record_handled_again(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """Past the limit its stack is logged and a standby goes on; the lease does not have to end."""
    once = tmp_path / "happened"
    options = ("--handler-timeout", "1", "--lease-ttl", "10")
    cluster = start(make_cluster, "hangs", {"TROUBLE_ONCE": str(once)}, *options)

    eventually("the trouble has happened", once.exists)
    offset = cluster.judge.offsets().get(cluster.judge.partitions[0], 0)

    eventually(
        "work goes on", lambda: cluster.judge.offsets()[cluster.judge.partitions[0]] > max(offset, BAD), deadline=8
    )
    log = "".join(host.log.read_text() for host in cluster.hosts.values())
    assert "has been on one record" in log
    assert "misbehaving.py" in log, "the stack shows where it hangs"
    assert_nothing_was_lost(cluster)


def test_a_record_that_hangs_for_ever_is_poison_too(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Each time a standby takes over within the limit and two seconds; at last the record is passed over."""
    times = tmp_path / "times"
    options = ("--handler-timeout", "1", "--lease-ttl", "30", "--max-deaths", "1", "--on-error", "skip")
    cluster = start(make_cluster, "hangs", {"TROUBLE_TIMES": str(times)}, *options)
    trouble = cluster.judge.partitions[0]

    eventually("it is passed over", lambda: cluster.judge.offset(trouble).offset > BAD + 100, deadline=30)

    log = "".join(host.log.read_text() for host in cluster.hosts.values())
    assert f"{trouble.topic}[0] offset {BAD} was skipped: it has killed" in log
    hung = [float(each) for each in times.read_text().split()]
    begun = [datetime.fromisoformat(each.since).timestamp() for each in cluster.judge.history(trouble)]
    assert len(hung) >= 2
    for at in hung:
        assert min(moment for moment in begun if moment > at) - at <= 1 + 2
    [bad, *others] = cluster.finish()
    assert (bad.lost, bad.doubled, bad.counted) == (1, 0, bad.produced - 1)
    assert all(each.is_good for each in others)


def test_a_batch_handler_counts_the_same(make_cluster: MakeCluster) -> None:
    """Lists of records, one fold."""
    cluster = make_cluster(handler="tests.handlers.misbehaving:Batch", rate=4000.0)
    cluster.start()
    cluster.load.start()
    eventually("a thousand records are committed", lambda: sum(cluster.judge.offsets().values()) > 1000)

    assert_nothing_was_lost(cluster)
