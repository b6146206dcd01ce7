"""Somebody dies while a partition is handed over: before, during and after the one transaction that does it.

One cluster for all: two hosts whose leases never end by themselves here, so nothing may have to wait for that. Each
case orders one partition to the other host, stops the hand-over at one moment, does the harm, and lets it go on:

    before      the owner was told to leave, with a record in hand; nothing was sent
    during      the transaction was sent and has not reached etcd; it does later, whoever has died meanwhile
    unanswered  it has landed, and the owner does not know yet
    after       it has landed, the owner knows, and the successor has not confirmed

Then the partition goes on, no record is lost, doubled or out of order, and the move is carried out in the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count, pairwise
from pathlib import Path

import psutil
import pytest

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev.demo.checking import expected_sum
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from partition_workers.etcd.options import address, parse_endpoints
from partition_workers.layout.documents import Ending, History, Lock, Standby
from partition_workers.model import Partition
from tests.eventually import eventually
from tests.fakes.wire import Wire

pytestmark = pytest.mark.timeout(120)

PARTITIONS = 4
A, B = "host-a", "host-b"
#: Seconds. Longer than any case may take: nobody is saved by a lease that ends.
LEASE = 60
#: Within so many seconds the partition must go on.
SOON = 8.0


class Stage:
    """The cluster, and the places where every partition belongs."""

    def __init__(self, services: Services, gates: Path) -> None:
        topic = f"test-{secrets.token_hex(4)}"
        create_topic(services.bootstrap_servers, topic, PARTITIONS)
        self.gates = gates
        self.wire = Wire(address(parse_endpoints(services.etcd_endpoints)[0]))
        self.cluster = DemoCluster(
            services.bootstrap_servers, self.wire.address, topic, PARTITIONS, (A, B), rate=800.0,
            options=("--rebalance-delay", "0.3", "--lease-ttl", str(LEASE)),
            handler="tests.handlers.gated:Gated", environment={"GATES": str(gates)},
        )  # fmt: skip
        self.judge = self.cluster.judge
        self.orders = Orders(RetryingStore(self.cluster.store, 10.0, self.wire.address), self.cluster.keys)
        self.places = {each: (A, B)[each.number % 2] for each in self.judge.partitions}
        self.turn = count()

    def open(self) -> None:
        self.cluster.start()
        self.cluster.load.start()
        for partition, host in self.places.items():
            self.orders.move(partition, host)
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Every host runs, every partition is where it belongs and has a standby on the other host."""
        for host in self.cluster.hosts.values():
            if not host.is_running:
                self._bring_back(host)
        eventually("everything is in its place", self.is_at_rest, deadline=20.0)

    def _bring_back(self, host: Host) -> None:
        eventually(f"nothing of {host.name} is left", lambda: not host.processes())
        self.let_time_pass_for(host.name)
        host.start()

    def let_time_pass_for(self, host: str) -> None:
        """End the leases that a dead host left behind, as if their time were over."""
        keys, store = self.cluster.keys, self.cluster.store
        for item in (each for prefix in (keys.locks, keys.standbys) for each in store.list(prefix).items):
            if Standby.decode(item.value).host == host:
                store.revoke(item.lease)
        if membership := store.get(keys.host(host)):
            store.revoke(membership.lease)

    def is_at_rest(self) -> bool:
        owners = {partition: lock.host for partition, lock in self.judge.owners().items()}
        entered = {partition: [each.token for each in self.judge.history(partition)] for partition in owners}
        confirmed = all(token in entered.get(partition, ()) for partition, token in self.judge.tokens().items())
        keys = self.cluster.keys
        standbys = [
            (keys.partition_of(each.key), Standby.decode(each.value).host)
            for each in self.cluster.store.list(keys.standbys).items
        ]
        others = sorted((partition, B if host == A else A) for partition, host in self.places.items())
        return owners == self.places and confirmed and sorted(standbys) == others

    def successor(self, partition: Partition) -> Standby:
        (found,) = self.cluster.store.list(self.cluster.keys.standby(partition, "")).items
        return Standby.decode(found.value)

    def logged(self) -> dict[str, str]:
        return {name: host.log.read_text(errors="replace") for name, host in self.cluster.hosts.items()}

    def close(self) -> None:
        try:
            self.cluster.close()
        finally:
            self.wire.close()


