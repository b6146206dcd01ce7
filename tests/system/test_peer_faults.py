"""Trouble between hosts, while Kafka and etcd work: who lives keeps what it owns, who died is found out.

Three supervisors, each in a network namespace of its own, on real processes, with a producer running.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.services import Services
from partition_workers.layout.documents import Host as HostDocument
from partition_workers.model import Partition
from tests import namespaces
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.namespaces import PORT, Network

HOSTS = ("host-a", "host-b", "host-c")

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(namespaces.why_not() is not None, reason=str(namespaces.why_not())),
]


class Machines:
    def __init__(self, cluster: DemoCluster, network: Network) -> None:
        self.cluster, self.network = cluster, network

    def owners(self) -> dict[Partition, str]:
        return {partition: lock.host for partition, lock in self.cluster.judge.owners().items()}

    def busiest(self) -> str:
        hosts = list(self.owners().values())
        return max(sorted(set(hosts)), key=hosts.count)

    def others(self, name: str) -> tuple[str, ...]:
        return tuple(each for each in HOSTS if each != name)

    def works_for(self, seconds: float) -> None:
        """It must go on meanwhile, and nobody may lose a lock."""
        cluster, before = self.cluster, self.cluster.judge.tokens()
        offsets = cluster.judge.offsets()
        time.sleep(seconds)  # nothing must happen, and there is nothing to wait for
        eventually(
            "all partitions go on",
            lambda: all(offset > offsets[each] for each, offset in cluster.judge.offsets().items()),
        )
        assert cluster.judge.tokens() == before

    def loses_everything(self, name: str) -> bool:
        owners = self.owners()
        return len(owners) == len(self.cluster.judge.partitions) and name not in owners.values()

    def log(self, name: str) -> str:
        return self.cluster.hosts[name].log.read_text(errors="replace")

    def finish(self) -> None:
        bad = [verdict for verdict in self.cluster.finish() if not verdict.is_good]
        assert not bad, bad


MakeMachines = Callable[..., Machines]


@pytest.fixture
def make_machines(services: Services, make_cluster: MakeCluster) -> Iterator[MakeMachines]:
    networks: list[Network] = []
    clusters: list[DemoCluster] = []

    def make(*options: str) -> Machines:
        addresses = f"{services.bootstrap_servers},{services.etcd_endpoints}".split(",")
        network = Network(HOSTS, [each.removeprefix("http://") for each in addresses])
        networks.append(network)
        cluster = make_cluster(hosts=HOSTS, rate=400.0, options=(*options, "--rebalance-delay", "3600"))
        clusters.append(cluster)
        cluster.hosts = {name: Machine(host, network) for name, host in cluster.hosts.items()}
        cluster.start(60.0)
        cluster.load.start()
        eventually("records are committed", lambda: len([o for o in cluster.judge.offsets().values() if o]) == 4)
        wait_until_they_know_each_other(cluster)
        return Machines(cluster, network)

    yield make
    for cluster in clusters:
        cluster.load.end()
        for host in cluster.hosts.values():
            host.end()
    for network in networks:
        network.close()


class Machine(Host):
    """A host in a network namespace of its own."""

    def __init__(self, host: Host, network: Network) -> None:
        listen = ("--listen", f"{network.address(host.name)}:{PORT}")
        super().__init__(host._processes, host.name, [*host._arguments, *listen], host._environment)
        self._namespace = network.namespace(host.name)

    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *super().command()]


def wait_until_they_know_each_other(cluster: DemoCluster) -> None:
    """Each supervisor has a connection from and to each other one."""
    for host in cluster.hosts.values():
        eventually(f"{host.name} is connected", partial(is_connected, host))


def is_connected(host: Host) -> bool:
    return len(connections(host)) >= 2 * (len(HOSTS) - 1)


def connections(host: Host) -> list[str]:
    """Established, to or from a supervisor's port."""
    with open(f"/proc/{host.pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [row[1] for row in rows if row[3] == "01" and f"{PORT:04X}" in (row[1][-4:], row[2][-4:])]


def test_a_host_whose_connections_are_rejected_takes_nothing(make_machines: MakeMachines) -> None:
    """Its own kernel answers with resets, for all others; etcd and Kafka work."""
    machines = make_machines()
    (name, *_) = HOSTS
    machines.network.reject(name, *machines.others(name))
    machines.works_for(8.0)
    assert "it may be this one that is cut off" in machines.log(name)
    machines.network.accept(name, *machines.others(name))
    wait_until_they_know_each_other(machines.cluster)
    machines.works_for(1.0)
    machines.finish()


def test_resets_of_all_connections_move_nothing(make_machines: MakeMachines) -> None:
    """Those between hosts, again and again; and those to Kafka and etcd with them."""
    machines = make_machines()
    for number in range(6):
        for name in HOSTS:
            machines.network.reject(name, *machines.others(name))
        if number % 3 == 2:
            machines.network.forwarders.reset()
        machines.works_for(0.3 * (number % 3))
        for name in HOSTS:
            machines.network.accept(name, *machines.others(name))
        wait_until_they_know_each_other(machines.cluster)
    machines.works_for(3.0)
    machines.finish()


def test_hosts_that_do_not_reach_each_other_keep_what_they_own(make_machines: MakeMachines) -> None:
    """Nothing comes through between them, after a reset and without one: as by a firewall that forgets."""
    machines = make_machines()
    for name in HOSTS:
        machines.network.reject(name, *machines.others(name))
    for name in HOSTS:
        machines.network.unplug(name)
        machines.network.accept(name, *machines.others(name))
    machines.works_for(8.0)
    for name in HOSTS:
        machines.network.plug(name)
    wait_until_they_know_each_other(machines.cluster)
    machines.network.unplug(machines.busiest())
    machines.works_for(8.0)
    machines.finish()


def test_a_host_that_was_killed_is_taken_over_before_any_lease_ends(make_machines: MakeMachines) -> None:
    """All its processes at once: its kernel refuses, and the third host shows that it is not we who are cut off."""
    machines = make_machines("--lease-ttl", "60")
    name = machines.busiest()
    machines.cluster.hosts[name].kill()
    eventually(f"{name} owns nothing", lambda: machines.loses_everything(name), deadline=5.0)
    logs = "".join(machines.log(each) for each in machines.others(name))
    assert f"{name}: nobody is left there; passing on what it owned" in logs
    machines.finish()


def test_a_host_without_power_is_taken_over_long_before_its_leases_end(make_machines: MakeMachines) -> None:
    """Its kernel says nothing, it commits nothing and renews nothing. It wakes up later, and harms nobody."""
    machines = make_machines("--lease-ttl", "20")
    name = machines.busiest()
    machines.network.unplug(name)
    machines.cluster.hosts[name].signal_all(signal.SIGSTOP)
    begun = time.monotonic()
    eventually(f"{name} owns nothing", lambda: machines.loses_everything(name), deadline=15.0)
    assert time.monotonic() - begun > 6.0 - 4.0 - 1.0, "its owners had renewed their leases just before"
    logs = "".join(machines.log(each) for each in machines.others(name))
    assert f"{name}: it is silent, and late with its leases; passing on what it owned" in logs
    machines.network.plug(name)
    machines.cluster.hosts[name].signal_all(signal.SIGCONT)
    machines.finish()


def test_a_living_host_that_refuses_everybody_loses_its_locks_once_at_the_most(make_machines: MakeMachines) -> None:
    """Something answers in its place with resets, and cuts its own connections too: nobody can know it at once."""
    machines = make_machines()
    name = machines.busiest()
    for _ in range(3):
        for other in machines.others(name):
            machines.network.reject(other, name)
            machines.network.reject(name, other)
        time.sleep(5.0)  # for those who take it for dead to find out that it is not
        for other in machines.others(name):
            machines.network.accept(other, name)
            machines.network.accept(name, other)
        wait_until_they_know_each_other(machines.cluster)
    taken = [
        each.cause for partition in machines.cluster.judge.partitions
        for each in machines.cluster.judge.history(partition)[1:]
    ]  # fmt: skip
    assert len(taken) <= 4, taken
    machines.cluster.wait_until_complete()
    machines.finish()


def test_strangers_at_the_port_cost_a_supervisor_nothing(make_cluster: MakeCluster) -> None:
    """A thousand who say something and leave, and those who stay: descriptors are bounded, failover goes on."""
    cluster = make_cluster(rate=400.0, options=("--lease-ttl", "60", "--rebalance-delay", "3600"))
    cluster.start()
    cluster.load.start()
    host = cluster.hosts["host-a"]
    (link,) = [
        HostDocument.decode(item.value).link
        for item in cluster.store.list(cluster.keys.hosts).items
        if item.key.endswith("host-a")
    ]
    address, _, port = link.rpartition(":")
    before = len(os.listdir(f"/proc/{host.pid}/fd"))
    staying = []
    for number in range(1000):
        guest = socket.create_connection((address, int(port)), 10.0)
        guest.sendall(b"x\n" if number % 2 else b"x")
        if number % 10:
            guest.close()
        else:
            staying.append(guest)
    assert len(os.listdir(f"/proc/{host.pid}/fd")) - before <= 80
    eventually("all were shown out", lambda: len(os.listdir(f"/proc/{host.pid}/fd")) - before <= 5)
    for guest in staying:
        guest.close()
    owners = cluster.judge.owners()
    name = max(each.host for each in owners.values())
    (other,) = cluster.hosts.keys() - {name}
    cluster.hosts[name].kill()
    eventually(f"{other} owns everything", lambda: {each.host for each in cluster.judge.owners().values()} == {other})
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad
