"""A host that is not well says so, keeps what it owns, and is given nothing until it was well for a while.

On real processes: two hosts under load, one of which has a gateway of its own to etcd. At full length, with a network
that loses packets, and hosts that are cut from Kafka: `python -m tests.faults.network`.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_workers.layout.documents import Host
from partition_workers.model import Partition
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.fakes.gateway import Gateway

pytestmark = pytest.mark.timeout(120)

LEASE = 3
WELL, ILL = "host-a", "host-b"


class Group:
    def __init__(self, cluster: DemoCluster, gateway: Gateway) -> None:
        self.cluster, self.gateway = cluster, gateway
        self.orders = Orders(RetryingStore(cluster.store, 10.0, "etcd"), cluster.keys)

    def shown(self) -> Host | None:
        """What the host that is not well says of itself."""
        found = self.cluster.store.get(self.cluster.keys.host(ILL))
        return Host.decode(found.value) if found is not None else None

    def says_why(self) -> str:
        """Empty when it is able, or out of reach."""
        shown = self.shown()
        return shown.unable_because if shown is not None else ""

    def is_able(self) -> bool:
        shown = self.shown()
        return shown is not None and shown.able

    def findings(self) -> int:
        """How often it has found that it is not well."""
        return self.cluster.hosts[ILL].log.read_text(errors="replace").count("is given no partitions for a while")

    def owned_by(self, host: str) -> dict[Partition, int]:
        owners, tokens = self.cluster.judge.owners_and_tokens()
        return {partition: tokens[partition] for partition, lock in owners.items() if lock.host == host}

    def is_at_rest(self) -> bool:
        """Each host owns two, and every owner has committed under its token."""
        entered = all(self.cluster.judge.offset(p).token == t for p, t in self.cluster.judge.tokens().items())
        return entered and self.is_able() and len(self.owned_by(WELL)) == len(self.owned_by(ILL)) == 2

    def move_one_to_it(self) -> Partition:
        """Somebody wants one more partition to be there."""
        partition = min(self.owned_by(WELL))
        self.orders.move(partition, ILL)
        return partition

    def assert_nothing_moves_to_it(self, before: dict[Partition, int]) -> None:
        """Until it is able: the locks are looked at before it is asked how it is."""
        while True:
            owned = self.owned_by(WELL)
            if self.is_able():
                return
            assert before.items() <= owned.items()

    def finish(self) -> None:
        bad = [verdict for verdict in self.cluster.finish() if not verdict.is_good]
        assert not bad, bad


@pytest.fixture
def group(make_cluster: MakeCluster, etcd_endpoints: tuple[str, ...]) -> Iterator[Group]:
    """Each host owns two partitions."""
    gateway = Gateway(etcd_endpoints[0])
    cluster = make_cluster(options=("--lease-ttl", str(LEASE), "--rebalance-delay", "0.3"), rate=400.0)
    cluster.hosts[ILL]._arguments += ["--etcd-endpoints", gateway.address]
    try:
        cluster.start()
        cluster.load.start()
        made = Group(cluster, gateway)
        eventually("each host owns two", made.is_at_rest, deadline=20.0)
        yield made
    finally:
        gateway.close()


def test_a_host_that_etcd_barely_reaches_is_given_nothing(group: Group) -> None:
    """Its lease is renewed too late. A move that was ordered meanwhile is carried out when it is well."""
    before, findings = group.owned_by(WELL), group.findings()
    with group.gateway.answering(grpc.StatusCode.UNAVAILABLE):
        eventually("it finds out", lambda: group.findings() > findings)
    eventually("it says so", group.says_why)
    partition = group.move_one_to_it()
    group.assert_nothing_moves_to_it(before)
    eventually("it is given its partition", lambda: partition in group.owned_by(ILL), deadline=20.0)
    group.finish()