class HandOver:
    """One partition on its way from its owner to the successor."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.cluster, self.judge = stage, stage.cluster, stage.judge
        self.partition = self.judge.partitions[next(stage.turn) % PARTITIONS]
        self.owner: Lock = self.judge.owners()[self.partition]
        self.tokens = self.judge.tokens()
        self.token = self.tokens[self.partition]
        self.successor = stage.successor(self.partition)
        self.is_known = True  # to the owner, that it has handed over
        self._shut, self._lingers = (stage.gates / f"{self.partition.number}.{word}" for word in ("shut", "lingers"))
        self._waits, self._told = (stage.gates / f"{self.owner.pid}.{word}" for word in ("waits", "told"))

    def order(self) -> None:
        self.stage.places[self.partition] = self.successor.host
        self.stage.orders.move(self.partition, self.successor.host)

    # --- moments

    @contextmanager
    def before(self) -> Iterator[None]:
        self._shut.touch()
        try:
            eventually("the owner has a record in hand", self._waits.exists)
            self.order()
            eventually("the owner was told to leave", self._told.exists)
            assert self.judge.tokens()[self.partition] == self.token
            yield
        finally:
            self._shut.unlink()

    @contextmanager
    def during(self) -> Iterator[None]:
        with self.stage.wire.hold(self._hand_over) as hold:
            self.order()
            eventually("the transaction is on its way", lambda: hold.has_happened)
            assert self.judge.tokens()[self.partition] == self.token
            yield

    @contextmanager
    def unanswered(self) -> Iterator[None]:
        with self.stage.wire.hold(self._hand_over, answers=True):
            self.is_known = False
            self.order()
            eventually("the transaction has landed", lambda: self.has_lock(self.successor.worker))
            yield

    @contextmanager
    def after(self) -> Iterator[None]:
        self._lingers.touch()
        try:
            with self.stage.wire.hold(self._confirmation) as hold:
                self.order()
                eventually("the successor confirms", lambda: hold.has_happened)
                eventually("the owner takes its leave", self._told.exists)
                assert self.has_lock(self.successor.worker)
                yield
                self._lingers.unlink()
        finally:
            self._lingers.unlink(missing_ok=True)

    @property
    def _hand_over(self) -> re.Pattern[bytes]:
        """The end of an ownership, and the lock for the successor. An impatient supervisor writes only the lock."""
        lock = rb'"worker":"%b"[^{}]*"cause":"handed-over"' % self.successor.worker.encode()
        return re.compile(rb'"ending":"handed-over".{0,500}' + lock, re.DOTALL)

    @property
    def _confirmation(self) -> re.Pattern[bytes]:
        """A transaction that writes history and removes the standby."""
        path = f"{self.partition.topic}/{self.partition.number:05d}/"
        words = rf"/history/{path}\d{{20}}.*/standbys/{path}{self.successor.worker}"
        return re.compile(words.encode(), re.DOTALL)

    # --- harm

    def kill_the_owner(self) -> None:
        self._kill(self.owner.pid)

    def kill_the_successor(self) -> None:
        self._kill(self.successor.pid)
        eventually("the successor's lease is gone", lambda: not self.has_lease(self.successor))

    def kill_the_owners_supervisor(self) -> None:
        self.cluster.hosts[self.owner.host].kill_supervisor()

    def kill_the_successors_supervisor(self) -> None:
        """The successor notices, and ends."""
        self.cluster.hosts[self.successor.host].kill_supervisor()
        eventually("the successor is gone", lambda: not is_alive(self.successor.pid))

    def kill_the_successors_host(self) -> None:
        """All at once: the successor's lease stays, and nobody is left to end it.

        If it had entered, that is the death of any owner's host. If not, whoever named it names another, once it
        knows that it has.
        """
        host = self.cluster.hosts[self.successor.host]
        host.kill()
        if not self.is_known or self.judge.history(self.partition)[-1].worker == self.successor.worker:
            self.stage.let_time_pass_for(host.name)
        elif self.has_lock(self.successor.worker):
            eventually("another is named", lambda: not self.has_lock(self.successor.worker))

    def end_the_successors_lease(self) -> None:
        self.cluster.store.revoke(self.successor.lease_id)

    def _kill(self, pid: int) -> None:
        assert is_alive(pid)
        os.kill(pid, signal.SIGKILL)
        eventually(f"{pid} is gone", lambda: not is_alive(pid))

    def has_lease(self, standby: Standby) -> bool:
        return any(
            each.lease == standby.lease_id
            for prefix in (self.cluster.keys.standbys, self.cluster.keys.locks)
            for each in self.cluster.store.list(prefix).items
        )

    # --- what became of it

    def has_lock(self, worker: str) -> bool:
        lock = self.judge.owners().get(self.partition)
        return lock is not None and lock.worker == worker

    def goes_on(self) -> bool:
        """Somebody alive owns it, under a new token, and commits."""
        stored, owner = self.judge.offset(self.partition), self.judge.owners().get(self.partition)
        return owner is not None and is_alive(owner.pid) and stored.token > self.token

    def assert_no_record_was_lost(self) -> None:
        """The handler's account of each partition, at whatever offset it is."""
        for partition in self.judge.partitions:
            state = self.judge.state(partition)
            assert (state.get("lost", 0), state.get("doubled", 0)) == (0, 0), (partition, state)
            assert state["count"] == state["next"], (partition, state)
            assert state["sum"] == expected_sum(state["next"]), (partition, state)

    def finished_history(self) -> list[History]:
        """From the owner on; empty while somebody's end is missing."""
        records = [each for each in self.judge.history(self.partition) if each.token >= self.token]
        return records if len(records) > 1 and all(each.ending for each in records[:-1]) else []

    def assert_history_has_no_gap(self) -> None:
        """Every ownership ended where the next began. Who did not take the lock never was an owner."""
        told = eventually("who died is told of by its successor", self.finished_history)
        records = [each for each in told if each.ending != Ending.NOT_TAKEN]
        for before, after in pairwise(records):
            began = after.to_offset if after.from_offset is None else after.from_offset  # None: it died before
            assert before.to_offset == began, (before, after)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="module")
