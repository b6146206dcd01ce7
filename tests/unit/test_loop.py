"""The supervisor's loop: histories of events, replayed on fakes, and what it orders."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partition_supervisor.control.failover import CONFIRM_WITHIN
from partition_supervisor.control.graceful_shutdown import STEP
from partition_supervisor.control.lease_monitor import UNANSWERED
from partition_supervisor.control.lock_offers import QUEUE_STEP
from partition_supervisor.control.loop import TICK
from partition_supervisor.control.rebalance import LANDSLIDE_REST, REPLACE_AFTER, WAIT_FOR_STARTS
from partition_supervisor.control.reconcile import SURPLUS_AFTER
from partition_supervisor.events import (
    ClusterListed,
    HostDied,
    HostLives,
    LeaseGone,
    PartitionsChanged,
    SignalArrived,
)
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Cause, Drain, Lock, Move, StoredOffset, now
from partition_workers.model import Partition
from partition_workers.protocol import (
    AnswerPing,
    BecomeOwner,
    Compete,
    GaveUp,
    GotStuck,
    Leave,
    MadeProgress,
    RenewedLease,
    Suspended,
    WasToldToLeave,
)
from tests.fakes.processes import FakeChild, FakeHost

P, Q = Partition("t", 0), Partition("t", 1)
QUIET = 3.5
MakeHost = Callable[..., FakeHost]


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    made: list[FakeHost] = []

    def make(partitions: int = 1, **settings: Any) -> FakeHost:
        made.append(FakeHost(partitions, **settings))
        return made[-1]

    yield make
    for host in made:
        host.close()


def running(host: FakeHost) -> FakeHost:
    """Opened, all its workers ready, and the locks taken that were free."""
    host.open()
    host.warm_up_all()
    host.advance(1.0)
    host.warm_up_all()
    return host


def successors(child: FakeChild) -> list[str]:
    """The hosts named in the last order to leave."""
    return [each.host for each in child.orders(Leave)[-1].successors]


def send(host: FakeHost, number: signal.Signals) -> None:
    host.inbox.post(SignalArrived(number))
    host.settle()


# --- a lock that is free


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


def owned_elsewhere(host: FakeHost, *others: str) -> FakeHost:
    """Every partition has an owner on `b`; `others` have ready standbys."""
    for name in ("b", *others):
        host.join(name)
    for partition in host.partitions:
        host.owner_on("b", partition)
        for name in others:
            host.standby_on(name, partition)
    return host


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


# --- death


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
    host.inbox.post(HostDied(name, link))
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


def test_a_dead_host_without_heirs_leaves_free_locks(make_host: MakeHost) -> None:
    """For whoever is ready first."""
    host = make_host()
    host.join("b", link="here:1")
    host.owner_on("b", P)
    host.open()
    dies(host, "b")
    assert host.lock_of(P) is None
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P)


def test_a_dead_hosts_standbys_are_nobodys_heirs(make_host: MakeHost) -> None:
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

    def heir_of_a_death(partition: Partition) -> str | None:
        host.exit(host.owner(partition))
        host.settle()
        held = host.lock_of(partition)
        return Lock.decode(host.value(host.keys.lock(partition))).host if held else None

    assert heir_of_a_death(first) == "b"
    dies(host, "b")
    assert heir_of_a_death(second) != "b"
    host.inbox.post(HostLives("b", "here:1"))
    assert heir_of_a_death(third) == "b"
    dies(host, "b")
    host.join("b", link="here:2")
    host.settle()
    assert heir_of_a_death(fourth) != "b"
    host.standby_on("b", fifth)
    host.settle()
    assert heir_of_a_death(fifth) == "b"


@pytest.mark.parametrize(("sequence", "deaths"), [(None, 3), (1, 3), (2, 1)])
def test_deaths_are_counted_from_host_to_host(make_host: MakeHost, sequence: int | None, deaths: int) -> None:
    """A record may end a whole container. Its first commit is an owner's entrance, and no progress."""
    host = make_host()
    host.join("b", link="here:1")
    there = host.standby_on("b", P).standby
    token = host.put(Put(host.keys.lock(P), Lock.naming(there, Cause.TAKEN_OVER, now(), 2).encode(), there.lease_id))
    if sequence is not None:
        host.put(Put(host.keys.offset(P), StoredOffset(5, token, sequence, "id", now()).encode()))
    running(host)
    dies(host, "b")
    assert Lock.decode(host.value(host.keys.lock(P))).deaths == deaths


