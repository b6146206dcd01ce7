"""A dead worker's lock, or a dead host's, goes to a successor; one that does not confirm is passed over."""

from __future__ import annotations

import pytest

from partition_supervisor.control.failover import CONFIRM_WITHIN
from partition_supervisor.control.lock_offers import QUEUE_STEP
from partition_supervisor.control.rebalance import REPLACE_AFTER
from partition_supervisor.events import (
    HostAnswered,
    HostRefused,
)
from partition_supervisor.suspicion import FirstWitness, Suspicion
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Cause, Lock, StoredOffset, now
from partition_workers.model import Partition
from partition_workers.protocol import (
    Compete,
    HandedOver,
    MadeProgress,
    WasToldToLeave,
)
from tests.fakes.host import FakeHost, MakeHost, running

P, Q = Partition("t", 0), Partition("t", 1)


def test_a_dead_owners_lock_goes_to_the_standby_on_the_least_burdened_host(make_host: MakeHost) -> None:
    """And only then a replacement is started."""
    host = make_host(2)
    for name in ("b", "c"):
        host.join(name)
    host.owner_on("b", Q)
    host.standby_on("b", P)
    successor = host.standby_on("c", P)
    running(host)
    dead, known = host.owner(P), len(host.children.started)
    host.background.held = True
    host.exit(dead)
    host.settle()
    assert len(host.children.started) == known
    assert host.lock_of(P) != (successor.worker, 0)
    host.background.do_one()
    assert (host.lock_of(P) or ("",))[0] == successor.worker
    assert len(host.children.started) == known
    host.background.held = False
    host.settle()
    assert [child.partition for child in host.children.started[known:]] == [P]


def dies(host: FakeHost, name: str, link: str = "here:1") -> None:
    host.inbox.post(HostRefused(Suspicion(name, link, FirstWitness(True, 0.01, 1, 0))))
    host.settle()


def test_what_a_dead_host_owned_goes_to_our_standby_at_once(make_host: MakeHost) -> None:
    """Its leases have not ended, and its own standbys are dead too."""
    host = make_host(2)
    host.join("b", link="here:1")
    for partition in (P, Q):
        host.owner_on("b", partition)
        host.standby_on("b", partition)
    running(host)
    dies(host, "b")
    for partition in (P, Q):
        lock = Lock.decode(host.value(host.keys.lock(partition)))
        assert (lock.worker, lock.cause) == (host.owner(partition).worker, "taken-over")
        assert lock.exit_seen


def test_a_dead_hosts_partition_is_left_to_who_should_have_it_for_a_moment(make_host: MakeHost) -> None:
    """Every host knows, and not all of them should ask at one instant; but it is not left to chance."""
    host = make_host(3)
    host.join("b", link="here:1")
    host.join("c")
    host.owner_on("b", P)
    successor = host.standby_on("c", P)
    for other in host.partitions[1:]:
        host.confirm(other, host.owner_on("a", other))  # as if we had enough of our own
    running(host)
    dead = host.value(host.keys.lock(P))
    dies(host, "b")
    assert host.plan_of(P) == "c"
    assert host.value(host.keys.lock(P)) == dead
    host.advance(QUEUE_STEP)
    assert (host.lock_of(P) or ("",))[0] == successor.worker


def test_a_dead_host_without_successors_keeps_its_locks_until_somebody_is_ready(make_host: MakeHost) -> None:
    """It may be alive after all, and nobody would gain."""
    host = make_host()
    host.join("b", link="here:1")
    host.owner_on("b", P)
    host.open()
    held = host.lock_of(P)
    dies(host, "b")
    host.advance(1.0)
    assert host.lock_of(P) == held
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P)


