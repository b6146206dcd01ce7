"""What workers are told about a lock that is free, theirs, or parked."""

from __future__ import annotations

import pytest

from partition_supervisor.control.lock_offers import QUEUE_STEP
from partition_supervisor.events import (
    ClusterListed,
)
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Lock, now
from partition_workers.model import Partition
from partition_workers.protocol import (
    BecomeOwner,
    Compete,
    Leave,
    LoadsState,
    TookLock,
)
from tests.fakes.children import FakeChild
from tests.fakes.host import MakeHost, owned_elsewhere, running

P, Q = Partition("t", 0), Partition("t", 1)


def test_a_ready_standby_of_a_free_partition_is_told_to_compete(make_host: MakeHost) -> None:
    """And not before it is ready."""
    host = make_host().open()
    (child,) = host.children.living
    assert not child.told
    host.freeze(child)
    host.warm_up(child)
    host.settle()
    assert {type(order) for order in child.told} == {Compete}


def test_the_planned_host_competes_at_once_and_the_others_later(make_host: MakeHost) -> None:
    """Each by its place in the queue, so that a crowd does not ask at one instant."""
    host = make_host(2)
    host.join("b")
    host.open()
    for child in host.children.living:
        host.freeze(child)
        host.standby_on("b", child.partition)
        host.warm_up(child)
    host.settle()
    host.inbox.post(ClusterListed(host.look()))
    host.settle()
    delays = {host.plan_of(child.partition): child.orders(Compete)[-1].delay for child in host.children.living}
    assert delays["a"] == 0.0
    assert QUEUE_STEP <= delays["b"] <= 1.3 * QUEUE_STEP


def test_a_standby_is_told_that_the_lock_is_its_own_under_its_token(make_host: MakeHost) -> None:
    """Whoever named it, and once only; and where the owner before it has ended."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.freeze(child)
    assert child.standby is not None
    token = host.put(Put(host.keys.lock(P), lock_for(child), child.settings.lease))
    host.settle()
    host.inbox.post(ClusterListed(host.look()))
    host.settle()
    assert [(order.token, order.offset) for order in child.orders(BecomeOwner)] == [(token, 17)]


def lock_for(child: FakeChild) -> bytes:
    return Lock(child.worker, "a", child.pid, f"{child.settings.lease:x}", "handed-over", now(), offset=17).encode()


def test_a_listing_older_than_what_the_watch_told_is_ignored(make_host: MakeHost) -> None:
    """A standby is not told to compete for a lock that was free in the past."""
    host = make_host()
    host.join("b")
    host.open()
    old = host.look()
    host.owner_on("b", P)
    host.settle()
    host.warm_up_all()
    (child,) = host.on(P)
    host.inbox.post(ClusterListed(old))
    host.settle()
    assert not child.orders(Compete)
    assert host.cluster.locks[P].lock.host == "b"


def test_what_the_watch_lost_a_listing_finds(make_host: MakeHost) -> None:
    """A watch is a hint; the reading every few seconds finds the same."""
    host = running(owned_elsewhere(make_host()))
    host.watching = False
    host.vanish("b")
    host.settle()
    assert not host.standby(P).orders(Compete)
    host.inbox.post(ClusterListed(host.look()))
    host.settle()
    assert host.owner(P)


def test_the_owner_of_a_parked_partition_is_told_to_leave_and_nobody_competes(make_host: MakeHost) -> None:
    """Until it is resumed: then the standby competes."""
    host = running(make_host())
    child = host.owner(P)
    host.park(P)
    host.settle()
    assert child.orders(Leave) == [Leave(())]
    host.warm_up_all()
    host.advance(60.0)
    assert host.lock_of(P) is None
    standby = host.standby(P)
    assert not standby.orders(Compete)
    host.resume(P)
    host.settle()
    assert standby.orders(Compete)
    assert host.owner(P) is standby


@pytest.mark.parametrize("places", [2, 3, 4])
def test_while_a_partition_is_parked_workers_do_not_come_and_go(make_host: MakeHost, places: int) -> None:
    """Its standby waits, and nobody is started any more."""
    host = running(make_host(2, workers=places))
    host.park(Q)
    host.settle()
    for _ in range(5):
        host.advance(1.0)
        host.warm_up_all()
    started = len(host.children.started)
    host.advance(60.0)
    host.warm_up_all()
    assert len(host.children.started) == started
    assert len(host.children.living) == places
    assert host.owner(P)


@pytest.mark.parametrize("first", ["it says that it loads", "it is parked"])
def test_a_worker_that_loads_its_state_can_be_told_to_leave(make_host: MakeHost, first: str) -> None:
    """As an owner can, once, and it is one until it ends: whoever it hands over to is asked about its deaths."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.freeze(child)
    token = host.put(Put(host.keys.lock(P), lock_for(child), child.settings.lease))
    host.settle()
    if first == "it is parked":
        host.park(P)
        host.settle()
        assert not child.orders(Leave), "it may yet miss the lock"
    host.report(child, LoadsState(token, 2))
    host.settle()
    if first != "it is parked":
        assert not child.orders(Leave)
        host.park(P)
        host.settle()
    assert [order.successors for order in child.orders(Leave)] == [()]
    assert (child.is_owner, child.is_leaving, child.token, child.deaths) == (True, True, token, 2)
    assert not child.orders(Compete)
    host.report(child, TookLock(token, 0, 2))
    host.settle()
    assert len(child.orders(Leave)) == 1
    assert child.is_owner


def test_whoever_named_a_worker_that_loads_does_not_name_it_again(make_host: MakeHost) -> None:
    """It is told of its lock once, however often etcd shows it."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.freeze(child)
    token = host.put(Put(host.keys.lock(P), lock_for(child), child.settings.lease))
    host.settle()
    host.report(child, LoadsState(token, 0))
    host.inbox.post(ClusterListed(host.look()))
    host.settle()
    assert len(child.orders(BecomeOwner)) == 1
