"""Owners move to where the plan wants them, in quiet times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.control.rebalance import LANDSLIDE_REST, REPLACE_AFTER, WAIT_FOR_STARTS, QuietTime
from partition_supervisor.events import (
    ClusterListed,
)
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Drain, Lock, Move
from partition_workers.model import Partition
from partition_workers.protocol import (
    Leave,
    WasToldToLeave,
)
from tests.fakes.host import FakeHost, MakeHost, running

P, Q = Partition("t", 0), Partition("t", 1)
QUIET = 3.5


def crowded(host: FakeHost, count: int) -> FakeHost:
    """All partitions are owned here, and `b` has just come."""
    running(host)
    assert len([child for child in host.children.living if child.is_owner]) == count
    host.join("b")
    host.settle()
    return host


def test_partitions_move_after_quiet_one_at_a_time_and_only_to_ready_standbys(make_host: MakeHost) -> None:
    """The planned host first; then the next one."""
    host = crowded(make_host(8), 8)
    assert {host.plan_of(p) for p in host.partitions} == {"a"}, "nothing may move yet"
    host.advance(60.0)
    assert [host.plan_of(p) for p in host.partitions].count("b") == 4
    assert not host.owners_told_to_leave()
    ready = [p for p in host.partitions if host.plan_of(p) == "b"][:3]
    for partition in ready:
        host.standby_on("b", partition)
    host.freeze(*host.children.living)
    host.advance(1.0)
    assert len(host.owners_told_to_leave()) == 1
    host.advance(10.0)
    assert len(host.owners_told_to_leave()) == 1
    host.thaw()
    host.advance(len(ready) * (WAIT_FOR_STARTS + 1.0))
    assert sorted(host.owners_told_to_leave()) == ready


@pytest.mark.parametrize("late", ["a", "b"])
def test_a_move_waits_for_workers_that_are_starting_but_not_for_ever(make_host: MakeHost, late: str) -> None:
    """They want the processor; but perhaps one of them can never start."""
    host = crowded(make_host(4), 4)
    host.advance(QUIET)
    theirs = [p for p in host.partitions if host.plan_of(p) == "b"]
    assert len(theirs) == 2
    if late == "a":
        host.exit(host.on(theirs[1])[0])
        host.settle()
    for partition in host.partitions if late == "a" else theirs[:1]:
        host.standby_on("b", partition)
    host.settle()
    host.advance(1.0)
    assert not host.owners_told_to_leave()
    host.advance(WAIT_FOR_STARTS)
    assert theirs[0] in host.owners_told_to_leave()
    assert all(child.orders(Leave)[-1].successors[0].host == "b" for child in host.moved())


def test_while_nothing_may_move_standbys_wait_beside_the_owners_that_are(make_host: MakeHost) -> None:
    """Places of owners that are to leave are not free yet: whoever is to wait there would wait for them."""
    host = make_host(6, workers=4)
    host.join("b", 4)
    host.join("c", 4)
    for partition in host.partitions[:4]:
        host.owner_on("b", partition)
    for partition in host.partitions[4:]:
        host.owner_on("c", partition)
    running(host)
    planner = host.supervisor._planner
    assert len(planner.plan.standbys) == 6
    assert all("b" not in standbys for standbys in planner.plan.standbys.values()), "it is full"
    host.advance(QUIET)
    assert any("b" in standbys for standbys in planner.plan.standbys.values())


def test_nothing_moves_before_the_membership_has_been_quiet(make_host: MakeHost) -> None:
    """Each change of it begins the wait anew; failover does not wait."""
    host = crowded(make_host(4), 4)
    for partition in host.partitions:
        host.standby_on("b", partition)
    for name in "cdef":
        host.advance(host.config.rebalance_delay - 0.5)
        assert not host.owners_told_to_leave()
        host.join(name)
        host.settle()
    host.exit(host.owner(P))
    host.settle()
    assert Lock.decode(host.value(host.keys.lock(P))).host == "b"
    host.vanish(*"cdef")
    host.settle()
    host.advance(60.0 + QUIET)  # so many at once are a landslide
    assert host.owners_told_to_leave()


@pytest.mark.parametrize("how", ["in one listing", "one by one"])
def test_after_a_landslide_nothing_moves_for_a_minute_and_failover_goes_on(make_host: MakeHost, how: str) -> None:
    """When most hosts vanish together, whether one listing shows it or the watch tells it one after the other."""
    host = make_host(4)
    for name in "bcde":
        host.join(name)
    running(host)
    assert not host.owners_told_to_leave()
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    host.watching = how == "one by one"
    host.vanish(*"cde")
    if how == "in one listing":
        host.inbox.post(ClusterListed(host.look()))
    host.settle()
    host.watching = True
    host.advance(LANDSLIDE_REST - 5)
    assert not host.owners_told_to_leave()
    dead = host.owner(P)
    host.exit(dead)
    host.settle()
    assert Lock.decode(host.value(host.keys.lock(P))).host == "b"
    host.advance(10)
    assert host.owners_told_to_leave()


def test_two_hosts_that_are_drained_together_are_no_landslide(make_host: MakeHost) -> None:
    """Somebody wants them empty, now."""
    host = make_host(2)
    for name in "bc":
        host.join(name)
    running(host)
    owned = [child.partition for child in host.children.living if child.is_owner]
    assert owned
    for partition in owned:
        host.standby_on("b", partition)
    host.settle()
    host.watching = False
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))
    host.put(Put(host.keys.drain("c"), Drain("now").encode()))
    host.inbox.post(ClusterListed(host.look()))
    host.settle()
    host.watching = True
    host.advance(QUIET + 2.0)
    assert sorted(host.owners_told_to_leave()) == sorted(owned)


def test_a_partition_that_somebody_moves_goes_there_and_stays(make_host: MakeHost) -> None:
    """Whatever the balance says."""
    host = make_host(2)
    host.join("b")
    host.owner_on("b", Q)
    running(host)
    host.advance(QUIET)
    assert host.owner(P)
    host.put(Put(host.keys.move(P), Move("b", "now").encode()))
    host.standby_on("b", P)
    host.advance(1.0)
    assert Lock.decode(host.value(host.keys.lock(P))).host == "b"


def test_an_exchange_of_partitions_takes_no_more_than_one_place_beyond_the_hosts(make_host: MakeHost) -> None:
    """Four partitions change sides between two full hosts: one after the other, for places are memory."""
    host = make_host(4, workers=2)
    host.join("b", 2)
    theirs = host.partitions[2:]
    for partition in theirs:
        host.owner_on("b", partition)
    running(host)
    for partition in host.partitions:
        to = "a" if partition in theirs else "b"
        host.put(Put(host.keys.move(partition), Move(to, "now").encode()))
    host.settle()
    assert len(host.children.living) <= 3


def test_the_replacement_of_an_owner_that_leaves_lets_its_successor_go_first(make_host: MakeHost) -> None:
    """To start a process is work, and somebody waits for the next record."""
    host = make_host()
    host.join("b")
    running(host)
    successor = host.standby_on("b", P)
    host.settle()
    started = len(host.children.started)
    host.report(host.owner(P), WasToldToLeave())
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == successor.worker
    assert len(host.children.started) == started
    host.confirm(P, successor)
    host.advance(REPLACE_AFTER)
    assert len(host.children.started) == started + 1


def test_the_replacement_of_an_owner_that_nobody_can_follow_starts_at_once(make_host: MakeHost) -> None:
    """It is what everybody waits for."""
    host = running(make_host(1, workers=1))
    old = host.owner(P)
    host.report(old, WasToldToLeave())
    host.settle()
    assert host.children.started[-1] is not old


# --- when owners may move: nothing but what was seen, and the time

DELAY = 3.0
LOOKS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 9)), max_size=20)


@given(LOOKS, st.floats(0.0, 10 * LANDSLIDE_REST), st.integers(3, 9), st.data())
def test_a_landslide_is_seen_whenever_it_comes(
    looks: list[tuple[float, int]], calm: float, before: int, data: st.DataObject
) -> None:
    """After seconds of calm, or after hours: how often somebody looked meanwhile makes no difference."""
    now, quiet = 0.0, QuietTime(DELAY, 0.0)
    for later, present in [*looks, (LANDSLIDE_REST, before)]:
        now += later
        quiet.see({"a": 1}, present, now)
    for _ in range(data.draw(st.integers(0, 3), "looks while it is calm")):
        now += calm / 3
        quiet.see({"a": 1}, before, now)
    now += calm
    after = data.draw(st.integers(0, (before - 1) // 2), "hosts that are left")
    quiet.see({"a": 1}, after, now)
    assert not quiet.has_come(now + LANDSLIDE_REST - 0.01)
    assert quiet.has_come(now + LANDSLIDE_REST + 0.01)


@given(st.integers(1, 9), st.floats(LANDSLIDE_REST, 1e5))
def test_hosts_that_leave_far_apart_are_no_landslide(present: int, apart: float) -> None:
    """One a minute is not most of them together."""
    now, quiet = 0.0, QuietTime(DELAY, 0.0)
    for left in range(present, 0, -1):
        quiet.see({"a": 1}, left, now)
        now += apart
    assert quiet.has_come(now)


def test_each_change_of_hosts_begins_the_wait_anew() -> None:
    """A host that has other places is a change, too; one that is seen again is none."""
    quiet = QuietTime(DELAY, 0.0)
    assert quiet.see({"a": 1}, 1, 0.0)
    assert not quiet.see({"a": 1}, 1, 2.0)
    assert quiet.has_come(DELAY)
    assert quiet.see({"a": 2}, 1, 5.0)
    assert not quiet.has_come(5.0 + DELAY - 0.1)
    assert quiet.has_come(5.0 + DELAY)
