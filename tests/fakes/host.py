"""One real supervisor on fakes, to replay histories on.

Everything that decides is real: the loop and all of `control`. What it acts upon is not: children remember what they
were told, calls in the background are done when the test says so, time passes when the test says so.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from partition_supervisor.cluster.membership import Membership, TakenByTwin
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.loop import Supervisor
from partition_supervisor.events import (
    BecameImpossible,
    ClusterChanged,
    LeaseGone,
    SignalArrived,
)
from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_supervisor.service_manager import ServiceManager
from partition_workers.errors import ExitCode, PartitionSupervisorError
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Change, Delete, Put
from partition_workers.layout.documents import Host, Lock, Parked, Standby, now
from partition_workers.model import Partition
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import (
    Leave,
)
from tests.fakes.children import FakeChild, FakeChildren, FakeForkServer
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.threads import FakeBackgroundCalls, FakeKeeper, FakePeerMonitor
from tests.fakes.workers import FakeWorkers, PacedInbox, RunIsReady

T = TypeVar("T")


@dataclass(frozen=True)
class Elsewhere:
    """A worker on another host, as etcd shows it."""

    standby: Standby

    @property
    def worker(self) -> str:
        return self.standby.worker


class FakeHost(FakeWorkers):
    """One real supervisor, `a` by default, on fakes; other hosts are what the test puts into etcd.

    Leases run out only when the test expires them, except this host's, which its keeper renews.
    """

    def __init__(self, partitions: int = 1, host_id: str = "a", topic: str = "t", **settings: Any) -> None:
        self.clock, self.boottime = FakeClock(1_000.0), FakeClock(50_000.0)
        self.config = Config(
            "h:handle", (topic,), "kafka:9092", EtcdOptions(("etcd:2379",)), host_id=host_id, **settings
        )
        super().__init__(FakeEtcd(FakeClock()), self.config.keys, PacedInbox(self.boottime))
        self.partitions = [Partition(topic, number) for number in range(partitions)]
        self.children, self.cluster = FakeChildren(self.clock, self.inbox), ClusterState(self.keys)
        self.background, self.fork_server = FakeBackgroundCalls(self.inbox), FakeForkServer()
        self.peers = FakePeerMonitor()
        self.watching = True
        self.service_manager: ServiceManager | None = None
        #: Whether etcd renews the lease of this host.
        self.is_reached = True
        self.mirrored: list[dict[Partition, int]] = []
        gone: Callable[[int], None] = lambda lease: self.inbox.post(LeaseGone(lease))  # noqa: E731
        taken: Callable[[str], None] = lambda why: self.inbox.post(BecameImpossible(ExitCode.MISCONFIGURED, why))  # noqa: E731
        self.membership = Membership(self.store, self.keys, host_id, self.config.lease_ttl, gone, taken)
        self.membership.keeper.close()  # the real one has a thread
        self.keeper = self.membership.keeper = FakeKeeper(self.store, self.boottime, gone)
        self._seen = 0
        self._workers = count(1)

    def open(self) -> FakeHost:
        """Begin to run: what was put into etcd until now, it finds there."""
        self.membership.enter(Host(self.config.workers, "1", 1, "", now()), 1.0, "the fake")
        self.cluster.list_anew(self.look())
        self._seen = self.store.revision
        self.supervisor = Supervisor(
            self.config, self.fork_server, self.inbox, self.children, self.cluster, self.store, self.membership,
            self.peers, self.background, dict.fromkeys(self.partitions, "id"), self.mirrored.append,
            self.clock, self.service_manager,
        )  # fmt: skip
        try:
            self.supervisor.run()
        except RunIsReady:
            self.settle()
        return self

    def close(self) -> None:
        self.inbox.close()
        self.store.close()
        assert not self.background.raised, "an error that no test has ordered"

    # --- time

    def turn(self) -> bool:
        """One round of the loop, as `run` does it. False: nothing had happened."""
        self.tell_of_itself()
        if self.watching:
            self.post_changes()
        if not self.background.held:
            self.background.do_one()
        self.inbox.happened = 0
        self.supervisor._turn()
        return self.inbox.happened > 0

    def settle(self) -> None:
        """Until nothing happens any more at this moment; workers that are ready and not frozen obey meanwhile."""
        for _ in range(10_000):
            obeyed = sum(self.obey(child) for child in self.children.living)
            if not (
                self.turn() or obeyed or self.inbox._posted or (self.background._waiting and not self.background.held)
            ):
                return
        raise AssertionError("the loop does not come to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer on its time."""
        end = self.clock() + seconds
        while (due := self.supervisor._timers.queue[0].time) <= end:
            self.jump(max(0.0, due - self.clock()) + 1e-6)  # the sum of floats may fall short of `due`
            self.settle()
        self.jump(max(0.0, end - self.clock()))
        self.settle()

    def jump(self, seconds: float) -> None:
        """Time passes and nobody notices, as when the host is frozen."""
        self.clock.advance(seconds)
        self.boottime.advance(seconds)

    def tell_of_itself(self) -> None:
        """What the threads of the membership do."""
        if self.is_reached:
            self.keeper.renew(self.membership._lease)
        try:
            self.membership.go_on()
        except TakenByTwin as error:
            self.inbox.post(BecameImpossible(ExitCode.MISCONFIGURED, str(error)))
        except PartitionSupervisorError:
            pass

    # --- what etcd tells

    def look(self) -> Snapshot:
        result = self.store.transact(read_all(self.keys))
        return Snapshot(result.revision, tuple(item for found in result.answers for item in found))

    def post_changes(self) -> None:
        """What the watch tells, one change at a time, as `Eyes` does."""
        for change in self._fresh():
            self.inbox.post(ClusterChanged((change,)))

    def _fresh(self) -> list[Change]:
        fresh = [
            change
            for change in self.store._history
            if change.item.mod_revision > self._seen and change.item.key.startswith(prefixes(self.keys))
        ]
        self._seen = self.store.revision
        return fresh

    # --- other hosts

    def join(self, host: str, workers: int = 0, link: str = "") -> None:
        self.put(Put(self.keys.host(host), Host(workers, "1", 1, "", now(), link=link).encode()))

    def vanish(self, *hosts: str) -> None:
        """Their leases run out: one after the other, as in etcd. Their standbys and locks go too."""
        for host in hosts:
            self.put(Delete(self.keys.host(host)))
            for item in (*self.store.list(self.keys.standbys).items, *self.store.list(self.keys.locks).items):
                document = (Lock if item.key.startswith(self.keys.locks) else Standby).decode(item.value)
                if document.host == host:
                    self.put(Delete(item.key))

    def standby_on(self, host: str, partition: Partition) -> Elsewhere:
        """A ready standby there."""
        lease = self.store.grant(3600).lease
        made = Standby(f"{host}-{next(self._workers)}", host, 1, f"{lease:x}", now())
        self.put(Put(self.keys.standby(partition, made.worker), made.encode(), lease))
        return Elsewhere(made)

    def fall_silent(self, elsewhere: Elsewhere) -> None:
        """Nobody has renewed its lease for a while, though it has not ended yet."""
        self.store.age(elsewhere.standby.lease_id, 2 * self.config.lease_ttl)

    def owner_on(self, host: str, partition: Partition) -> Elsewhere:
        there = self.standby_on(host, partition)
        assert PartitionLock(self.store, self.keys, partition, there.standby, lambda: False).acquire()
        return there

    def confirm(self, partition: Partition, elsewhere: Elsewhere) -> None:
        """What a successor does first."""
        held = self.lock_of(partition)
        assert held is not None
        loaded = PartitionLock(self.store, self.keys, partition, elsewhere.standby, lambda: False).confirm(held[1])
        assert loaded
        self.enter(partition, elsewhere.standby, loaded)

    def park(self, partition: Partition) -> None:
        self.put(Put(self.keys.parked(partition), Parked(0, "asked for", "x", now()).encode()))

    def resume(self, partition: Partition) -> None:
        self.put(Delete(self.keys.parked(partition)))

    def is_parked(self, partition: Partition) -> bool:
        return self.store.get(self.keys.parked(partition)) is not None

    def value(self, key: str) -> bytes:
        found = self.store.get(key)
        assert found is not None, f"{key} is not there"
        return found.value

    # --- what the supervisor has in mind

    def plan_of(self, partition: Partition) -> str | None:
        """Where it should be owned."""
        return self.supervisor._planner.plan.owners.get(partition)

    def is_done(self) -> bool:
        """Whether `run` would return."""
        return self.supervisor._is_done

    def moved(self) -> list[FakeChild]:
        """Owners that were told to leave, whether or not they are still there."""
        return [child for child in self.children.started if child.is_owner and child.orders(Leave)]

    def owners_told_to_leave(self) -> list[Partition]:
        return [child.partition for child in self.moved()]

    # --- this host's workers

    def on(self, partition: Partition) -> list[FakeChild]:
        return [child for child in self.children.living if child.partition == partition]

    def owner(self, partition: Partition) -> FakeChild:
        (found,) = (child for child in self.on(partition) if child.is_owner)
        return found

    def standby(self, partition: Partition) -> FakeChild:
        (found,) = (child for child in self.on(partition) if not child.is_owner)
        return found

    def warm_up_all(self) -> None:
        """Everybody who is not ready yet, and whoever is started thereby."""
        for _ in range(100):
            new = [child for child in self.children.living if child.worker not in self._obeyed]
            if not new:
                return
            for child in new:
                self.warm_up(child)
            self.settle()
        raise AssertionError("workers are started and ended without end")

    def thaw(self) -> None:
        self.frozen.clear()
        self.settle()


MakeHost = Callable[..., FakeHost]


def running(host: FakeHost) -> FakeHost:
    """Opened, all its workers ready, and the locks taken that were free."""
    host.open()
    host.warm_up_all()
    host.advance(1.0)
    host.warm_up_all()
    return host


def owned_elsewhere(host: FakeHost, *others: str) -> FakeHost:
    """Every partition has an owner on `b`; `others` have ready standbys."""
    for name in ("b", *others):
        host.join(name)
    for partition in host.partitions:
        host.owner_on("b", partition)
        for name in others:
            host.standby_on(name, partition)
    return host


def send(host: FakeHost, number: signal.Signals) -> None:
    host.inbox.post(SignalArrived(number))
    host.settle()