def test_a_dead_worker_without_an_heir_leaves_a_free_lock(make_host: MakeHost) -> None:
    """And its lease, with the standby key, does not outlive it."""
    host = running(make_host())
    dead = host.owner(P)
    host.exit(dead)
    host.settle()
    assert host.lock_of(P) is None
    assert host.store.renew(dead.settings.lease).ttl == 0
    host.warm_up_all()
    assert host.owner(P) is not dead


def test_replacements_start_at_once_first_and_later_after_crashes_without_progress(make_host: MakeHost) -> None:
    """Doubling; and rest after more than five in a minute."""
    host = make_host().open()
    waits = []
    for _ in range(6):
        (child,) = host.children.living
        host.exit(child, 1)
        host.settle()
        begun = host.clock()
        while not host.children.living:
            host.advance(0.01)
        waits.append(host.clock() - begun)
        if waits[-1] > 100:
            break
    assert waits[0] == 0.0
    assert all(base * 0.8 <= wait <= base * 1.2 + 0.02 for wait, base in zip(waits[1:5], [0.1, 0.2, 0.4, 0.8]))  # noqa: B905
    assert waits[5] == pytest.approx(300, abs=1)


def test_a_replacement_that_has_to_wait_is_not_started_for_another_reason(make_host: MakeHost) -> None:
    """Everything that changes in the cluster is a reason to look at who is missing."""
    host = make_host().open()
    for _ in range(5):
        (child,) = host.children.living
        host.exit(child, 1)
        host.settle()
        if not host.children.living:
            host.advance(1.0)
    (child,) = host.children.living
    host.exit(child, 1)
    host.settle()
    assert not host.children.living
    host.join("b")
    host.settle()
    assert not host.children.living


def test_progress_forgets_all_crashes(make_host: MakeHost) -> None:
    """People kill healthy workers all day to watch the failover."""
    host = running(make_host())
    for _ in range(20):
        host.exit(host.owner(P), -9)
        host.settle()
        host.warm_up_all()
        host.advance(0.5)
    assert host.owner(P)


def test_deaths_without_a_commit_are_counted_from_owner_to_owner(make_host: MakeHost) -> None:
    """So that the next one is careful."""
    host = running(make_host())
    for deaths in (1, 2, 3):
        host.exit(host.owner(P), -11)
        host.settle()
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


def test_a_worker_that_is_misconfigured_stops_the_supervisor_with_78(make_host: MakeHost) -> None:
    """None could be started, so none will be."""
    host = make_host(2).open()
    first, other = host.children.living
    host.exit(first, 78, GaveUp(78, "no such handler"))
    host.settle()
    assert other.orders(Leave)
    assert host.is_done()
    assert host.supervisor._stopping.code == 78


def test_a_misconfigured_worker_among_good_ones_stops_nobody(make_host: MakeHost) -> None:
    """Something has changed under our feet; those that run go on, and it is tried again."""
    host = running(make_host(2))
    host.exit(host.owner(P), 78, GaveUp(78, "no such handler any more"))
    host.settle()
    assert not host.supervisor._stopping.begun
    assert not host.owner(Q).orders(Leave)
    assert host.on(P)


# --- impatience


def test_a_successor_elsewhere_that_does_not_confirm_is_passed_over(make_host: MakeHost) -> None:
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
    host.advance(CONFIRM_WITHIN - 0.1)
    assert (host.lock_of(P) or ("",))[0] == named.worker
    host.advance(0.2)
    assert (host.lock_of(P) or ("",))[0] == other.worker


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
    host.advance(2 * CONFIRM_WITHIN)
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
    host.advance(REPLACE_AFTER)
    host.warm_up_all()
    host.advance(2 * CONFIRM_WITHIN)
    assert host.owner(P)