def test_a_dead_hosts_standbys_are_nobodys_successors(make_host: MakeHost) -> None:
    """Until it is reached again. Back under another link, it has other standbys."""
    host = make_host(5)
    host.join("b", link="here:1")
    running(host)
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    dies(host, "b", link="an earlier life")
    dies(host, "c")
    first, second, third, fourth, fifth = host.partitions

    def successor_of_a_death(partition: Partition) -> str | None:
        host.exit(host.owner(partition))
        host.settle()
        held = host.lock_of(partition)
        return Lock.decode(host.value(host.keys.lock(partition))).host if held else None

    assert successor_of_a_death(first) == "b"
    dies(host, "b")
    assert successor_of_a_death(second) != "b"
    host.inbox.post(HostAnswered("b", "here:1"))
    host.settle()
    assert successor_of_a_death(third) == "b"
    host.cluster.presume_dead("b", "here:1")
    host.join("b", link="here:2")
    host.settle()
    assert successor_of_a_death(fourth) != "b"
    host.standby_on("b", fifth)
    host.settle()
    assert successor_of_a_death(fifth) == "b"


@pytest.mark.parametrize(("written", "deaths"), [(None, 3), (3, 3), (1, 1)])
def test_deaths_are_counted_from_host_to_host(make_host: MakeHost, written: int | None, deaths: int) -> None:
    """A record may end a whole container. What an owner's entrance says counts until it got on; and if that never
    landed, what it was told when it began."""
    host = make_host()
    host.join("b", link="here:1")
    there = host.standby_on("b", P).standby
    token = host.put(Put(host.keys.lock(P), Lock.naming(there, Cause.TAKEN_OVER, now(), 2).encode(), there.lease_id))
    if written is not None:
        host.put(Put(host.keys.offset(P), StoredOffset(5, token, 1, "id", now(), written).encode()))
    running(host)
    dies(host, "b")
    assert Lock.decode(host.value(host.keys.lock(P))).deaths == deaths


def test_a_dead_worker_without_a_successor_leaves_a_free_lock(make_host: MakeHost) -> None:
    """And its lease, with the standby key, does not outlive it."""
    host = running(make_host())
    dead = host.owner(P)
    host.exit(dead)
    host.settle()
    assert host.lock_of(P) is None
    assert host.store.renew(dead.settings.lease).ttl == 0
    host.warm_up_all()
    assert host.owner(P) is not dead


def test_deaths_without_a_commit_are_counted_from_owner_to_owner(make_host: MakeHost) -> None:
    """So that the next one is careful."""
    host = running(make_host())
    for deaths in (1, 2, 3):
        host.exit(host.owner(P), -11)
        host.advance(1.0)
        host.warm_up_all()
        assert host.owner(P).orders(Compete)[-1].deaths == deaths
    child = host.owner(P)
    host.report(child, MadeProgress(5, 5))
    host.exit(child, -11)
    host.settle()
    host.warm_up_all()
    assert host.owner(P).orders(Compete)[-1].deaths == 1


def test_a_standbys_death_does_not_forget_those_of_the_owners(make_host: MakeHost) -> None:
    """A record that ended an owner is still there when a standby was killed meanwhile."""
    host = running(make_host())
    host.exit(host.owner(P), -11)
    host.settle()
    (warming,) = host.on(P)
    host.exit(warming, -9)
    host.advance(1.0)
    host.warm_up_all()
    assert host.owner(P).orders(Compete)[-1].deaths == 1


def test_a_successor_elsewhere_that_does_not_enter_and_is_late_with_its_lease_is_passed_over(
    make_host: MakeHost,
) -> None:
    """After half a second, in favour of the next."""
    host = make_host()
    host.join("b")
    host.join("c")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == named.worker
    other = host.standby_on("c", P)
    host.fall_silent(named)
    host.advance(CONFIRM_WITHIN - 0.1)
    assert (host.lock_of(P) or ("",))[0] == named.worker
    host.advance(0.2)
    assert (host.lock_of(P) or ("",))[0] == other.worker


def test_a_successor_elsewhere_that_is_alive_is_not_passed_over_however_slow_it_is(make_host: MakeHost) -> None:
    """Its lease is being renewed. To give the lock to the next one and the next one helps nobody, when a machine or
    the way to etcd is slow."""
    host = make_host()
    host.join("b")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    given = host.lock_of(P)
    host.standby_on("c", P)
    host.advance(20 * host.config.lease_ttl)
    assert host.lock_of(P) == given
    host.fall_silent(named)
    host.advance(host.config.lease_ttl)
    assert host.lock_of(P) != given