def theatre(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all cases, and at its end what is stored is compared with what was produced."""
    stage = Stage(services, tmp_path_factory.mktemp("gates"))
    try:
        stage.open()
        yield stage
        stage.come_to_rest()
        bad = [verdict for verdict in stage.cluster.finish() if not verdict.is_good]
        assert not bad, bad
    finally:
        stage.close()


@pytest.fixture
def stage(theatre: Stage) -> Iterator[Stage]:
    """At rest at the beginning; what was logged since is shown if the case fails."""
    theatre.come_to_rest()
    before = theatre.logged()
    yield theatre
    for name, text in theatre.logged().items():
        print(f"--- {name}\n{text.removeprefix(before[name])}")


MOMENTS: dict[str, Callable[[HandOver], AbstractContextManager[None]]] = {
    "before": HandOver.before,
    "during": HandOver.during,
    "unanswered": HandOver.unanswered,
    "after": HandOver.after,
}
HARMS: dict[str, Callable[[HandOver], None]] = {
    "owner": HandOver.kill_the_owner,
    "successor": HandOver.kill_the_successor,
    "owners-supervisor": HandOver.kill_the_owners_supervisor,
    "successors-supervisor": HandOver.kill_the_successors_supervisor,
    "successors-host": HandOver.kill_the_successors_host,
    "successors-lease": HandOver.end_the_successors_lease,
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("harm", HARMS)
def test_a_fault_in_the_middle_of_a_hand_over(stage: Stage, harm: str, moment: str) -> None:
    """The partition goes on soon, everything is counted once, and the move is carried out in the end."""
    hand_over = HandOver(stage)

    with MOMENTS[moment](hand_over):
        HARMS[harm](hand_over)

    eventually("the partition goes on", hand_over.goes_on, deadline=SOON)
    hand_over.assert_no_record_was_lost()
    stage.come_to_rest()
    assert stage.judge.owners()[hand_over.partition].host == hand_over.successor.host
    hand_over.assert_history_has_no_gap()
    hand_over.assert_no_record_was_lost()
    if not harm.endswith(("supervisor", "host")):
        changed = {p for p, token in stage.judge.tokens().items() if token != hand_over.tokens[p]}
        assert changed == {hand_over.partition}, "the other partitions were not touched"