# --- leases


def test_a_stuck_worker_gets_a_term_and_a_second_later_a_kill(make_host: MakeHost) -> None:
    """A handler that does not return cannot hand over."""
    host = running(make_host())
    child = host.owner(P)
    host.report(child, GotStuck(60.0, "there"))
    host.settle()
    assert child.signals == [signal.SIGTERM]
    host.advance(0.9)
    assert not child.killed
    host.advance(0.2)
    assert child.killed


def renew(host: FakeHost, child: FakeChild) -> None:
    host.report(child, RenewedLease(host.boottime() + host.config.lease_ttl))
    host.settle()


def test_an_owner_that_is_late_and_does_not_say_so_is_killed(make_host: MakeHost) -> None:
    """At nine tenths of its lease's time, before anybody else can own the partition."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.advance(host.config.lease_ttl * 0.9 - 0.05)
    assert not child.killed
    host.advance(0.3)
    assert child.signals == [signal.SIGUSR1, signal.SIGKILL]


def test_an_owner_that_says_that_it_is_suspended_lives(make_host: MakeHost) -> None:
    """It starts no record, and will notice by itself that the lock is lost."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.advance(host.config.lease_ttl * 0.75)
    host.report(child, Suspended())
    host.advance(host.config.lease_ttl * 10)
    assert not child.signals


def test_a_host_that_was_frozen_kills_nobody_whose_renewals_wait_in_the_pipe(make_host: MakeHost) -> None:
    """Nor anybody whose renewal comes a moment after the thaw."""
    host = running(make_host(2))
    early, late = host.owner(P), host.owner(Q)
    renew(host, early)
    renew(host, late)
    host.jump(100.0)
    host.report(early, RenewedLease(host.boottime() + 5))
    host.settle()
    host.advance(0.5)
    renew(host, late)
    host.advance(2.0)
    assert not early.signals
    assert not late.signals


def test_a_frozen_host_that_thaws_still_kills_who_stays_late(make_host: MakeHost) -> None:
    """Grace is not forgiveness."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.jump(100.0)
    host.settle()
    host.advance(host.config.lease_ttl / 2)
    assert child.killed


def test_pings_end_when_nobody_answers(make_host: MakeHost) -> None:
    """The pipe of a stopped process must not fill up."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    before = len(child.orders(AnswerPing))
    host.freeze(child)
    host.advance(100 * host.config.lease_ttl)
    assert UNANSWERED - 2 <= len(child.orders(AnswerPing)) - before <= UNANSWERED


def test_the_lease_of_a_standby_that_does_not_answer_is_not_renewed(make_host: MakeHost) -> None:
    """One that answers is renewed for ever."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.advance(100.0)
    assert host.keeper.is_renewed(child.settings.lease)
    host.freeze(child)
    host.advance(host.config.lease_ttl)
    assert not host.keeper.is_renewed(child.settings.lease)


@pytest.mark.parametrize("frozen", [4.0, 10.0, 60.0])
def test_a_standby_that_was_stopped_and_goes_on_is_of_use_again(make_host: MakeHost, frozen: float) -> None:
    """Its lease is renewed again, or it is replaced: it is not forgotten, however long it was stopped."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.freeze(child)
    host.advance(frozen)
    if frozen > host.config.lease_ttl:
        host.store.expire(child.settings.lease)
    host.thaw()
    for _ in range(10):
        host.advance(1.0)
        host.keeper.round(host.store)
    host.warm_up_all()
    ready = host.standby(P)
    assert host.keeper.is_renewed(ready.settings.lease)
    assert ready.worker in host.cluster.standbys[P]