def test_a_successor_here_is_passed_over_once_it_does_not_answer_and_not_before(make_host: MakeHost) -> None:
    """Whether it is alive is known here better than anywhere."""
    host = running(make_host(workers=2))
    child = host.standby(P)
    host.freeze(child)
    host.exit(host.owner(P))
    host.settle()
    given = host.lock_of(P)
    assert given is not None
    assert given[0] == child.worker
    other = host.standby_on("c", P)
    host.store.age(child.settings.lease, host.config.lease_ttl - 1)  # etcd is slow with the renewals, too
    for _ in range(100):
        host.answer_pings(child)
        host.advance(0.5)
    assert host.lock_of(P) == given
    host.advance(3 * host.config.lease_ttl)
    assert (host.lock_of(P) or ("",))[0] == other.worker


def test_patience_doubles_up_to_the_leases_time(make_host: MakeHost) -> None:
    """And whoever is named next gets as much: everybody would lose the lock before it could begin, for ever."""
    host = make_host(lease_ttl=5)
    for name in "bcdefg":
        host.join(name)
    running(host)
    standbys = [host.standby_on(name, P) for name in "bcdefg"]
    host.settle()
    for each in standbys:
        host.fall_silent(each)
    host.exit(host.owner(P))
    host.settle()
    changes: list[float] = []
    begun, seen = host.clock(), host.lock_of(P)
    while len(changes) < 5 and host.clock() - begun < 60:
        host.advance(0.1)
        if host.lock_of(P) != seen:
            changes.append(host.clock() - begun)
            seen = host.lock_of(P)
    assert changes == pytest.approx([0.5, 1.5, 3.5, 7.5, 12.5], abs=0.2)


def test_a_successor_that_has_confirmed_is_not_passed_over(make_host: MakeHost) -> None:
    """However many others wait."""
    host = make_host()
    host.join("b")
    host.join("c")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    host.confirm(P, named)
    before = host.lock_of(P)
    host.standby_on("c", P)
    host.advance(10 * CONFIRM_WITHIN)
    assert host.lock_of(P) == before


@pytest.mark.parametrize("watching", [True, False])
def test_a_successor_that_does_not_confirm_is_passed_over_when_somebody_is_ready(
    make_host: MakeHost, watching: bool
) -> None:
    """However long after it was named: nobody else was there at first. The watch may not have told of it yet."""
    host = make_host()
    host.join("b")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    host.watching = watching
    host.exit(host.owner(P))
    host.settle()
    given = host.lock_of(P)
    assert given is not None
    assert given[0] == named.worker
    host.advance(3 * CONFIRM_WITHIN)
    assert host.lock_of(P) == given, "nobody else was there, and the same one is not named again"
    host.watching = True
    host.warm_up_all()
    host.fall_silent(named)
    host.advance(4 * CONFIRM_WITHIN)
    assert host.owner(P)


def test_a_hand_over_by_an_owner_is_watched_in_the_same_way(make_host: MakeHost) -> None:
    """Somebody killed it gently, and its successor is dead."""
    host = make_host()
    host.join("b")
    running(host)
    dead = host.standby_on("b", P)
    host.settle()
    host.report(host.owner(P), WasToldToLeave())
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == dead.worker
    host.fall_silent(dead)
    host.advance(REPLACE_AFTER)
    host.warm_up_all()
    host.advance(2 * CONFIRM_WITHIN)
    assert host.owner(P)


def test_a_hand_over_to_a_host_that_is_known_to_be_dead_is_mended_at_once(make_host: MakeHost) -> None:
    """The owner was told of its standby a moment before. A lease that lives on for a while is no sign of life."""
    host = make_host()
    host.join("b", link="here:1")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    leaving = host.owner(P)
    dies(host, "b")
    token = host.put(Put(host.keys.lock(P), Lock.naming(named.standby, Cause.HANDED_OVER, offset=5).encode()))
    host.report(leaving, HandedOver(named.standby, token, 5))
    host.exit(leaving, ExitCode.OK)
    host.settle()
    host.warm_up_all()
    assert (host.lock_of(P) or ("",))[0] == named.worker
    host.advance(CONFIRM_WITHIN + 0.1)
    host.warm_up_all()
    host.advance(2 * CONFIRM_WITHIN)
    assert host.owner(P)
