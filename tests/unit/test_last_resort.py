"""A drained host gives everything away, and stays the last resort for what nobody else can take."""

from __future__ import annotations

import pytest

from partition_supervisor.control.last_resort import AFTER
from partition_workers.etcd.store import Delete, Put
from partition_workers.layout.documents import Drain
from partition_workers.model import Partition
from tests.fakes.host import FakeHost, MakeHost, running

P = Partition("t", 0)


def drain(host: FakeHost) -> None:
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))


@pytest.mark.parametrize("others", [0, 1])
def test_what_a_drained_host_owns_has_an_owner_again_when_its_worker_dies(make_host: MakeHost, others: int) -> None:
    """Nobody else is there; or somebody is, with a place, and its worker never gets ready."""
    host = running(make_host(2))
    if others:
        host.join("b")
    drain(host)
    host.advance(2 * AFTER)
    for partition in host.partitions:
        host.exit(host.owner(partition))
    host.advance(1.0)
    host.warm_up_all()
    host.advance(1.0)
    assert [host.owner(each).partition for each in host.partitions] == host.partitions


def test_a_drained_host_that_is_started_again_serves_what_nobody_else_does(make_host: MakeHost) -> None:
    host = make_host(2)
    drain(host)
    running(host)
    assert [host.owner(each).partition for each in host.partitions] == host.partitions


def test_what_the_others_have_no_places_for_stays(make_host: MakeHost) -> None:
    """And the rest goes."""
    host = running(make_host(4))
    host.join("b", workers=3)
    drain(host)
    host.advance(10.0)
    given = [each for each in host.partitions if host.plan_of(each) == "b"]
    assert len(given) == 3
    for partition in given:
        host.standby_on("b", partition)
    host.advance(60.0)
    assert sorted(host.owners_told_to_leave()) == given
    host.warm_up_all()
    assert [child.partition for child in host.children.living] == [
        each for each in host.partitions if each not in given
    ]


def test_it_goes_as_soon_as_somebody_can_take_it(make_host: MakeHost) -> None:
    """And a worker that was started as the last resort, and owns nothing, ends."""
    host = make_host(1)
    host.join("b")
    drain(host)
    there = host.owner_on("b", P)
    running(host)
    assert not host.children.living
    host.put(Delete(host.keys.lock(P)), Delete(host.keys.standby(P, there.worker)))
    host.advance(AFTER - 0.5)
    assert not host.children.living, "the others have some time"
    host.advance(1.0)
    host.warm_up_all()
    host.advance(0.5)
    assert host.owner(P)
    host.standby_on("b", P)
    host.advance(20.0)
    assert host.owners_told_to_leave() == [P]
    host.warm_up_all()
    host.advance(2 * AFTER)
    assert not host.children.living


def test_a_parked_partition_needs_nobody(make_host: MakeHost) -> None:
    host = make_host(1)
    host.join("b")
    host.park(P)
    drain(host)
    running(host)
    host.advance(3 * AFTER)
    assert not host.children.living


def test_a_free_lock_goes_to_a_drained_host_last(make_host: MakeHost) -> None:
    """Its standbys, while it still has them, wait for those of others."""
    host = make_host(1)
    host.join("b")
    host.owner_on("b", P)
    running(host)
    (child,) = host.children.living
    host.standby_on("c", P)
    host.join("c")
    assert child.standby is not None
    assert host.supervisor._offers._successors.place_in_queue(P, child.standby) == 0
    drain(host)
    host.settle()
    assert host.supervisor._offers._successors.place_in_queue(P, child.standby) == 1