def test_a_standby_whose_lease_is_gone_is_replaced(make_host: MakeHost) -> None:
    """It could never own anything."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.inbox.post(LeaseGone(child.settings.lease))
    host.settle()
    assert child.exit_code == 0
    host.warm_up_all()
    assert host.standby(P) is not child


def test_an_owner_renews_its_lease_itself(make_host: MakeHost) -> None:
    """The supervisor could not tell whether it makes progress."""
    host = running(make_host())
    assert host.owner(P).settings.lease not in host.keeper.kept


def test_a_host_whose_lease_is_gone_enters_anew(make_host: MakeHost) -> None:
    """Its key is there again."""
    host = running(make_host())
    found = host.store.get(host.keys.host("a"))
    assert found is not None
    host.store.expire(found.lease)
    assert host.store.get(host.keys.host("a")) is None
    host.inbox.post(LeaseGone(found.lease))
    host.settle()
    assert host.store.get(host.keys.host("a"))


# --- signals


def test_term_tells_every_owner_to_leave_to_other_hosts_only(make_host: MakeHost) -> None:
    """Here nobody will be left."""
    host = make_host(2, workers=4)
    host.join("b", 2)
    running(host)
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    owners = [child for child in host.children.living if child.is_owner]
    assert owners
    host.freeze(*host.children.living)
    send(host, signal.SIGTERM)
    told = [len([child for child in host.children.living if child.orders(Leave)])]
    for _ in host.children.living[1:]:
        host.advance(STEP)
        told.append(len([child for child in host.children.living if child.orders(Leave)]))
        assert told[-1] > len(owners) or all(child in owners for child in host.children.living if child.orders(Leave))
    assert told == list(range(1, len(host.children.living) + 1)), "one after the other"
    assert [successors(child) for child in owners] == [["b"]] * len(owners)
    host.thaw()
    assert host.is_done()
    assert host.supervisor._stopping.code == 0


def test_the_next_worker_is_told_to_leave_when_the_one_before_it_is_gone(make_host: MakeHost) -> None:
    """Not earlier: its successor wants the processor. And nobody has to wait for the clock."""
    host = make_host(3, workers=3)
    running(host)
    first, *rest = host.children.living
    host.freeze(first, *rest)
    send(host, signal.SIGTERM)
    assert [bool(child.orders(Leave)) for child in (first, *rest)] == [True, False, False]
    for child, following in pairwise((first, *rest)):
        host.exit(child, 0)
        host.settle()
        assert following.orders(Leave)


def test_a_second_int_kills_all(make_host: MakeHost) -> None:
    """The first asks, the second does not."""
    host = running(make_host(2))
    host.freeze(*host.children.living)
    send(host, signal.SIGINT)
    assert not any(child.killed for child in host.children.started)
    send(host, signal.SIGINT)
    assert all(child.killed for child in host.children.started)
    assert host.is_done()


def test_who_does_not_leave_in_time_is_killed(make_host: MakeHost) -> None:
    """After the graceful timeout."""
    host = running(make_host(2))
    host.freeze(*host.children.living)
    send(host, signal.SIGTERM)
    host.advance(host.config.graceful_timeout - 1)
    assert len(host.children.living) == 4 - 2 * (len(host.children.started) == 2)
    host.advance(2)
    assert not host.children.living


def test_an_owner_that_moves_and_does_not_leave_in_time_is_killed(make_host: MakeHost) -> None:
    """And somebody else goes on, while this host does."""
    host = make_host()
    host.join("b")
    child = running(host).owner(P)
    successor = host.standby_on("b", P)
    host.put(Put(host.keys.move(P), Move("b", now()).encode()))
    host.freeze(child)
    host.advance(QUIET)
    assert child.orders(Leave)
    host.advance(host.config.graceful_timeout - 0.5 - QUIET)
    assert not child.killed
    host.advance(1.0 + QUIET)
    assert child.killed
    assert (host.lock_of(P) or ("",))[0] == successor.worker


def test_a_worker_that_dies_while_the_host_stops_has_its_lock_given_elsewhere(make_host: MakeHost) -> None:
    """And nobody is started in its place."""
    host = make_host()
    host.join("b")
    running(host)
    successor = host.standby_on("b", P)
    host.settle()
    child = host.owner(P)
    host.freeze(child)
    send(host, signal.SIGTERM)
    started = len(host.children.started)
    host.exit(child, -9)
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == successor.worker
    assert len(host.children.started) == started


def test_hup_replaces_all_one_at_a_time_the_replacement_first(make_host: MakeHost) -> None:
    """From a new fork server; nobody goes before there is somebody ready."""
    host = running(make_host(3, workers=3))
    old = host.children.living
    assert len(old) == 3
    send(host, signal.SIGHUP)
    assert host.fork_server.renewed == 1
    for _ in range(60):
        host.advance(TICK)
        assert len(host.children.living) <= 4
        assert sum(child.is_leaving for child in host.children.living) <= 1
        assert all(host.lock_of(partition) for partition in host.partitions)
        host.warm_up_all()
    assert not {child.worker for child in old} & {child.worker for child in host.children.living}
    assert len(host.children.living) == 3
    assert all(host.owner(partition) for partition in host.partitions)


def test_ttin_and_ttou_are_one_worker_more_or_less(make_host: MakeHost) -> None:
    """The others learn it through etcd."""
    host = running(make_host(2, workers=2))
    assert len(host.children.living) == 2
    send(host, signal.SIGTTIN)
    assert len(host.children.living) == 3
    assert host.cluster.hosts["a"].workers == 3
    host.warm_up_all()
    send(host, signal.SIGTTOU)
    assert len(host.children.living) == 2


def test_ttou_below_what_is_owned_lets_go_of_what_is_left_out(make_host: MakeHost) -> None:
    """What is said to be served by nobody has no worker, and the host keeps to its places."""
    host = running(make_host(2, workers=2))
    send(host, signal.SIGTTOU)
    host.advance(60.0)
    assert len(host.children.living) == 1


def test_usr1_asks_all_for_their_stacks(make_host: MakeHost) -> None:
    """By the signal that faulthandler listens to."""
    host = running(make_host(2))
    send(host, signal.SIGUSR1)
    assert all(child.signals == [signal.SIGUSR1] for child in host.children.living)


# --- orders of people


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


# --- moves


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


def test_workers_that_become_ready_together_do_not_drive_each_other_out(make_host: MakeHost) -> None:
    """Two partitions, three places: one standby warms up beside an owner while a replacement is about to own."""
    host = running(make_host(2, workers=2))
    host.exit(host.owner(Q))
    host.settle()
    send(host, signal.SIGTTIN)
    assert len(host.children.living) == 3
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P)
    assert host.owner(Q)
    assert len(host.children.living) == 3


@pytest.mark.parametrize("stays", [True, False])
def test_a_standby_that_is_too_much_for_a_moment_is_not_ended(make_host: MakeHost, stays: bool) -> None:
    """While hosts come and their workers become ready, each of them changes the plan."""
    host = make_host(2, workers=1)
    host.join("b", 6)
    host.owner_on("b", P)
    host.owner_on("b", Q)
    running(host)
    (child,) = host.children.living
    before, other = child.partition, {P: Q, Q: P}[child.partition]
    host.join("0", 1)
    host.standby_on("0", before)
    host.settle()
    assert host.supervisor._planner.plan.workers_on("a") == {other: 1}
    host.advance(SURPLUS_AFTER - 2 * TICK)
    assert host.children.living == [child], "it is all that fits, and it may be wanted again"
    if not stays:
        host.vanish("0")
        host.settle()
    host.advance(SURPLUS_AFTER + 2 * TICK)
    host.warm_up_all()
    assert [each.partition for each in host.children.living] == [other if stays else before]


def test_the_last_ready_standby_is_not_ended_before_another_is_ready(make_host: MakeHost) -> None:
    """Our host is drained, and the one that takes its part is slow."""
    host = make_host(1)
    host.join("b")
    host.owner_on("b", P)
    running(host)
    (child,) = host.children.living
    host.join("c")
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))
    host.advance(5 * SURPLUS_AFTER)
    assert not child.orders(Leave)
    host.standby_on("c", P)
    host.advance(2 * TICK)
    assert child.orders(Leave)


def test_standbys_that_are_too_many_end_one_after_the_other(make_host: MakeHost) -> None:
    """To end is work, and others hand over meanwhile."""
    host = make_host(3)
    host.join("b")
    for partition in host.partitions:
        host.owner_on("b", partition)
    running(host)
    host.join("c")
    for partition in host.partitions:
        host.standby_on("c", partition)
    host.freeze(*host.children.living)
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))
    host.advance(5 * SURPLUS_AFTER)
    assert sum(child.is_leaving for child in host.children.living) == 1
    host.thaw()
    host.advance(5 * TICK)
    assert not host.children.living


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


def test_workers_start_a_few_at_a_time(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds that start together starve each other until their leases end."""
    monkeypatch.setattr("partition_supervisor.control.reconcile.STARTING_AT_ONCE", 4)
    host = make_host(10).open()
    for count in (4, 5, 9, 10):
        assert len(host.children.living) == count
        waiting = [child for child in host.children.living if child.standby is None]
        for child in waiting[: 1 if count == 4 else 4]:
            host.warm_up(child)
        host.settle()


def test_new_partitions_get_workers(make_host: MakeHost) -> None:
    """And those that are known already are left alone."""
    host = running(make_host(1))
    host.inbox.post(PartitionsChanged({P: "id", Q: "id"}))
    host.settle()
    assert [child.partition for child in host.children.living] == [P, Q]


def test_a_worker_that_has_handled_enough_is_replaced_first_and_then_leaves(make_host: MakeHost) -> None:
    """An owner is retired when somebody is ready to follow it."""
    host = running(make_host(1, workers=1, max_records=100))
    child = host.owner(P)
    host.report(child, MadeProgress(1000, 1000))
    host.settle()
    host.advance(1.0)
    assert not child.is_leaving
    assert len(host.on(P)) == 2
    host.warm_up_all()
    host.advance(1.0)
    assert child.exit_code == 0
    assert host.owner(P)


def test_what_is_committed_is_copied_to_kafka_now_and_then(make_host: MakeHost) -> None:
    """Owned here; nothing else."""
    host = running(make_host(1))
    host.report(host.owner(P), MadeProgress(7, 7))
    host.advance(10.0)
    assert host.mirrored[-1] == {P: 7}


# --- any history at all

History = list[tuple[str, str, int]]
STEPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from("bc"), st.integers(0, 3)),
    st.tuples(st.just("vanish"), st.sampled_from("bc"), st.just(0)),
    st.tuples(st.just("standby"), st.sampled_from("bc"), st.integers(0, 1)),
    st.tuples(st.just("owner"), st.sampled_from("bc"), st.integers(0, 1)),
    st.tuples(st.just("exit"), st.sampled_from(["-9", "0", "1", "70", "75", "-11"]), st.integers(0, 5)),
    st.tuples(st.just("kill the owner"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("freeze the standbys"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("warm up"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("warm up all"), st.just(""), st.just(0)),
    st.tuples(st.just("stuck"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("told"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("freeze"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("thaw"), st.just(""), st.just(0)),
    st.tuples(st.just("park"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("resume"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("move"), st.sampled_from("abc"), st.integers(0, 1)),
    st.tuples(st.just("drain"), st.sampled_from("abc"), st.just(0)),
    st.tuples(st.just("signal"), st.sampled_from(["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1"]), st.just(0)),
    st.tuples(st.just("listing"), st.just(""), st.just(0)),
    st.tuples(st.just("blind"), st.just(""), st.just(0)),
    st.tuples(st.just("hold"), st.just(""), st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from(["0.1", "0.6", "4", "20"]), st.just(0)),
)
HISTORIES = st.lists(STEPS, min_size=4, max_size=25)
#: The heir does nothing, and its replacement is ready at once.
AN_IMPATIENT_ONE: History = [
    ("freeze the standbys", "", 0),
    ("kill the owner", "", 0),
    ("warm up all", "", 0),
    ("pass", "0.1", 0),
    ("pass", "0.6", 0),
]


def replay(host: FakeHost, history: History, check: Callable[[FakeHost], None]) -> None:
    """Each step, and after it the loop until it rests; `check` is asked after every round."""
    for what, which, number in history:
        partition = host.partitions[number % len(host.partitions)]
        living = host.children.living
        child = living[number % len(living)] if living else None
        match what:
            case "join":
                host.join(which, number)
            case "vanish":
                host.vanish(which)
            case "standby" if which in host.cluster.hosts:
                host.standby_on(which, partition)
            case "owner" if (
                which in host.cluster.hosts and not host.lock_of(partition) and not host.is_parked(partition)
            ):
                host.owner_on(which, partition)
            case "exit" if child:
                host.exit(child, int(which))
            case "kill the owner":
                for owner in (each for each in host.on(partition) if each.is_owner):
                    host.exit(owner)
            case "freeze the standbys":
                host.freeze(*(each for each in host.on(partition) if not each.is_owner))
            case "warm up all":
                host.warm_up_all()
            case "warm up" if child and child.standby is None:
                host.warm_up(child)
            case "stuck" if child:
                host.report(child, GotStuck(60, ""))
            case "told" if child:
                host.report(child, WasToldToLeave())
            case "freeze" if child:
                host.freeze(child)
            case "thaw":
                host.frozen.clear()
            case "park":
                host.park(partition)
            case "resume" if host.is_parked(partition):
                host.resume(partition)
            case "move":
                host.put(Put(host.keys.move(partition), Move(which, "now").encode()))
            case "drain":
                host.put(Put(host.keys.drain(which), Drain("now").encode()))
            case "signal":
                host.inbox.post(SignalArrived(signal.Signals[which]))
            case "listing":
                host.inbox.post(ClusterListed(host.look()))
            case "blind":
                host.watching = not host.watching
            case "hold":
                host.background.held = not host.background.held
            case "pass":
                host.advance(float(which))
        host.settle()
        check(host)


@given(st.integers(1, 4), HISTORIES)
@example(4, AN_IMPATIENT_ONE)
@settings(max_examples=400, deadline=None)
def test_whatever_happens_only_one_worker_here_is_named(workers: int, history: History) -> None:
    """Two workers of a partition are named under two tokens only if the first ended, missed or was passed over."""
    host = FakeHost(2, workers=workers)
    running(host)

    def check(host: FakeHost) -> None:
        for partition in host.partitions:
            open_to = [child for child in host.on(partition) if child.token in child.named_at]
            named = sorted((child.token or 0, child.named_at[child.token or 0]) for child in open_to)
            for (_, earlier), (_, later) in pairwise(named):
                assert later - earlier >= CONFIRM_WITHIN

    try:
        replay(host, history, check)
    finally:
        host.close()


#: One worker is being replaced, and the other partition loses all that it has.
A_REPLACEMENT_AND_A_LOSS: History = [
    ("join", "b", 0), ("kill the owner", "", 1), ("signal", "SIGHUP", 0), ("signal", "SIGTTIN", 0), ("move", "a", 1),
]  # fmt: skip


@given(st.integers(1, 4), HISTORIES)
@example(4, AN_IMPATIENT_ONE)
@example(2, A_REPLACEMENT_AND_A_LOSS)
@settings(max_examples=400, deadline=None)
def test_whatever_happens_there_are_not_more_workers_than_places(workers: int, history: History) -> None:
    """One more while somebody is replaced, and one more for a partition that has neither owner nor standby; those
    that were told to leave are on their way and do not count."""
    host = FakeHost(2, workers=workers)
    running(host)

    def check(host: FakeHost) -> None:
        staying = Counter(child.is_leaving for child in host.children.living)[False]
        assert staying <= host.supervisor._planner.places + 2

    try:
        replay(host, history, check)
    finally:
        host.close()
